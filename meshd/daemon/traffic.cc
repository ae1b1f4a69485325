#include "meshd/daemon/traffic.h"

namespace mesh {

void Traffic::update(const std::vector<NftCounter>& counters,
                     const std::map<NftElement, std::string>& owners) {
  std::map<NftElement, std::uint64_t> fresh;
  for (const NftCounter& counter : counters) {
    fresh[counter.element] = counter.bytes;
    const auto owner = owners.find(counter.element);
    if (owner == owners.end() || owner->second.empty()) continue;
    const auto before = last_.find(counter.element);
    // A smaller count is a new element in the place of the old one.
    const bool continues = before != last_.end() && before->second <= counter.bytes;
    totals_[owner->second][static_cast<std::size_t>(counter.element.set)] +=
        counter.bytes - (continues ? before->second : 0);
  }
  last_ = std::move(fresh);
}

std::uint64_t Traffic::bytes(const std::string& node, NftSet set) const {
  const auto found = totals_.find(node);
  return found == totals_.end() ? 0 : found->second[static_cast<std::size_t>(set)];
}

std::map<std::string, std::uint64_t> Traffic::all(NftSet set) const {
  std::map<std::string, std::uint64_t> result;
  for (const auto& [node, totals] : totals_) result[node] = totals[static_cast<std::size_t>(set)];
  return result;
}

void Traffic::keep_only(const std::set<std::string>& nodes) {
  std::erase_if(totals_, [&](const auto& item) { return !nodes.contains(item.first); });
}

}  // namespace mesh
