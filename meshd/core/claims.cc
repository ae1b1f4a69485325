#include "core/claims.h"

#include <algorithm>

namespace mesh {
namespace {

std::size_t family_index(Family family) { return family == Family::kIpv4 ? 0 : 1; }

template <class Map, class Key>
void insert_claim(Map& map, const Key& key, const std::string& node) {
  map[key].insert(node);
}

template <class Map, class Key>
void erase_claim(Map& map, const Key& key, const std::string& node) {
  const auto found = map.find(key);
  if (found == map.end()) return;
  found->second.erase(node);
  if (found->second.empty()) map.erase(found);
}

template <class Map, class Key>
void add_claimants(const Map& map, const Key& key, NodeSet& nodes) {
  if (const auto found = map.find(key); found != map.end())
    nodes.insert(found->second.begin(), found->second.end());
}

void sort_unique(NodeClaims& claims) {
  const auto tidy = [](auto& list) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  };
  tidy(claims.cidrs);
  tidy(claims.addresses);
  tidy(claims.endpoint_addresses);
  tidy(claims.yielding);
}

const std::vector<Cidr>& yielded_by(const NodeClaims& claims) {
  return claims.yields_all ? claims.cidrs : claims.yielding;
}

}  // namespace

std::string why_prefix_unusable(const Cidr& cidr) {
  struct Reserved {
    Cidr cidr;
    std::string_view what;
  };
  static const std::array<Reserved, 9> kReserved{{
      {*Cidr::parse("127.0.0.0/8"), "the loopback addresses"},
      {*Cidr::parse("169.254.0.0/16"), "the link-local addresses"},
      {*Cidr::parse("224.0.0.0/4"), "the multicast addresses"},
      {*Cidr::parse("255.255.255.255/32"), "the broadcast address"},
      {*Cidr::parse("0.0.0.0/32"), "the unspecified address"},
      {*Cidr::parse("::/127"), "the unspecified and loopback addresses"},
      {*Cidr::parse("fe80::/10"), "the link-local addresses"},
      {*Cidr::parse("ff00::/8"), "the multicast addresses"},
      {*Cidr::parse("::ffff:0:0/96"), "the IPv4-mapped addresses"},
  }};
  if (cidr.is_default()) return "a default route is never taken from a record";
  for (const Reserved& reserved : kReserved)
    if (reserved.cidr.overlaps(cidr)) return fmt::format("it overlaps {}", reserved.what);
  return "";
}

NodeSet Claims::set_own(OwnClaims own) {
  if (own == own_) return {};
  own_ = std::move(own);
  NodeSet all;
  for (const auto& [node, claims] : claims_) all.insert(node);
  return all;
}

NodeSet Claims::set(const std::string& node, NodeClaims claims) {
  sort_unique(claims);
  const auto found = claims_.find(node);
  if (found != claims_.end() && found->second == claims) return {};
  NodeSet affected = remove(node);
  index(node, claims);
  affected.merge(related(claims));
  affected.insert(node);
  claims_[node] = std::move(claims);
  return affected;
}

NodeSet Claims::remove(const std::string& node) {
  const auto found = claims_.find(node);
  if (found == claims_.end()) return {};
  NodeSet affected = related(found->second);
  affected.insert(node);
  unindex(node, found->second);
  claims_.erase(found);
  return affected;
}

void Claims::index(const std::string& node, const NodeClaims& claims) {
  for (const Cidr& cidr : claims.cidrs) {
    insert_claim(by_cidr_, cidr, node);
    ++lengths_[family_index(cidr.family())][cidr.length()];
  }
  for (const Cidr& cidr : yielded_by(claims)) insert_claim(by_yielding_, cidr, node);
  for (const IpAddress& address : claims.addresses) {
    insert_claim(by_address_, address, node);
    insert_claim(by_guarded_, address, node);
  }
  for (const IpAddress& address : claims.endpoint_addresses)
    insert_claim(by_guarded_, address, node);
  if (claims.key) insert_claim(by_key_, *claims.key, node);
}

