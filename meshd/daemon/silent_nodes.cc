#include "meshd/daemon/silent_nodes.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace mesh {
namespace {

// The last handshake under any key of the peer; empty: none that the device remembers.
std::optional<WallTime> last_heard(const std::string& node, const MeshModel& model,
                                   const Mirror& mirror) {
  std::optional<WallTime> last;
  const auto peer = model.peers().find(node);
  if (peer == model.peers().end()) return last;
  for (const PublicKey& key : peer->second.keys_in_use()) {
    const auto found = mirror.peers().find(key);
    if (found == mirror.peers().end() || !found->second.last_handshake) continue;
    last = std::max(last.value_or(WallTime::min()), *found->second.last_handshake);
  }
  return last;
}

Duration share_of(const std::string& own, const std::string& node) {
  return SilentNodes::kSpread * static_cast<int>(std::hash<std::string>{}(own + "/" + node) % 64) /
         64;
}

}  // namespace

void SilentNodes::on_store_update(const StoreUpdate& update) {
  if (update.complete) told_.clear();
  for (const StoreChange& change : update.changes)
    if (change.entry == nullptr) told_.erase(change.node);
  for (const LivenessChange& change : update.liveness) told_[change.node] = change.silent_since;
}

SilentNodes::Acts SilentNodes::decide(const MeshModel& model, const Mirror& mirror,
                                      Duration forget_after, Instant now) {
  Acts acts;
  next_.reset();
  const auto again_at = [&](MonotonicTime time) { next_ = std::min(next_.value_or(time), time); };
  std::map<std::string, MonotonicTime> asked;
  for (const auto& [node, since] : told_) {
    if (!since || node == model.local().name || forget_after <= Duration::zero()) continue;
    const WallTime heard = last_heard(node, model, mirror).value_or(WallTime::min());
    const WallTime silent = std::max(*since, heard);
    // Before it may be forgotten. (A mark of the future is one that somebody else's clock made.)
    if (silent > now.wall || now.wall - silent < forget_after) {
      const Duration left = silent > now.wall ? forget_after : forget_after - (now.wall - silent);
      again_at(now.monotonic + std::max<Duration>(left, std::chrono::seconds(1)));
      continue;
    }
    const auto before = asked_.find(node);
    MonotonicTime time = before == asked_.end() ? now.monotonic : before->second;
    if (before == asked_.end()) acts.ask.push_back(node);
    const MonotonicTime due = time + kAnswersWithin + share_of(model.local().name, node);
    if (now.monotonic >= due) {
      acts.forget.push_back(node);
      time = now.monotonic;  // and again, should the store not have done it
    }
    asked[node] = time;
    again_at(time + kAnswersWithin + share_of(model.local().name, node));
  }
  asked_ = std::move(asked);
  return acts;
}

std::string SilentNodes::signs_of_life(const std::string& node, const MeshModel& model,
                                       const Mirror& mirror, WallTime now) const {
  if (const auto told = told_.find(node); told != told_.end() && !told->second)
    return fmt::format("{} gives signs of life in the store", node);
  const auto heard = last_heard(node, model, mirror);
  if (heard && now - *heard < kLives)
    return fmt::format("the tunnel to {} answered {} s ago", node,
                       std::chrono::duration_cast<std::chrono::seconds>(now - *heard).count());
  return "";
}

}  // namespace mesh
