// Traffic: bytes per node and kind, from the element counters of table "inet meshd".
//
// Elements come and go as prefixes are split otherwise; the totals of a node only grow. What the
// kernel counted before this process started belongs to the totals too, so they survive a restart.
// Loop thread; cost: one map step per element.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "mesh/kernel.h"

namespace mesh {

class Traffic {
 public:
  using Totals = std::array<std::uint64_t, kNftSetCount>;  // bytes; index with NftSet

  // `owners` says whom each element counts for.
  void update(const std::vector<NftCounter>& counters,
              const std::map<NftElement, std::string>& owners);
  // The ruleset was made anew: its counters start at zero.
  void restart() { last_.clear(); }
  std::uint64_t bytes(const std::string& node, NftSet set) const;
  std::map<std::string, std::uint64_t> all(NftSet set) const;
  void keep_only(const std::set<std::string>& nodes);

 private:
  std::map<NftElement, std::uint64_t> last_;
  std::map<std::string, Totals> totals_;
};

}  // namespace mesh