void Claims::unindex(const std::string& node, const NodeClaims& claims) {
  for (const Cidr& cidr : claims.cidrs) {
    erase_claim(by_cidr_, cidr, node);
    auto& lengths = lengths_[family_index(cidr.family())];
    if (--lengths[cidr.length()] == 0) lengths.erase(cidr.length());
  }
  for (const Cidr& cidr : yielded_by(claims)) erase_claim(by_yielding_, cidr, node);
  for (const IpAddress& address : claims.addresses) {
    erase_claim(by_address_, address, node);
    erase_claim(by_guarded_, address, node);
  }
  for (const IpAddress& address : claims.endpoint_addresses)
    erase_claim(by_guarded_, address, node);
  if (claims.key) erase_claim(by_key_, *claims.key, node);
}

NodeSet Claims::related(const NodeClaims& claims) const {
  NodeSet nodes;
  for (const Cidr& cidr : claims.cidrs) relate_cidr(cidr, nodes);
  for (const IpAddress& address : claims.addresses) relate_address(address, nodes);
  for (const IpAddress& address : claims.endpoint_addresses) relate_address(address, nodes);
  if (claims.key) add_claimants(by_key_, *claims.key, nodes);
  return nodes;
}

void Claims::relate_cidr(const Cidr& cidr, NodeSet& nodes) const {
  add_claimants(by_cidr_, cidr, nodes);
  for (auto it = by_guarded_.lower_bound(cidr.base());
       it != by_guarded_.end() && cidr.contains(it->first); ++it)
    nodes.insert(it->second.begin(), it->second.end());
  relate_yielding(cidr, nodes);
}

// Who would yield to a claim of `cidr`.
void Claims::relate_yielding(const Cidr& cidr, NodeSet& nodes) const {
  for (auto it = by_yielding_.lower_bound(cidr); it != by_yielding_.end() && cidr.covers(it->first);
       ++it)
    nodes.insert(it->second.begin(), it->second.end());
}

void Claims::relate_yielding(const std::string& node, NodeSet& nodes) const {
  const auto found = claims_.find(node);
  if (found == claims_.end()) return;
  for (const Cidr& cidr : found->second.cidrs) relate_yielding(cidr, nodes);
}

void Claims::relate_address(const IpAddress& address, NodeSet& nodes) const {
  add_claimants(by_guarded_, address, nodes);
  visit_covering(address, [&](const Cidr&, const NodeSet& claimants) {
    nodes.insert(claimants.begin(), claimants.end());
    return false;
  });
}

// Who claims a prefix over an endpoint of this node.
void Claims::relate_endpoints(const std::string& node, NodeSet& nodes) const {
  const auto found = claims_.find(node);
  if (found == claims_.end()) return;
  for (const IpAddress& address : found->second.endpoint_addresses) relate_address(address, nodes);
}

template <class Visit>
void Claims::visit_covering(const IpAddress& address, Visit visit) const {
  for (const auto& [length, count] : lengths_[family_index(address.family())]) {
    const auto found = by_cidr_.find(Cidr(address, length));
    if (found != by_cidr_.end() && visit(found->first, found->second)) return;
  }
}

bool Claims::holds(const Holders& holders, const Cidr& cidr, const std::string& node) const {
  const auto found = holders.find(cidr);
  return found != holders.end() && found->second == node;
}

bool Claims::yields_all(const std::string& node) const {
  const auto found = claims_.find(node);
  return found != claims_.end() && found->second.yields_all;
}

bool Claims::yields(const std::string& node, const Cidr& cidr) const {
  const auto found = by_yielding_.find(cidr);
  return found != by_yielding_.end() && found->second.contains(node);
}

// To whom `node` yields this prefix; "" while nobody takes it. A wider claim takes it only under a
// proven key: what was encrypted would else be so no more.
std::string Claims::why_yielded(const std::string& node, const Cidr& cidr) const {
  for (const Cidr& mine : own_.cidrs)
    if (mine.covers(cidr)) return "it is this node's own now";
  std::string why;
  visit_covering(cidr.base(), [&](const Cidr& around, const NodeSet& claimants) {
    if (!around.covers(cidr)) return false;
    for (const std::string& other : claimants) {
      if (other == node || yields(other, around) || !why_cidr_impossible(other, around).empty())
        continue;
      if (around != cidr && !held_keys_.contains(other)) continue;
      why = fmt::format("{} claims it", other);
      return true;
    }
    return false;
  });
  return why;
}

