// FormerPorts: where the device listened before a reload moved it. Peers may still send there: for
// kLeadOn each leads to the port of now. Loop thread only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "mesh/clock.h"

namespace mesh {

class FormerPorts {
 public:
  // Long enough for every peer to hear of the move, from the store or from the first packet.
  static constexpr Duration kLeadOn = std::chrono::minutes(10);
  static constexpr std::size_t kMost = 4;

  void move(std::uint16_t from, std::uint16_t to, MonotonicTime now) {
    if (from != to) until_[from] = now + kLeadOn;
    until_.erase(to);
    if (until_.size() > kMost)
      until_.erase(std::ranges::min_element(until_, {}, &Until::value_type::second));
  }
  // Those that lead on, the last one last.
  std::vector<std::uint16_t> at(MonotonicTime now) {
    std::erase_if(until_, [&](const auto& item) { return item.second <= now; });
    std::vector<std::uint16_t> ports;
    for (const auto& [port, until] : until_) ports.push_back(port);
    std::ranges::sort(ports, {}, [&](std::uint16_t port) { return until_.at(port); });
    return ports;
  }
  // When the next one ends.
  std::optional<MonotonicTime> next() const {
    if (until_.empty()) return std::nullopt;
    return std::ranges::min_element(until_, {}, &Until::value_type::second)->second;
  }

 private:
  using Until = std::map<std::uint16_t, MonotonicTime>;
  Until until_;
};

}  // namespace mesh
