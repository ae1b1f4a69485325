#include "meshd/daemon/diversions.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace mesh {

void Diversions::look(const MeshModel& model, const Mirror& mirror) {
  nodes_.clear();
  priorities_.clear();
  const LocalNode& local = model.local();
  ours_ = local.rule_priority;
  for (const Rule& rule : mirror.rules())
    if (rule.protocol != kProtocol && rule.priority > 0 && rule.priority < ours_)
      priorities_.insert(rule.priority);
  if (priorities_.empty() || local.device_index == 0) return;
  int lookups = 0;
  for (const auto& [node, peer] : model.peers()) {
    if (peer.decision().path != Path::kWireguard || peer.accepted().cidrs.empty()) continue;
    if (++lookups > kMostLookups) return;
    const auto way = dataplane_.lookup(peer.accepted().cidrs.front().base(), 0);
    if (way && way->oif != local.device_index) nodes_.insert(node);
  }
}

std::string Diversions::problem() const {
  if (nodes_.empty()) return "";
  return fmt::format(
      "somebody else's policy rule (priority {}) leads packets for {}{} past the mesh, "
      "unencrypted: "
      "remove it, or set wireguard.rulePriority below it",
      fmt::join(priorities_, ", "), *nodes_.begin(),
      nodes_.size() == 1 ? "" : fmt::format(" and {} more", nodes_.size() - 1));
}

}  // namespace mesh