// What stands against a prefix whoever else claims it.
std::string Claims::why_cidr_impossible(const std::string& node, const Cidr& cidr) const {
  if (auto why = why_prefix_unusable(cidr); !why.empty()) return why;
  for (const Cidr& mine : own_.cidrs)
    if (cidr.covers(mine))
      return fmt::format("it covers this node's own prefix {}", mine.to_string());
  const auto local = own_.addresses.lower_bound(cidr.base());
  if (local != own_.addresses.end() && cidr.contains(*local))
    return fmt::format("it covers this host's own address {}", local->to_string());

  // Another node's underlay address inside it would pull that node's packets into this one's
  // tunnel. The incumbent of the prefix keeps it (the address is refused then), unless the address
  // was there first as well. An endpoint counts once its tunnel works: until then anybody could
  // name one to take a prefix away.
  const bool incumbent = holds(cidr_holders_, cidr, node) && !yields(node, cidr);
  for (auto it = by_guarded_.lower_bound(cidr.base());
       it != by_guarded_.end() && cidr.contains(it->first); ++it) {
    for (const std::string& other : it->second) {
      if (other == node || yields_all(other) ||
          (!claims_address(other, it->first) && !held_keys_.contains(other)))
        continue;
      if (!incumbent || holds(address_holders_, Cidr::host(it->first), other))
        return fmt::format("it covers {}, an underlay address of {}", it->first.to_string(), other);
    }
  }
  return "";
}

bool Claims::claims_address(const std::string& node, const IpAddress& address) const {
  const auto found = by_address_.find(address);
  return found != by_address_.end() && found->second.contains(node);
}

std::string Claims::why_cidr_refused(const std::string& node, const Cidr& cidr) const {
  if (auto why = why_cidr_impossible(node, cidr); !why.empty()) return why;
  const bool yielding = yields(node, cidr);
  if (yielding)
    if (auto why = why_yielded(node, cidr); !why.empty()) return why;
  const NodeSet& claimants = by_cidr_.at(cidr);
  if (claimants.size() == 1) return "";
  std::string owner = node;
  for (const std::string& other : claimants) {
    if (other == owner || yields(other, cidr) != yielding ||
        !why_cidr_impossible(other, cidr).empty())
      continue;
    const bool stronger =
        holds(cidr_holders_, cidr, other) || (!holds(cidr_holders_, cidr, owner) && other < owner);
    if (stronger) owner = other;
  }
  return owner == node ? "" : fmt::format("{} claims it too and keeps it", owner);
}

// What stands against an address whoever else claims it.
std::string Claims::why_address_impossible(const std::string& node,
                                           const IpAddress& address) const {
  if (const auto why = address.why_not_reachable(); !why.empty())
    return fmt::format("it is {}", why);
  if (own_.addresses.contains(address)) return "it is an address of this host";
  if (holds(address_holders_, Cidr::host(address), node) && !yields_all(node)) return "";
  std::string refused;
  visit_covering(address, [&](const Cidr& cidr, const NodeSet& claimants) {
    const auto holder = cidr_holders_.find(cidr);
    if (holder == cidr_holders_.end() || holder->second == node ||
        !claimants.contains(holder->second) || yields(holder->second, cidr))
      return false;
    if (!why_cidr_impossible(holder->second, cidr).empty()) return false;
    refused = fmt::format("it lies in {}, which {} holds", cidr.to_string(), holder->second);
    return true;
  });
  return refused;
}

std::string Claims::why_address_refused(const std::string& node, const IpAddress& address) const {
  if (auto why = why_address_impossible(node, address); !why.empty()) return why;
  const Cidr host = Cidr::host(address);
  std::string owner = node;
  for (const std::string& other : by_address_.at(address)) {
    if (other == owner || !why_address_impossible(other, address).empty()) continue;
    if (yields_all(other) != yields_all(owner)) {
      if (yields_all(owner)) owner = other;
      continue;
    }
    const bool stronger = holds(address_holders_, host, other) ||
                          (!holds(address_holders_, host, owner) && other < owner);
    if (stronger) owner = other;
  }
  return owner == node ? "" : fmt::format("{} claims it too and keeps it", owner);
}

