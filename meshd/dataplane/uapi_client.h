// UapiClient: one request and its answer over a userspace WireGuard's socket.
//
// One thread at a time. Each exchange is a connection of its own and ends within a timeout, however
// the other side behaves: a hung process costs that long once, never a stall.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <string_view>

#include "mesh/wireguard.h"
#include "meshd/dataplane/unique_fd.h"

namespace mesh {

class UapiClient {
 public:
  static constexpr std::chrono::milliseconds kTimeout{3000};
  // More peers than any device takes (65,536) with several AllowedIPs each.
  static constexpr std::size_t kMaxAnswer = std::size_t{256} << 20;

  explicit UapiClient(std::string path, std::chrono::milliseconds timeout = kTimeout)
      : path_(std::move(path)), timeout_(timeout) {}

  // Sends `request` and reads the answer to its end. A set answers with an empty device. kNotFound:
  // nobody serves the socket. kTimeout, kUnavailable: somebody does, badly.
  Result<WgDevice> exchange(std::string_view request) const;
  // Who serves the socket; 0: a process that this PID namespace does not show.
  Result<pid_t> server() const;

  const std::string& path() const { return path_; }

 private:
  Result<UniqueFd> connect() const;

  std::string path_;
  std::chrono::milliseconds timeout_;
};

}  // namespace mesh
