// FormerPrefixes: prefixes that were this node's own until a moment ago. Pure; one thread.
//
// Their workloads may still run here, and the peers may still send here: until the grace is over,
// what comes from them goes where it went, into the mesh, and is not taken for an outside client's.
// It outlasts the grace in which peers send to a prefix that its owner has withdrawn.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "core/local_node.h"
#include "core/mirror.h"
#include "core/peer.h"

namespace mesh {

class FormerPrefixes {
 public:
  static constexpr Duration kGrace = 2 * Peer::kGrace;

  // What was own and is no more; what is own again is not former.
  void change(const std::vector<Cidr>& before, const std::vector<Cidr>& after, MonotonicTime now);
  // What an earlier run counted among its own, as nftables has it.
  void adopt(const Mirror& mirror, const LocalNode& local, MonotonicTime now);
  std::vector<Cidr> at(MonotonicTime now);  // sorted
  std::optional<MonotonicTime> next() const;

 private:
  std::map<Cidr, MonotonicTime> until_;
};

}  // namespace mesh
