#include "meshd/daemon/diversions.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace mesh {

void Diversions::look(const MeshModel& model, const Mirror& mirror) {
  nodes_.clear();
  const LocalNode& local = model.local();
  std::set<std::uint32_t> before_ours;
  for (const Rule& rule : mirror.rules())
    if (rule.protocol != kProtocol && rule.priority > 0 && rule.priority < local.rule_priority)
      before_ours.insert(rule.priority);
  int lookups = 0;
  std::string unknown;
  for (const auto& [node, peer] : model.peers()) {
    if (before_ours.empty() || local.device_index == 0) break;
    if (peer.decision().path != Path::kWireguard || peer.accepted().cidrs.empty()) continue;
    if (++lookups > kMostLookups) break;
    const auto way = dataplane_.lookup(peer.accepted().cidrs.front().base(), 0);
    if (!way) unknown = way.error().message;
    if (way && way->oif != local.device_index) nodes_.insert(node);
  }
  if (unknown.empty()) {
    problems_.clear("route lookup");
  } else {
    problems_.note("route lookup", fmt::format("whether a policy rule of somebody else leads "
                                               "packets past the mesh cannot be told: {}",
                                               unknown));
  }
  report(before_ours);
}

void Diversions::report(const std::set<std::uint32_t>& priorities) {
  const std::string place = "rules";
  if (nodes_.empty()) return problems_.clear(place);
  problems_.note(
      place,
      fmt::format("somebody else's policy rule (priority {}) leads packets for {}{} past the mesh, "
                  "unencrypted: remove it, or set wireguard.rulePriority below it",
                  fmt::join(priorities, ", "), *nodes_.begin(),
                  nodes_.size() == 1 ? "" : fmt::format(" and {} more", nodes_.size() - 1)));
}

}  // namespace mesh
