// TcpRelay: a loopback port that leads to another, and can be cut, so that a test takes a server
// away from some of its clients and from no one else. A thread of its own; methods: any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "mesh/unique_fd.h"

namespace mesh::testing {

class TcpRelay {
 public:
  explicit TcpRelay(std::uint16_t target);  // a port of 127.0.0.1
  ~TcpRelay();
  TcpRelay(const TcpRelay&) = delete;
  TcpRelay& operator=(const TcpRelay&) = delete;

  std::uint16_t port() const { return port_; }
  void cut();   // ends all connections, refuses new ones
  void mend();  // as it was
  // Connections stay, nothing passes any more; true: again.
  void pass(bool passes);

 private:
  void run();
  void wake();

  std::uint16_t target_;
  std::uint16_t port_ = 0;
  UniqueFd wake_;
  std::atomic<bool> listening_ = true;
  std::atomic<bool> passes_ = true;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> is_cut_ = true;  // the thread has done it
  std::thread thread_;
};

}  // namespace mesh::testing
