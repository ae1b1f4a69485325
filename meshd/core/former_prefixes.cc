#include "core/former_prefixes.h"

#include <algorithm>

namespace mesh {

void FormerPrefixes::change(const std::vector<Cidr>& before, const std::vector<Cidr>& after,
                            MonotonicTime now) {
  if (before == after) return;
  for (const Cidr& cidr : before) until_.try_emplace(cidr, now + kGrace);
  for (const Cidr& cidr : after) until_.erase(cidr);
}

void FormerPrefixes::adopt(const Mirror& mirror, const LocalNode& local, MonotonicTime now) {
  for (const NftElement& element : mirror.elements()) {
    const auto cidr = element.range.prefix();
    if (element.set == NftSet::kOwn && cidr && !cidr->is_host())
      until_.try_emplace(*cidr, now + kGrace);
  }
  for (const Cidr& cidr : local.cidrs) until_.erase(cidr);
}

std::vector<Cidr> FormerPrefixes::at(MonotonicTime now) {
  std::erase_if(until_, [&](const auto& item) { return item.second <= now; });
  std::vector<Cidr> cidrs;
  for (const auto& [cidr, until] : until_) cidrs.push_back(cidr);
  return cidrs;
}

std::optional<MonotonicTime> FormerPrefixes::next() const {
  if (until_.empty()) return std::nullopt;
  return std::ranges::min_element(until_, {}, [](const auto& item) { return item.second; })->second;
}

}  // namespace mesh
