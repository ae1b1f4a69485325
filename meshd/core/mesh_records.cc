// How records come into the model, and what becomes of a node whose record goes.
#include "core/mesh_model.h"

namespace mesh {

std::size_t MeshModel::apply(const StoreUpdate& update, Instant now) {
  close_what_goes(update);
  std::size_t changed = update.changes.size() + apply_policies(update);
  take_own_labels();  // whoever comes and vanishes in this update is judged by them
  for (const StoreChange& change : update.changes) apply_change(change, now.monotonic);
  if (update.complete) {
    take_own_labels();
    NodeSet listed;
    for (const StoreChange& change : update.changes) listed.insert(change.node);
    recall(listed, now.monotonic);
    NodeSet gone;
    for (const auto& [node, peer] : peers_)
      if (!listed.contains(node)) gone.insert(node);
    std::erase_if(refused_, [&](const auto& item) { return !listed.contains(item.first); });
    for (const std::string& node : gone) record_is_gone(node, now.monotonic);
    changed += gone.size();
    if (!listed.contains(local_.name)) {
      own_entry_.reset();
      own_bad_ = false;
    }
  }
  store_answered_ = store_answered_ || update.in_sync;
  take_own_labels();
  return changed;
}

// A store that loses records and policies at once turns no encryption off: what required it until
// now still judges whose record goes.
void MeshModel::close_what_goes(const StoreUpdate& update) {
  if (update.policies.empty() && !update.complete) return;  // the policies stay as they are
  NodeSet listed;
  NodeSet gone;
  for (const StoreChange& change : update.changes)
    (change.entry ? listed : gone).insert(change.node);
  if (update.complete)
    for (const auto& [node, peer] : peers_)
      if (!listed.contains(node)) gone.insert(node);
  for (const std::string& node : gone)
    if (const auto peer = peers_.find(node); peer != peers_.end() && stays_blocked(peer->second))
      forget(node);
}

void MeshModel::restore(const StoreUpdate& records, std::map<std::string, PublicKey> proven,
                        Labels own_labels, Instant now) {
  restored_labels_ = std::move(own_labels);
  (void)apply(records, now);
  remembered_ = std::move(proven);
  restored_ = true;
}

void MeshModel::remember(std::vector<Remembered> nodes) {
  for (Remembered& node : nodes) {
    const std::string& name = std::get<NodeRecord>(*node.record).name;
    if (node.sent_through) remembered_.emplace(name, *node.sent_through);
    recalled_.emplace(name, std::move(node));
  }
}

// A node as an earlier run knew it, if it is not known by now.
void MeshModel::take_back(const Remembered& node, MonotonicTime now) {
  const std::string& name = std::get<NodeRecord>(*node.record).name;
  const auto [place, is_new] = peers_.try_emplace(name, name);
  if (!is_new) return;
  Peer& peer = place->second;
  peer.set_memory(node.memory);
  pair_policies_.set_peer(name, node.record);
  peer.set_record(node.record, now);
  peer.set_gone(node.gone);
  mark(claims_.set(name, peer.claims()));
  dirty_.insert(name);
}

// Whose record went while nobody looked: as if it went now.
void MeshModel::recall(const NodeSet& listed, MonotonicTime now) {
  for (const auto& [name, node] : std::exchange(recalled_, {}))
    if (!listed.contains(name) && name != local_.name) take_back(node, now);
}

Result<void> MeshModel::allow_downgrade(const std::string& node) {
  const auto found = peers_.find(node);
  if (found == peers_.end())
    return make_error(ErrorCode::kNotFound, "{} has no peer '{}'", local_.name, node);
  Peer& peer = found->second;
  if (!peer.allow_downgrade())
    return make_error(ErrorCode::kInvalid,
                      "{} has withdrawn nothing that waits to be allowed: it is {}{}", node,
                      to_string(peer.decision().state),
                      peer.mode(local_) == Mode::kRequire ? ", and encryption is required" : "");
  dirty_.insert(node);
  if (peer.gone() && !stays_blocked(peer)) release(found);
  return {};
}

// Whoever deletes a record must not thereby turn encryption off: its prefixes stay claimed, and
// blocked, until another node claims them or an operator forgets the node; also when the policy
// that required encryption goes later.
bool MeshModel::stays_blocked(const Peer& peer) const {
  return peer.mode(local_) == Mode::kRequire || peer.held(local_);
}

void MeshModel::apply_change(const StoreChange& change, MonotonicTime now) {
  const BadRecord* bad = change.entry ? std::get_if<BadRecord>(change.entry.get()) : nullptr;
  if (change.node == local_.name) {
    own_entry_ = change.entry;
    own_bad_ = bad != nullptr;
    return;
  }
  if (!change.entry) {
    refused_.erase(change.node);
    record_is_gone(change.node, now);
    return;
  }
  if (bad != nullptr) {
    // Of a node that an earlier run knew, that one's last good record stays.
    if (const auto earlier = recalled_.find(change.node); earlier != recalled_.end())
      take_back(earlier->second, now);
    const auto known = peers_.find(change.node);
    if (known == peers_.end()) {
      refused_[change.node] = bad->message;
    } else {
      known->second.set_bad_record(bad->message);
      mark(claims_.set(change.node, known->second.claims()));
      dirty_.insert(change.node);
    }
    return;
  }
  refused_.erase(change.node);
  const auto [place, is_new] = peers_.try_emplace(change.node, change.node);
  Peer& peer = place->second;
  if (const auto earlier = recalled_.find(change.node); is_new && earlier != recalled_.end())
    peer.set_memory(earlier->second.memory);
  peer.set_record(change.entry, now);
  pair_policies_.set_peer(change.node, change.entry);
  mark(claims_.set(change.node, peer.claims()));
  dirty_.insert(change.node);
  if (!peer.announcement().key) return;
  const NodeSet& owners = claims_.nodes_with_key(*peer.announcement().key);
  if (owners.size() != 2) return;  // a node that has vanished was alone with its key
  for (const std::string& other : NodeSet(owners))
    if (other != change.node && peers_.at(other).vanished()) forget(other);  // this is what it is
}

// An orderly leave withdraws the key first. Whatever else takes a record away must not thereby turn
// encryption off in the same moment: its owner may put it back, or another node take over.
void MeshModel::record_is_gone(const std::string& node, MonotonicTime now) {
  refresh_policies();  // of a node that came in the same update, they have not been asked yet
  const auto found = peers_.find(node);
  if (found == peers_.end() || found->second.vanished() || found->second.gone()) return;
  Peer& peer = found->second;
  if (const auto earlier = recalled_.find(node); earlier != recalled_.end() && earlier->second.gone)
    peer.set_gone(true);  // it was before, whatever closed it then
  const auto& key = peer.announcement().key;
  const bool left =
      peer.decision().path != Path::kWireguard || !key || claims_.nodes_with_key(*key).size() != 1;
  if (left || peer.gone() || peer.mode(local_) == Mode::kRequire) {
    forget(node);
    return;
  }
  peer.vanish(now);
  mark(claims_.set(node, peer.claims()));
  dirty_.insert(node);
}

void MeshModel::forget(const std::string& node) {
  const auto found = peers_.find(node);
  if (found == peers_.end()) return;
  dirty_.insert(node);
  if (found->second.gone() || stays_blocked(found->second)) {
    found->second.set_gone(true);
    mark(claims_.set(node, found->second.claims()));
    return;
  }
  release(found);
}

void MeshModel::release(std::map<std::string, Peer>::iterator peer) {
  dirty_.insert(peer->first);
  if (const EncryptionMemory& memory = peer->second.memory(); memory.proven && !memory.downgrade)
    downgrades_[peer->first] = Reason::kNoRecord;
  erase(peer);
}

void MeshModel::erase(std::map<std::string, Peer>::iterator peer) {
  mark(claims_.remove(peer->first));
  pair_policies_.remove_peer(peer->first);
  peers_.erase(peer);
}

Result<void> MeshModel::forget_gone(const std::string& node) {
  const auto found = peers_.find(node);
  if (found == peers_.end())
    return make_error(ErrorCode::kNotFound, "no node '{}' is known here (see `meshctl status`)",
                      node.substr(0, 64));
  if (!found->second.gone())
    return make_error(ErrorCode::kInvalid,
                      "the record of {} is in the store: delete it there first, and what must "
                      "encrypt stays blocked until it is forgotten",
                      node);
  dirty_.insert(node);
  erase(found);
  return {};
}

// What records have lost, and nobody has claimed in time.
void MeshModel::let_go(MonotonicTime now) {
  for (const std::string& node : NodeSet(dirty_)) {
    const auto found = peers_.find(node);
    if (found == peers_.end()) continue;
    Peer& peer = found->second;
    const bool open = peer.decision().path == Path::kPlaintext;
    if (peer.vanished_for_good(now) || (peer.vanished() && open)) {
      forget(node);
    } else if (peer.let_go(now)) {
      mark(claims_.set(node, peer.claims()));
    }
  }
}

}  // namespace mesh
