#include "core/claims.h"

#include <algorithm>

namespace mesh {
namespace {

// The holder keeps it, else the smallest name gets it, of those that may have it.
template <class May>  // bool May(const std::string& node)
const std::string* strongest(const NodeSet& claimants, const std::string* holder, May may) {
  if (holder != nullptr && claimants.contains(*holder) && may(*holder)) return holder;
  const auto found = std::find_if(claimants.begin(), claimants.end(), may);
  return found == claimants.end() ? nullptr : &*found;
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

const std::string* Claims::holder_of(const Holders& holders, const Cidr& cidr) {
  const auto found = holders.find(cidr);
  return found == holders.end() ? nullptr : &found->second;
}

bool Claims::holds(const Holders& holders, const Cidr& cidr, const std::string& node) {
  const std::string* holder = holder_of(holders, cidr);
  return holder != nullptr && *holder == node;
}

bool Claims::yields_all(const std::string& node) const {
  const auto found = claims_.find(node);
  return found != claims_.end() && found->second.yields_all;
}

bool Claims::yields(const std::string& node, const Cidr& cidr) const {
  return nodes_of(by_yielding_, cidr).contains(node);
}

// To whom `node` yields this prefix; "" while nobody takes it. A wider claim takes it only under a
// proven key: what was encrypted would else be so no more.
std::string Claims::why_yielded(const std::string& node, const Cidr& cidr) const {
  for (const Cidr& mine : own_.cidrs)
    if (mine.covers(cidr)) return "it is this node's own now";
  const auto found = claims_.find(node);
  const bool blocked = found != claims_.end() && found->second.blocked;
  std::string why;
  visit_covering(cidr.base(), [&](const Cidr& around) {
    if (!around.covers(cidr) || (blocked && around != cidr)) return false;
    for (const std::string& other : nodes_of(by_keeping_, around)) {
      if (other == node || (around != cidr && !held_keys_.contains(other)) ||
          !why_cidr_impossible(other, around).empty())
        continue;
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
  // was there first as well.
  const auto refusal = [&](const IpAddress& address, const std::string& other) {
    return fmt::format("it covers {}, an underlay address of {}", address.to_string(), other);
  };
  if (holds(cidr_holders_, cidr, node) && !yields(node, cidr)) {
    for (auto it = address_holders_.lower_bound(Cidr::host(cidr.base()));
         it != address_holders_.end() && cidr.covers(it->first); ++it)
      if (it->second != node && guards(it->second, it->first.base()))
        return refusal(it->first.base(), it->second);
    return "";
  }
  for (auto it = by_guarded_.lower_bound(cidr.base());
       it != by_guarded_.end() && cidr.contains(it->first); ++it)
    for (const std::string& other : it->second)
      if (other != node && guards(other, it->first)) return refusal(it->first, other);
  return "";
}

// Whether an address of `node` stands against prefixes of others over it. An endpoint does once its
// tunnel works: until then anybody could name one to take a prefix away.
bool Claims::guards(const std::string& node, const IpAddress& address) const {
  if (yields_all(node)) return false;
  return nodes_of(by_address_, address).contains(node) ||
         (held_keys_.contains(node) && nodes_of(by_guarded_, address).contains(node));
}

std::string Claims::why_cidr_refused(const std::string& node, const Cidr& cidr) const {
  if (auto why = why_cidr_impossible(node, cidr); !why.empty()) return why;
  const bool yielding = yields(node, cidr);
  if (yielding)
    if (auto why = why_yielded(node, cidr); !why.empty()) return why;
  const std::string* owner =
      strongest(nodes_of(yielding ? by_yielding_ : by_keeping_, cidr),
                holder_of(cidr_holders_, cidr), [&](const std::string& other) {
                  return other == node || why_cidr_impossible(other, cidr).empty();
                });
  return owner == nullptr || *owner == node ? ""
                                            : fmt::format("{} claims it too and keeps it", *owner);
}

// What stands against an address whoever else claims it.
std::string Claims::why_address_impossible(const std::string& node,
                                           const IpAddress& address) const {
  if (const auto why = address.why_not_reachable(); !why.empty())
    return fmt::format("it is {}", why);
  if (own_.addresses.contains(address)) return "it is an address of this host";
  if (holds(address_holders_, Cidr::host(address), node) && !yields_all(node)) return "";
  std::string refused;
  visit_covering(address, [&](const Cidr& cidr) {
    const std::string* holder = holder_of(cidr_holders_, cidr);
    if (holder == nullptr || *holder == node || !nodes_of(by_keeping_, cidr).contains(*holder) ||
        !why_cidr_impossible(*holder, cidr).empty())
      return false;
    refused = fmt::format("it lies in {}, which {} holds", cidr.to_string(), *holder);
    return true;
  });
  return refused;
}

std::string Claims::why_address_refused(const std::string& node, const IpAddress& address) const {
  if (auto why = why_address_impossible(node, address); !why.empty()) return why;
  // What a vanished node had is anybody else's first.
  const NodeSet& claimants = nodes_of(by_address_, address);
  const std::string* owner = nullptr;
  for (const bool yielding : {false, true}) {
    owner = strongest(claimants, holder_of(address_holders_, Cidr::host(address)),
                      [&](const std::string& other) {
                        return yields_all(other) == yielding &&
                               (other == node || why_address_impossible(other, address).empty());
                      });
    if (owner != nullptr) break;
  }
  return owner == nullptr || *owner == node ? ""
                                            : fmt::format("{} claims it too and keeps it", *owner);
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
  Accepted changed;  // what was given up or taken
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
  NodeSet affected;
  for (const Cidr& cidr : changed.cidrs) relate_held_cidr(cidr, affected);
  for (const IpAddress& address : changed.addresses) relate_held_address(address, affected);
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
  return nodes_with_key(key).size() > 1;
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
    add_all(nodes_with_key(key), affected);
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

const NodeSet& Claims::nodes_with_key(const PublicKey& key) const { return nodes_of(by_key_, key); }

std::optional<Cidr> Claims::accepted_prefix_over(const IpAddress& address) const {
  std::optional<Cidr> result;
  visit_covering(address, [&](const Cidr& cidr) {
    if (!cidr_holders_.contains(cidr) ||
        (nodes_of(by_keeping_, cidr).empty() && nodes_of(by_yielding_, cidr).empty()))
      return false;
    result = cidr;
    return true;
  });
  return result;
}

}  // namespace mesh