Accepted Claims::resolve(const std::string& node) const {
  Accepted accepted;
  const auto found = claims_.find(node);
  if (found == claims_.end()) return accepted;
  for (const Cidr& cidr : found->second.cidrs) {
    if (const auto why = why_cidr_refused(node, cidr); why.empty()) {
      accepted.cidrs.push_back(cidr);
    } else if (!yields(node, cidr)) {
      accepted.warnings.push_back(fmt::format("prefix {} refused: {}", cidr.to_string(), why));
    }
  }
  for (const IpAddress& address : found->second.addresses) {
    if (const auto why = why_address_refused(node, address); why.empty()) {
      accepted.addresses.push_back(address);
    } else {
      accepted.warnings.push_back(fmt::format("address {} refused: {}", address.to_string(), why));
    }
  }
  return accepted;
}

NodeSet Claims::hold(const std::string& node, const Accepted& accepted) {
  NodeClaims changed;  // what was given up or taken
  Accepted& held = held_[node];
  const auto move = [&](Holders& holders, const auto& before, const auto& after, auto& changes,
                        auto to_cidr) {
    for (const auto& item : before) {
      if (std::binary_search(after.begin(), after.end(), item)) continue;
      if (holds(holders, to_cidr(item), node)) holders.erase(to_cidr(item));
      changes.push_back(item);
    }
    for (const auto& item : after) {
      if (holds(holders, to_cidr(item), node)) continue;
      holders[to_cidr(item)] = node;
      changes.push_back(item);
    }
  };
  move(cidr_holders_, held.cidrs, accepted.cidrs, changed.cidrs,
       [](const Cidr& cidr) { return cidr; });
  move(address_holders_, held.addresses, accepted.addresses, changed.addresses,
       [](const IpAddress& address) { return Cidr::host(address); });
  held = accepted;
  if (held.cidrs.empty() && held.addresses.empty() && !claims_.contains(node)) held_.erase(node);
  NodeSet affected = related(changed);
  affected.erase(node);
  return affected;
}

void Claims::seed(const std::string& node, const Cidr& cidr) {
  const auto found = claims_.find(node);
  if (found == claims_.end()) return;
  const auto add = [](auto& list, const auto& item) {
    list.insert(std::upper_bound(list.begin(), list.end(), item), item);
  };
  const NodeClaims& claims = found->second;
  if (std::binary_search(claims.cidrs.begin(), claims.cidrs.end(), cidr) &&
      cidr_holders_.emplace(cidr, node).second)
    add(held_[node].cidrs, cidr);
  if (cidr.is_host() &&
      std::binary_search(claims.addresses.begin(), claims.addresses.end(), cidr.base()) &&
      address_holders_.emplace(cidr, node).second)
    add(held_[node].addresses, cidr.base());
}

bool Claims::key_is_duplicate(const std::string& node) const {
  const auto found = claims_.find(node);
  if (found == claims_.end() || !found->second.key) return false;
  const PublicKey& key = *found->second.key;
  if (own_.key == key) return true;
  const auto holder = key_holders_.find(key);
  if (holder != key_holders_.end()) return holder->second != node;
  return by_key_.at(key).size() > 1;
}

NodeSet Claims::prove_key(const std::string& node, const PublicKey& key) {
  if (!key_holders_.try_emplace(key, node).second) return {};
  held_keys_[node].insert(key);
  NodeSet affected = nodes_with_key(key);
  relate_endpoints(node, affected);
  relate_yielding(node, affected);
  return affected;
}

NodeSet Claims::keep_keys(const std::string& node, const std::set<PublicKey>& keys) {
  NodeSet affected;
  const auto held = held_keys_.find(node);
  if (held == held_keys_.end()) return affected;
  std::erase_if(held->second, [&](const PublicKey& key) {
    if (keys.contains(key)) return false;
    key_holders_.erase(key);
    affected.merge(nodes_with_key(key));
    return true;
  });
  if (held->second.empty()) {
    held_keys_.erase(held);
    relate_endpoints(node, affected);
    relate_yielding(node, affected);
  }
  affected.erase(node);
  return affected;
}

NodeSet Claims::nodes_with_key(const PublicKey& key) const {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? NodeSet{} : found->second;
}

std::optional<Cidr> Claims::accepted_prefix_over(const IpAddress& address) const {
  std::optional<Cidr> result;
  visit_covering(address, [&](const Cidr& cidr, const NodeSet&) {
    if (!cidr_holders_.contains(cidr)) return false;
    result = cidr;
    return true;
  });
  return result;
}

}  // namespace mesh
