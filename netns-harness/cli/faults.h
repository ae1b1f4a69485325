// `mesh-lab faults`: measures the table of faults of docs/faults.md.
#pragma once

#include <string>

namespace mesh::lab {

struct FaultsOptions {
  std::string rows;  // a regular expression over the rows' names; empty: all
  std::string output;
  bool append = false;  // keep the sections of other kinds of WireGuard
  bool list = false;    // only the rows' names
  std::string backend = "auto";
};

// The exit code: 0 only if every row that can run here met its expectation, and one did.
int run_faults(const FaultsOptions& options);

}  // namespace mesh::lab
