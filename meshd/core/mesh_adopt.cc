// What the running data path, and an earlier run, show of the mesh before the first decision.
#include <algorithm>

#include "core/mesh_model.h"

namespace mesh {

void MeshModel::adopt(const Mirror& mirror, Instant now) {
  former_.adopt(mirror, local_, now.monotonic);
  local_.former_cidrs = former_.at(now.monotonic);
  local_dirty_ = true;
  std::set<Cidr> closed;  // was not sent in plaintext
  for (const auto& [key, route] : mirror.routes()) {
    // In whichever tables an earlier configuration had them.
    if (route.protocol != kProtocol) continue;
    if (route.mtu != 0) adopted_mtu_[key.destination] = route.mtu;
    if (key.metric != kGuardMetric && route.type != RouteType::kUnicast) continue;
    if (key.metric == kGuardMetric) closed.insert(key.destination);
    Adopted& adopted = adopted_[key.destination];
    adopted.key = mirror.allowed_to(key.destination);
    adopted.session = adopted.key && mirror.peers().at(*adopted.key).last_handshake.has_value();
  }
  for (const auto& [key, wg] : mirror.peers()) {
    if (wg.last_handshake) old_sessions_.insert(key);
    keep_withdrawn(key, wg.allowed_ips, closed, now.monotonic);
    for (const std::string& node : claims_.nodes_with_key(key)) {
      const NodeClaims theirs = peers_.at(node).claims();
      bool holds = claims_.nodes_with_key(key).size() == 1;
      for (const Cidr& cidr : wg.allowed_ips) {
        claims_.seed(node, cidr);
        holds = holds ||
                std::find(theirs.cidrs.begin(), theirs.cidrs.end(), cidr) != theirs.cidrs.end() ||
                (cidr.is_host() && std::find(theirs.addresses.begin(), theirs.addresses.end(),
                                             cidr.base()) != theirs.addresses.end());
      }
      if (holds && wg.last_handshake) mark(claims_.prove_key(node, key));
    }
  }
  adopt_remembered(mirror);
  remembered_.clear();
  mark_all_dirty();
}

// What a record lost while nobody looked: as if it had just happened.
void MeshModel::keep_withdrawn(const PublicKey& key, const std::vector<Cidr>& allowed_ips,
                               const std::set<Cidr>& closed, MonotonicTime now) {
  const NodeSet owners = claims_.nodes_with_key(key);
  if (owners.size() != 1) return;
  Peer& peer = peers_.at(*owners.begin());
  for (const Cidr& cidr : allowed_ips)
    if (closed.contains(cidr)) peer.keep_prefix(cidr, now);
  mark(claims_.set(*owners.begin(), peer.claims()));
}

// The host was started again. What was encrypted before stays so, as under a device that vanished:
// its packets wait for the handshake. What the kernel knows of a peer is newer than what was
// written down; it may know some only, those that the guard closed at boot.
void MeshModel::adopt_remembered(const Mirror& mirror) {
  std::set<Cidr> known;
  for (const auto& [key, route] : mirror.routes())
    if (route.protocol == kProtocol) known.insert(key.destination);
  for (const auto& [node, key] : remembered_) {
    const auto peer = peers_.find(node);
    if (peer == peers_.end() || peer->second.gone() || peer->second.announcement().key != key)
      continue;
    const NodeClaims claims = peer->second.claims();
    const auto is_known = [&](const Cidr& cidr) { return known.contains(cidr); };
    if (std::any_of(claims.cidrs.begin(), claims.cidrs.end(), is_known)) continue;
    if (claims.cidrs.empty() && !known.empty()) continue;
    for (const Cidr& cidr : claims.cidrs) adopted_[cidr].key = key;
    for (const IpAddress& address : claims.addresses) adopted_[Cidr::host(address)].key = key;
    mark(claims_.prove_key(node, key));
  }
}

// How the data path, as it was found, sends to this peer: through which key, and how much at once.
void MeshModel::find_adopted(Peer& peer, Peer::KeyFacts& facts) const {
  const auto& published = peer.announcement().key;
  if (adopted_.empty() || !published) return;
  std::vector<Cidr> prefixes = peer.accepted().cidrs;
  for (const IpAddress& address : peer.accepted().addresses)
    prefixes.push_back(Cidr::host(address));
  for (const Cidr& cidr : prefixes)
    if (const auto mtu = adopted_mtu_.find(cidr); mtu != adopted_mtu_.end())
      peer.adopt_route_mtu(cidr.family(), mtu->second);
  for (const Cidr& cidr : prefixes) {
    const auto found = adopted_.find(cidr);
    if (found == adopted_.end()) continue;
    const PublicKey key = found->second.key.value_or(*published);
    // A key that another node publishes is that node's: the prefix has moved since.
    if (key != *published && (!claims_.nodes_with_key(key).empty() || key == local_.key)) continue;
    facts.adopted = key;
    facts.adopted_session = found->second.session;
    return;
  }
}

}  // namespace mesh
