#include "meshd/daemon/diversions.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace mesh {

void Diversions::look(const MeshModel& model, const Mirror& mirror, const Traffic& traffic,
                      MonotonicTime now) {
  ask(model, mirror);
  count(model, traffic, now);
}

void Diversions::ask(const MeshModel& model, const Mirror& mirror) {
  const LocalNode& local = model.local();
  std::set<std::uint32_t> before_ours;
  for (const Rule& rule : mirror.rules())
    if (rule.protocol != kProtocol && rule.priority > 0 &&
        rule.priority <= local.rule_priority)  // one of ours that is put again stands behind it
      before_ours.insert(rule.priority);
  const auto& peers = model.peers();
  const auto goes_in = [](const Peer& peer) {
    return peer.decision().path == Path::kWireguard && !peer.accepted().cidrs.empty();
  };
  std::erase_if(nodes_, [&](const std::string& node) {
    const auto peer = peers.find(node);
    return before_ours.empty() || peer == peers.end() || !goes_in(peer->second);
  });
  std::string unknown;
  if (!before_ours.empty() && local.device_index != 0) {
    auto peer = peers.lower_bound(next_);
    int lookups = 0;
    for (std::size_t seen = 0; seen < peers.size() && lookups < kMostLookups; ++seen, ++peer) {
      if (peer == peers.end()) peer = peers.begin();
      if (!goes_in(peer->second)) continue;
      ++lookups;
      const auto way = dataplane_.lookup(peer->second.accepted().cidrs.front().base(), 0);
      if (!way) unknown = way.error().message;
      if (way && way->oif != local.device_index)
        nodes_.insert(peer->first);
      else
        nodes_.erase(peer->first);
    }
    next_ = peer == peers.end() ? "" : peer->first;
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

void Diversions::count(const MeshModel& model, const Traffic& traffic, MonotonicTime now) {
  leaking_.clear();
  std::erase_if(counts_, [&](const auto& item) {
    const auto peer = model.peers().find(item.first);
    return peer == model.peers().end() || peer->second.decision().path != Path::kWireguard;
  });
  for (const auto& [node, peer] : model.peers()) {
    if (peer.decision().path != Path::kWireguard) continue;
    const std::uint64_t bytes = traffic.bytes(node, NftSet::kTxPlaintext);
    Count& seen = counts_.try_emplace(node, Count{now, {}, bytes, bytes}).first->second;
    if (now - seen.since < kGrace) {
      seen.begin = bytes;
    } else if (bytes != seen.bytes) {
      seen.at = now;
    }
    seen.bytes = bytes;
    if (bytes != seen.begin && now - seen.at < kGrace) leaking_[node] = bytes - seen.begin;
  }
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
