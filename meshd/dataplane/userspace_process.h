// UserspaceProcess: wireguard-go for one interface: started, found again, watched.
//
// One thread at a time. The process outlives this object and the daemon: it is stopped only by
// stop(). It has its own session, nothing of ours open, and no pipe to us that could break. Its
// TUN device lives exactly as long as it does.
//
// No SIGCHLD handler and no wait for "any child": only this one's pidfd is ever waited on, so the
// daemon's other children are safe.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>

#include "mesh/result.h"
#include "meshd/dataplane/unique_fd.h"

namespace mesh {

class UserspaceProcess {
 public:
  static constexpr std::chrono::seconds kStartTimeout{5};
  static constexpr std::chrono::seconds kStopTimeout{5};

  // Starts `command` (a path, or a name looked up in PATH; "wireguard-go") for a new interface
  // `name` in the calling thread's namespaces, and waits until its socket answers. Call
  // find_running first. Errors: kUnsupported without the program or /dev/net/tun, with the remedy;
  // kPermission; kExists when there is a link of that name; else what the process said before it
  // ended.
  static Result<UserspaceProcess> start(const std::string& command, const std::string& name);

  // The process that serves `name` in our network namespace, whoever started it: by its socket,
  // else by a scan of /proc for a process of the same program, whose socket is reached through its
  // own root. No value: there is none (a socket file that nobody serves is none). kBusy: the socket
  // of that name belongs to a process of another network namespace, which shares our /run.
  static Result<std::optional<UserspaceProcess>> find_running(const std::string& command,
                                                              const std::string& name);

  pid_t pid() const { return pid_; }
  const std::string& socket_path() const { return socket_path_; }  // for WireguardUserspace
  // Becomes readable when the process has ended; for the event loop.
  int exit_fd() const { return pidfd_.get(); }
  bool running() const;
  // After exit_fd() fired: takes the dead child off the process table (one that is not our child
  // needs none) and says how it ended: "ended with status 1", "was killed by signal 9", "ended".
  std::string reap();
  // Asks it to end (SIGTERM), then kills it; the device is gone when this returns. For teardown
  // only.
  Result<void> stop();

 private:
  UserspaceProcess(pid_t pid, UniqueFd pidfd, std::string socket_path)
      : pid_(pid), pidfd_(std::move(pidfd)), socket_path_(std::move(socket_path)) {}
  static Result<std::optional<UserspaceProcess>> adopt(pid_t pid, std::string socket_path);
  static Result<std::optional<UserspaceProcess>> find_by_scan(const std::string& command,
                                                              const std::string& name);
  bool wait_for_exit(std::chrono::milliseconds timeout) const;

  pid_t pid_ = 0;
  UniqueFd pidfd_;
  std::string socket_path_;
};

}  // namespace mesh
