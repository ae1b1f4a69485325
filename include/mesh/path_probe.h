// PathProbe: the port to the underlay through which the way to a peer is measured: echo requests of
// an exact size that nobody may fragment, and what became of them.
//
// Called from the thread that owns the state only. Never blocks; a probe that cannot be sent is a
// probe that is not answered. It keeps no state of a probe: the caller matches news by number.
#pragma once

#include <cstdint>
#include <vector>

#include "mesh/ip.h"

namespace mesh {

struct Probe {
  IpAddress to;
  std::uint32_t size = 0;    // of the whole IP packet
  std::uint16_t number = 0;  // the caller's, to know the news by
};

struct ProbeNews {
  enum class Kind : std::uint8_t { kAnswered, kRefused };
  Kind kind = Kind::kAnswered;
  std::uint16_t number = 0;
  IpAddress peer;          // who answered; whom the refused probe was for
  std::uint32_t size = 0;  // kAnswered: of the answer
  // kRefused: what would have passed, as the router or this host says. 0: it does not say.
  std::uint32_t limit = 0;
};

class PathProbe {
 public:
  virtual ~PathProbe() = default;

  // The mark of what is sent, so that it takes the underlay and never the mesh.
  virtual void set_mark(std::uint32_t mark) = 0;
  virtual void send(const Probe& probe) = 0;
  // Readable when news wait; -1: never.
  virtual int fd() const = 0;
  // All that wait.
  virtual std::vector<ProbeNews> receive() = 0;
};

}  // namespace mesh
