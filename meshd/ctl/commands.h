// The commands of meshctl: each asks meshd, prints, and gives an exit code or the error that main
// reports. One thread.
#pragma once

#include <chrono>
#include <string>

#include "mesh/result.h"
#include "meshd/ctl/client.h"
#include "meshd/ctl/exit_code.h"

namespace mesh::ctl {

struct StatusOptions {
  std::string output = "table";  // table | wide | json | yaml
  std::string color = "auto";    // auto | always | never
  bool check = false;
  bool watch = false;
  std::chrono::milliseconds interval{2000};
};

struct DrainOptions {
  bool wait = true;
  std::chrono::seconds timeout{120};
};

Result<ExitCode> show_status(const Client& client, const StatusOptions& options);
// Redraws until SIGINT, which ends the process with 0; shows errors and goes on.
Result<ExitCode> watch_status(const Client& client, const StatusOptions& options);

// Who sends how much unencrypted, from two samples `options.interval` apart.
Result<ExitCode> show_leaks(const Client& client, const StatusOptions& options);
Result<ExitCode> watch_leaks(const Client& client, const StatusOptions& options);

Result<ExitCode> show_peer(const Client& client, const std::string& node,
                           const std::string& output);
Result<ExitCode> show_nodes(const Client& client, const std::string& output);
Result<ExitCode> show_graph(const Client& client);
Result<ExitCode> show_plan(const Client& client);
Result<ExitCode> show_version(const Client& client);
Result<ExitCode> run_command(const Client& client, const std::string& name);  // reload, resume
// Accepts that a peer that was encrypted is so no more.
Result<ExitCode> allow_plaintext(const Client& client, const std::string& node);
// Frees the prefixes of a node whose record is gone, on this node.
Result<ExitCode> forget_node(const Client& client, const std::string& node);
// Begins to leave the mesh, and waits until the node has left it.
Result<ExitCode> drain(const Client& client, const DrainOptions& options);
Result<ExitCode> show_completion(const std::string& shell);  // asks nobody

}  // namespace mesh::ctl
