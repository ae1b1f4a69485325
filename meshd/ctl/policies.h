// The commands of meshctl about encryption policies. One thread.
#pragma once

#include <string>
#include <vector>

#include "mesh/result.h"
#include "meshd/ctl/client.h"
#include "meshd/ctl/exit_code.h"

namespace mesh::ctl {

// Puts the policies of the files ("-": standard input) into the store. Each is read and checked
// before any is written; every mistake is said, with file, line and column, on a line of its own.
Result<ExitCode> apply_policies(const Client& client, const std::vector<std::string>& files);
// `output`: table, json or yaml; what -o json and -o yaml print, apply reads.
Result<ExitCode> show_policies(const Client& client, const std::string& output);
Result<ExitCode> delete_policy(const Client& client, const std::string& name);
// `other` empty: the node that is asked.
Result<ExitCode> explain_pair(const Client& client, const std::string& node,
                              const std::string& other, const std::string& output);

}  // namespace mesh::ctl
