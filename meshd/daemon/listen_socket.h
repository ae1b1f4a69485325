// Listening sockets of the API: a Unix socket that only its owner can open, and a TCP one.
//
// Any thread, one at a time. Non-blocking and close-on-exec from birth. Errors name the place and
// the remedy.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "mesh/ip.h"
#include "mesh/result.h"
#include "meshd/dataplane/unique_fd.h"

namespace mesh {

// A listening Unix socket of mode 0600 and the file that is its name.
class UnixListener {
 public:
  // Makes the directory (0755, parents too) when it is missing. A socket file that nobody answers
  // behind is replaced; kBusy when somebody does, kExists when the file is no socket: it is never
  // touched. Two starting at once cannot both win: the directory is locked meanwhile.
  static Result<UnixListener> open(const std::string& path);

  UnixListener() = default;
  UnixListener(const UnixListener&) = delete;
  UnixListener(UnixListener&&) noexcept = default;
  UnixListener& operator=(const UnixListener&) = delete;
  UnixListener& operator=(UnixListener&& other) noexcept;
  ~UnixListener() { close(); }

  int fd() const { return fd_.get(); }
  // Also removes the file, unless another socket has taken the name since. Idempotent.
  void close();

 private:
  UniqueFd fd_;
  std::string path_;
  dev_t device_ = 0;  // with inode_: which file is ours
  ino_t inode_ = 0;
};

// Whether somebody listens on the Unix socket of this name; makes and removes nothing.
bool somebody_listens(const std::string& path);

// kBusy: another program receives on this UDP port, in either family.
Result<void> udp_port_is_free(std::uint16_t port);

// Port 0: any free one, see port_of.
Result<UniqueFd> listen_tcp(const Endpoint& endpoint);
std::uint16_t port_of(int tcp_socket);

}  // namespace mesh
