#include "core/mesh_model.h"

#include <algorithm>

namespace mesh {
namespace {

// The kernel waits for all its processors at each peer that is removed.
constexpr std::size_t kMostEarlyResets = 64;  // in one pass

}  // namespace

void MeshModel::set_local(LocalNode local, Instant now) {
  former_.change(local_.cidrs, local.cidrs, now.monotonic);
  local.former_cidrs = former_.at(now.monotonic);
  if (local == local_) return;
  const bool addresses_alone = local.differs_in_host_addresses_alone(local_);
  // Having withdrawn my key, I cannot know what the others still have of it.
  if (local_.withdrawn() && !local.withdrawn() && !peers_.empty()) start_over_ = true;
  // What I send tells the peers where I listen now.
  if (local_.listen_port != 0 && local_.listen_port != local.listen_port)
    for (auto& [node, peer] : peers_) peer.show_endpoint();
  NodeSet closed_by_me;  // gone, and blocked because I required encryption, or held whoever had it
  for (const auto& [node, peer] : peers_)
    if (peer.gone() && stays_blocked(peer)) closed_by_me.insert(node);
  local_ = std::move(local);
  OwnClaims own;
  own.cidrs = local_.cidrs;
  own.addresses = local_.host_addresses;
  own.addresses.insert(local_.addresses.begin(), local_.addresses.end());
  if (!local_.key.is_zero()) own.key = local_.key;
  NodeSet related = claims_.set_own(std::move(own));
  local_dirty_ = true;
  // They come and go with every container and every service of a cluster.
  if (addresses_alone) return mark(related);
  mark_all_dirty();
  take_own_labels();
  for (const std::string& node : closed_by_me)
    if (const auto peer = peers_.find(node); !stays_blocked(peer->second)) release(peer);
}

void MeshModel::set_path(const std::string& node, std::optional<MeasuredPath> path) {
  const auto peer = peers_.find(node);
  if (peer != peers_.end() && peer->second.set_path(path)) dirty_.insert(node);
}

void MeshModel::ask(const std::string& node) {
  const auto peer = peers_.find(node);
  if (peer == peers_.end()) return;
  peer->second.show_endpoint();
  dirty_.insert(node);
}

void MeshModel::mark_all_dirty() {
  for (const auto& [node, peer] : peers_) dirty_.insert(node);
}

bool MeshModel::key_is_known(const PublicKey& key) const { return key_of_.contains(key); }

void MeshModel::observe(const Mirror& mirror, const std::map<std::string, std::uint64_t>* inner_tx,
                        Instant now) {
  for (const auto& [key, node] : key_of_) {
    const auto peer = peers_.find(node);
    if (peer == peers_.end()) continue;
    HealthSample sample;
    sample.now = now;
    if (const auto found = mirror.peers().find(key); found != mirror.peers().end()) {
      sample.last_handshake = found->second.last_handshake;
      sample.rx_bytes = found->second.rx_bytes;
      sample.tx_bytes = found->second.tx_bytes;
    }
    if (inner_tx == nullptr)
      sample.inner_tx_bytes.reset();
    else if (const auto sent = inner_tx->find(node); sent != inner_tx->end())
      sample.inner_tx_bytes = sent->second;
    const bool had_deadline = peer->second.deadline(local_, now.monotonic).has_value();
    const bool changed = peer->second.observe(key, sample);
    if (changed || had_deadline != peer->second.deadline(local_, now.monotonic).has_value())
      dirty_.insert(node);
    const auto& active = peer->second.active();
    if (changed && active && active->health.proof(now.monotonic) == Proof::kProven)
      mark(claims_.prove_key(node, active->key));
  }
  update_departing(mirror, now.monotonic);
}

void MeshModel::update_departing(const Mirror& mirror, MonotonicTime now) {
  if (adopting_) return;  // whose a key is, is not known yet
  std::erase_if(departing_, [&](const auto& item) {
    return key_is_known(item.first) || !mirror.peers().contains(item.first);
  });
  for (const auto& [key, wg] : mirror.peers()) {
    if (key_is_known(key)) continue;
    Departing departing{wg.rx_bytes, now};
    // What an earlier run left may still send. Of what appears later nobody was ever told.
    departing.foreign = leftovers_known_;
    const auto [it, inserted] = departing_.try_emplace(key, departing);
    if (!inserted && !it->second.foreign && it->second.rx_bytes != wg.rx_bytes)
      it->second = {wg.rx_bytes, now};
  }
  leftovers_known_ = true;
}

void MeshModel::retire(MonotonicTime now, Requests& requests) {
  if (!store_answered_) return;
  for (const auto& [key, departing] : departing_) {
    if (key_is_known(key)) continue;
    if (departing.foreign) requests.foreign.insert(key);
    if (departing.foreign || now - departing.quiet_since >= kRetireAfter)
      requests.retired.insert(key);
  }
}

// Resolves every dirty node under the same holders, then lets them hold what they got; who is
// touched by that is resolved in another round. One round suffices but for chains of overlapping
// claims; the bound only guards against a bug.
void MeshModel::settle_claims() {
  NodeSet round = dirty_;
  for (int i = 0; i < 16 && !round.empty(); ++i) {
    std::map<std::string, Accepted> outcomes;
    for (const std::string& node : round) outcomes[node] = claims_.resolve(node);
    NodeSet next;
    for (auto& [node, accepted] : outcomes) {
      next.merge(claims_.hold(node, accepted));
      if (const auto peer = peers_.find(node); peer != peers_.end())
        peer->second.set_accepted(std::move(accepted));
    }
    dirty_.insert(next.begin(), next.end());
    round = std::move(next);
  }
}

// A tunnel whose packets would enter the tunnel carries nothing.
void MeshModel::check_endpoint(Peer& peer) {
  peer.set_endpoint_problem("");
  const auto endpoint = peer.endpoint(local_);
  if (!endpoint) return;
  const IpAddress& address = endpoint->address;
  if (const auto prefix = claims_.accepted_prefix_over(address)) {
    peer.set_endpoint_problem(fmt::format("endpoint {} refused: it lies inside the mesh, in {}",
                                          endpoint->to_string(), prefix->to_string()));
  } else if (local_.host_addresses.contains(address) ||
             std::find(local_.addresses.begin(), local_.addresses.end(), address) !=
                 local_.addresses.end()) {
    peer.set_endpoint_problem(
        fmt::format("endpoint {} refused: it is an address of this host", endpoint->to_string()));
  }
}

void MeshModel::decide_peer(const std::string& node, Peer& peer, Instant now, Requests& requests) {
  check_endpoint(peer);
  Peer::KeyFacts facts;
  facts.duplicate = claims_.key_is_duplicate(node);
  facts.stale = peer.announcement().key && departing_.contains(*peer.announcement().key);
  facts.former_receives = peer.former() && departing_.contains(*peer.former());
  find_adopted(peer, facts);
  // The earlier run did not send through it: the peer may have thrown that session away since.
  if (!facts.adopted && peer.announcement().key && old_sessions_.contains(*peer.announcement().key))
    facts.stale = true;
  peer.update_keys(local_, facts, now);
  if (start_over_) peer.start_over(local_, now);
  if (local_.device_index != 0) {
    for (const Peer::Kick& kick : peer.due_kicks(local_, now)) {
      if (kick.look) {
        requests.look = true;
        continue;
      }
      requests.kicks[kick.key] = node;
      if (kick.reset || (kick.early_reset && requests.resets.size() < kMostEarlyResets))
        requests.resets.insert(kick.key);
      if (kick.endpoint) requests.endpoints.insert(kick.key);
    }
  }
  peer.decide(local_, now);
}

void MeshModel::track_keys(const std::string& node, const Peer* peer, MonotonicTime now) {
  std::set<PublicKey> keys = peer != nullptr ? peer->keys_in_use() : std::set<PublicKey>{};
  std::set<PublicKey> kept = keys;
  if (peer != nullptr && !peer->gone() && peer->announcement().key)
    kept.insert(*peer->announcement().key);
  mark(claims_.keep_keys(node, kept));
  if (const auto before = keys_of_.find(node); before != keys_of_.end()) {
    for (const PublicKey& key : before->second) {
      if (keys.contains(key)) continue;
      if (const auto user = key_of_.find(key); user != key_of_.end() && user->second == node)
        key_of_.erase(user);
      departing_.try_emplace(key, Departing{0, now});
    }
  }
  for (const PublicKey& key : keys) key_of_[key] = node;
  if (keys.empty()) {
    keys_of_.erase(node);
  } else {
    keys_of_[node] = std::move(keys);
  }
}

std::vector<std::string> MeshModel::settle(Instant now, Desired& desired, Touched& touched,
                                           Requests& requests) {
  for (auto it = due_.begin(); it != due_.end() && it->first <= now.monotonic; ++it)
    dirty_.insert(it->second);
  NodeSet changed;
  std::map<std::string, Contribution> contributions;
  // A key that one node lets go may be another's: those are decided once more. The bound only
  // guards against a bug.
  for (int round = 0; round < 16 && !dirty_.empty(); ++round) {
    let_go(now.monotonic);
    settle_claims();
    for (const std::string& node : std::exchange(dirty_, {})) {
      set_deadline(node, std::nullopt);
      const auto found = peers_.find(node);
      if (found == peers_.end()) {
        track_keys(node, nullptr, now.monotonic);
        contributions[node] = {};
        changed.insert(node);
        continue;
      }
      Peer& peer = found->second;
      const Decision before = peer.decision();
      const bool was_less = peer.memory().downgrade.has_value();
      const bool first = peer.since() == WallTime{};
      decide_peer(node, peer, now, requests);
      // What the record says now is plaintext: nothing is kept back from it.
      if (peer.decision().path == Path::kPlaintext && peer.lingers()) dirty_.insert(node);
      if (first || peer.decision() != before) changed.insert(node);
      if (peer.memory().downgrade && !was_less) downgrades_[node] = peer.memory().downgrade->cause;
      track_keys(node, &peer, now.monotonic);
      set_deadline(node, peer.deadline(local_, now.monotonic));
      contributions[node] = peer.contribution(local_);
    }
    start_over_ = false;
  }
  if (std::exchange(local_dirty_, false)) {
    contributions[local_.name] = own_contribution(local_);
    desired.set_own_prefixes(local_, touched);
  }
  desired.replace(std::move(contributions), touched);
  retire(now.monotonic, requests);
  requests.downgrades = std::exchange(downgrades_, {});
  if (store_answered_ && adopting_) {
    touched.everything = true;  // what was not removed before the store answered
    adopting_ = false;
    adopted_.clear();
    adopted_mtu_.clear();
    old_sessions_.clear();
  }
  return {changed.begin(), changed.end()};
}

void MeshModel::set_deadline(const std::string& node, std::optional<MonotonicTime> time) {
  if (const auto before = deadlines_.find(node); before != deadlines_.end()) {
    due_.erase({before->second, node});
    deadlines_.erase(before);
  }
  if (!time) return;
  due_.emplace(*time, node);
  deadlines_.emplace(node, *time);
}

std::optional<MonotonicTime> MeshModel::deadline(MonotonicTime now) const {
  std::optional<MonotonicTime> earliest = former_.next();
  if (!due_.empty() && (!earliest || due_.begin()->first < *earliest))
    earliest = due_.begin()->first;
  for (const auto& [key, departing] : departing_) {
    const MonotonicTime time =
        std::max(departing.quiet_since + kRetireAfter, now + std::chrono::seconds(1));
    if (!earliest || time < *earliest) earliest = time;
  }
  return earliest;
}

std::string MeshModel::name_of_key(const PublicKey& key) const {
  const auto& nodes = claims_.nodes_with_key(key);
  return nodes.empty() ? "key " + key.abbreviated() : *nodes.begin();
}

const NodeRecord* MeshModel::own_record() const {
  return own_entry_ ? std::get_if<NodeRecord>(own_entry_.get()) : nullptr;
}

}  // namespace mesh
