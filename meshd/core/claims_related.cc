// Whose outcome a change touches. Of many that claim the same, only what becomes of the one who has
// it concerns the others: else a mesh made from one template would pay for all of them at each
// change of any of them.
#include <algorithm>
#include <iterator>

#include "core/claims.h"

namespace mesh {
namespace {

std::size_t family_index(Family family) { return family == Family::kIpv4 ? 0 : 1; }

template <class Map, class Key>
void erase_claim(Map& map, const Key& key, const std::string& node) {
  const auto found = map.find(key);
  if (found == map.end()) return;
  found->second.erase(node);
  if (found->second.empty()) map.erase(found);
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

bool gives_way(const NodeClaims& claims, const Cidr& cidr) {
  return claims.yields_all ||
         std::binary_search(claims.yielding.begin(), claims.yielding.end(), cidr);
}

// What of `claims` is not in `others`, or not in the same way.
NodeClaims without(const NodeClaims& claims, const NodeClaims& others) {
  if (claims.yields_all != others.yields_all || claims.blocked != others.blocked) return claims;
  NodeClaims rest;
  for (const Cidr& cidr : claims.cidrs)
    if (!std::binary_search(others.cidrs.begin(), others.cidrs.end(), cidr) ||
        gives_way(claims, cidr) != gives_way(others, cidr))
      rest.cidrs.push_back(cidr);
  const auto subtract = [](const auto& from, const auto& list, auto& result) {
    std::set_difference(from.begin(), from.end(), list.begin(), list.end(),
                        std::back_inserter(result));
  };
  subtract(claims.addresses, others.addresses, rest.addresses);
  subtract(claims.endpoint_addresses, others.endpoint_addresses, rest.endpoint_addresses);
  if (claims.key != others.key) rest.key = claims.key;
  return rest;
}

}  // namespace

NodeSet Claims::set_own(OwnClaims own) {
  if (own == own_) return {};
  NodeSet affected;
  if (own.cidrs != own_.cidrs || own.key != own_.key) {
    for (const auto& [node, claims] : claims_) affected.insert(node);
  } else {
    std::vector<IpAddress> changed;
    std::set_symmetric_difference(own.addresses.begin(), own.addresses.end(),
                                  own_.addresses.begin(), own_.addresses.end(),
                                  std::back_inserter(changed));
    for (const IpAddress& address : changed) {
      add_all(nodes_of(by_guarded_, address), affected);
      visit_covering(address, [&](const Cidr& cidr) {
        relate_claimants(cidr, affected);
        return false;
      });
    }
  }
  own_ = std::move(own);
  return affected;
}

NodeSet Claims::set(const std::string& node, NodeClaims claims) {
  sort_unique(claims);
  const auto known = claims_.find(node);
  const NodeClaims before = known == claims_.end() ? NodeClaims{} : known->second;
  if (known != claims_.end() && before == claims) return {};
  NodeSet affected{node};
  relate(node, without(before, claims), affected);
  unindex(node, before);
  index(node, claims);
  relate(node, without(claims, before), affected);
  claims_[node] = std::move(claims);
  return affected;
}

NodeSet Claims::remove(const std::string& node) {
  const auto found = claims_.find(node);
  if (found == claims_.end()) return {};
  NodeSet affected{node};
  relate(node, found->second, affected);
  unindex(node, found->second);
  claims_.erase(found);
  return affected;
}

void Claims::index(const std::string& node, const NodeClaims& claims) {
  for (const Cidr& cidr : claims.cidrs) {
    (gives_way(claims, cidr) ? by_yielding_ : by_keeping_)[cidr].insert(node);
    ++lengths_[family_index(cidr.family())][cidr.length()];
  }
  for (const IpAddress& address : claims.addresses) {
    by_address_[address].insert(node);
    by_guarded_[address].insert(node);
  }
  for (const IpAddress& address : claims.endpoint_addresses) by_guarded_[address].insert(node);
  if (claims.key) by_key_[*claims.key].insert(node);
}

void Claims::unindex(const std::string& node, const NodeClaims& claims) {
  for (const Cidr& cidr : claims.cidrs) {
    erase_claim(gives_way(claims, cidr) ? by_yielding_ : by_keeping_, cidr, node);
    auto& lengths = lengths_[family_index(cidr.family())];
    if (--lengths[cidr.length()] == 0) lengths.erase(cidr.length());
  }
  for (const IpAddress& address : claims.addresses) {
    erase_claim(by_address_, address, node);
    erase_claim(by_guarded_, address, node);
  }
  for (const IpAddress& address : claims.endpoint_addresses)
    erase_claim(by_guarded_, address, node);
  if (claims.key) erase_claim(by_key_, *claims.key, node);
}

// The claims of `node` come or go, and are indexed. A claim of something that somebody else holds
// changes nothing for third parties, and nobody is left in doubt where nobody holds it: who may not
// have it may not whoever else wants it, and everybody else has been marked since.
void Claims::relate(const std::string& node, const NodeClaims& claims, NodeSet& nodes) const {
  for (const Cidr& cidr : claims.cidrs) {
    relate_yielding(cidr, nodes);
    if (const std::string* holder = holder_of(cidr_holders_, cidr)) {
      nodes.insert(*holder);
      if (*holder == node) relate_held_cidr(cidr, nodes);
    }
  }
  for (const IpAddress& address : claims.addresses) {
    if (const std::string* holder = holder_of(address_holders_, Cidr::host(address))) {
      nodes.insert(*holder);
      if (*holder == node) relate_held_address(address, nodes);
    }
    relate_guarded(node, address, nodes);
  }
  for (const IpAddress& address : claims.endpoint_addresses) relate_guarded(node, address, nodes);
  // Without a proof it matters whether a key has one claimant or more.
  if (claims.key && nodes_with_key(*claims.key).size() <= 2)
    add_all(nodes_with_key(*claims.key), nodes);
}

void Claims::relate_claimants(const Cidr& cidr, NodeSet& nodes) const {
  add_all(nodes_of(by_keeping_, cidr), nodes);
  add_all(nodes_of(by_yielding_, cidr), nodes);
}

// The holder of a prefix changes, or what its claim is worth.
void Claims::relate_held_cidr(const Cidr& cidr, NodeSet& nodes) const {
  relate_claimants(cidr, nodes);
  for (auto it = by_guarded_.lower_bound(cidr.base());
       it != by_guarded_.end() && cidr.contains(it->first); ++it)
    add_all(it->second, nodes);
  relate_yielding(cidr, nodes);
}

// The holder of an address changes: for prefixes over it that counts against their holders alone.
void Claims::relate_held_address(const IpAddress& address, NodeSet& nodes) const {
  add_all(nodes_of(by_address_, address), nodes);
  visit_covering(address, [&](const Cidr& cidr) {
    if (const std::string* holder = holder_of(cidr_holders_, cidr)) nodes.insert(*holder);
    return false;
  });
}

// Who would yield to a claim of `cidr`.
void Claims::relate_yielding(const Cidr& cidr, NodeSet& nodes) const {
  for (auto it = by_yielding_.lower_bound(cidr); it != by_yielding_.end() && cidr.covers(it->first);
       ++it)
    add_all(it->second, nodes);
}

void Claims::relate_yielding(const std::string& node, NodeSet& nodes) const {
  const auto found = claims_.find(node);
  if (found == claims_.end()) return;
  for (const Cidr& cidr : found->second.cidrs) relate_yielding(cidr, nodes);
}

// An address of `node` begins or ceases to stand against prefixes over it.
void Claims::relate_guarded(const std::string& node, const IpAddress& address,
                            NodeSet& nodes) const {
  visit_covering(address, [&](const Cidr& cidr) {
    if (const std::string* holder = holder_of(cidr_holders_, cidr)) nodes.insert(*holder);
    if (refused_before(cidr, address, node)) return false;
    relate_claimants(cidr, nodes);
    relate_yielding(cidr, nodes);
    return false;
  });
}

// Whether addresses of two others come before this one in the prefix. One of them is not the
// claimant's own, whoever that is, so it is refused, and with the same words.
bool Claims::refused_before(const Cidr& cidr, const IpAddress& address,
                            const std::string& node) const {
  const std::string* first = nullptr;
  for (auto it = by_guarded_.lower_bound(cidr.base());
       it != by_guarded_.end() && it->first < address; ++it) {
    for (const std::string& other : it->second) {
      if (other == node || (first != nullptr && other == *first) || !guards(other, it->first))
        continue;
      if (first != nullptr) return true;
      first = &other;
    }
  }
  return false;
}

// Who claims a prefix over an endpoint of this node.
void Claims::relate_endpoints(const std::string& node, NodeSet& nodes) const {
  const auto found = claims_.find(node);
  if (found == claims_.end()) return;
  for (const IpAddress& address : found->second.endpoint_addresses)
    relate_guarded(node, address, nodes);
}

}  // namespace mesh
