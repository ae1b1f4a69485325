// The commands of meshctl that act on a store: through meshd where it concerns this mesh, and by
// themselves where two stores are concerned. One thread.
#pragma once

#include <string>

#include "mesh/result.h"
#include "meshd/ctl/client.h"
#include "meshd/ctl/exit_code.h"

namespace mesh::ctl {

struct NodeDeletion {
  std::string node;
  bool yes = false;
  bool force = false;
};

struct StoreCopy {
  std::string from;  // configuration files
  std::string to;
};

// Asks on the terminal first, unless told not to; without a terminal it wants to be told.
Result<ExitCode> delete_node(const Client& client, const NodeDeletion& deletion);
// Writes every node and policy of one store into the other; what else is there stays. Records that
// cannot be read are named and left out: then it ends with kFailed, after all the others.
Result<ExitCode> copy_store(const StoreCopy& copy);

}  // namespace mesh::ctl
