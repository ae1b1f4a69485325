// Sprayer: datagrams at a steady rate, whether or not anybody hears them: traffic that never gives
// up, for mazes that must let none of it out in plaintext.
//
// A thread of its own sends from when the object is made until it goes. What the sender's own
// kernel refuses to send is tried again with the next. Nothing is received.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "lab/namespace.h"
#include "lab/socket_address.h"
#include "lab/wait.h"

namespace mesh::lab {

struct Stream {
  const NetworkNamespace* from = nullptr;  // outlives the sprayer
  IpAddress source;
  IpAddress destination;
  std::string device;  // SO_BINDTODEVICE; "": none
};

class Sprayer {
 public:
  explicit Sprayer(std::vector<Stream> streams, unsigned per_second = 100);
  ~Sprayer();
  Sprayer(const Sprayer&) = delete;
  Sprayer& operator=(const Sprayer&) = delete;

  // Waits for so many rounds from now on, each a datagram from every stream; false: not in time.
  [[nodiscard]] bool wait_for_rounds(std::uint64_t rounds, milliseconds timeout) const;

 private:
  void work();

  struct Source {
    UniqueFd socket;
    SocketAddress destination;
  };
  std::vector<Source> sources_;
  unsigned per_second_;
  std::atomic<std::uint64_t> rounds_{0};
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace mesh::lab
