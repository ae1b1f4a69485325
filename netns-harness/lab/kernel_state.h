// kernel_state(): everything of the mesh that a node's kernel holds, read with ip, wg, and nft: an
// eye of its own, that does not believe what meshd says of itself.
//
// Two texts are equal when the kernel holds the same. Left out is what changes by itself: counters,
// handshakes, endpoints (they roam), interface indexes. Costs four processes. Any thread.
#pragma once

#include <string>

#include "lab/node.h"

namespace mesh::lab {

[[nodiscard]] std::string kernel_state(const Node& node);
// The lines one has and the other has not: "- gone" and "+ new".
[[nodiscard]] std::string difference(const std::string& before, const std::string& now);

}  // namespace mesh::lab
