// What a daemon holds of its host: descriptors, children, memory. For "nothing grows".
#pragma once

#include <string>

#include "lab/lab.h"

namespace mesh::lab {

struct Footprint {
  int descriptors = 0;
  int children = 0;   // of meshd, zombies included
  int processes = 0;  // in the node's network: meshd, and wireguard-go where it runs
  long rss_kib = 0;
  int pid = 0;  // meshd's
};

// The least of a few looks: an answer that is just being given is no growth.
[[nodiscard]] Footprint footprint_of(const Lab& lab, Node& node);
// Empty, or what grew. Memory may grow by a quarter and 8 MiB: an allocator keeps what a busy
// moment needed, once; a leak of a few hundred bytes a step is more than that in ten minutes.
[[nodiscard]] std::string growth(const Footprint& begin, const Footprint& end);
[[nodiscard]] std::string to_string(const Footprint& footprint);

}  // namespace mesh::lab
