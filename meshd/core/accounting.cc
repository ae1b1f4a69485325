#include "core/accounting.h"

#include <algorithm>
#include <array>

namespace mesh {
namespace {

std::vector<NftSet> sets_of(const Accounting::Prefix& prefix) {
  std::vector<NftSet> sets{NftSet::kTxWireguard, NftSet::kRxWireguard, NftSet::kTxPlaintext,
                           NftSet::kRxPlaintext, NftSet::kPeer};
  if (prefix.workload) sets.insert(sets.end(), {NftSet::kForeign, NftSet::kPinned});
  if (prefix.address) sets.push_back(NftSet::kPeerAddress);
  if (prefix.required) sets.insert(sets.end(), {NftSet::kTxRequired, NftSet::kRxRequired});
  if (prefix.encrypted_host) sets.push_back(NftSet::kEncryptedHosts);
  if (prefix.required_host)
    sets.insert(sets.end(), {NftSet::kRequiredHosts, NftSet::kRxRequiredHosts});
  if (prefix.blocked) sets.push_back(NftSet::kTxBlocked);
  if (prefix.address && prefix.closed) sets.push_back(NftSet::kClosedHop);
  return sets;
}

constexpr std::array kPeerSets{
    NftSet::kPeerAddress, NftSet::kPeer,           NftSet::kForeign,        NftSet::kTxWireguard,
    NftSet::kRxWireguard, NftSet::kTxPlaintext,    NftSet::kRxPlaintext,    NftSet::kTxRequired,
    NftSet::kRxRequired,  NftSet::kEncryptedHosts, NftSet::kRequiredHosts,  NftSet::kClosedHop,
    NftSet::kPinned,      NftSet::kTxBlocked,      NftSet::kRxRequiredHosts};

}  // namespace

std::vector<OwnedRange> split_ranges(std::map<Cidr, Accounting::Prefix>::const_iterator first,
                                     std::map<Cidr, Accounting::Prefix>::const_iterator last) {
  struct Open {
    IpAddress last;
    const Accounting::Prefix* owner;
  };
  std::vector<OwnedRange> ranges;
  std::vector<Open> open;  // from the widest to the most specific prefix around the cursor
  IpAddress cursor;
  bool exhausted = false;  // the innermost open prefix is covered to its last address

  const auto close_innermost = [&] {
    if (!exhausted) ranges.push_back({{cursor, open.back().last}, open.back().owner});
    const IpAddress end = open.back().last;
    open.pop_back();
    exhausted = !open.empty() && open.back().last == end;
    if (!exhausted && !open.empty()) cursor = end.next();
  };
  for (auto it = first; it != last; ++it) {
    const IpAddress& base = it->first.base();
    while (!open.empty() && (open.back().last.family() != base.family() || open.back().last < base))
      close_innermost();
    if (!open.empty() && cursor < base)
      ranges.push_back({{cursor, base.previous()}, open.back().owner});
    open.push_back({it->first.last(), &it->second});
    cursor = base;
    exhausted = false;
  }
  while (!open.empty()) close_innermost();
  return ranges;
}

void Accounting::put(const Cidr& cidr, Prefix prefix) {
  const auto [it, inserted] = prefixes_.try_emplace(cidr, prefix);
  if (!inserted && it->second == prefix) return;
  it->second = std::move(prefix);
  changed_.insert(cidr);
}

void Accounting::remove(const Cidr& cidr, const std::string& node) {
  const auto found = prefixes_.find(cidr);
  if (found == prefixes_.end() || found->second.node != node) return;
  prefixes_.erase(found);
  changed_.insert(cidr);
}

void Accounting::set_own(const std::vector<Cidr>& cidrs, const std::vector<IpAddress>& addresses) {
  std::set<Cidr> own(cidrs.begin(), cidrs.end());
  for (const IpAddress& address : addresses) own.insert(Cidr::host(address));
  std::vector<NftElement> elements;
  for (const Cidr& cidr : own) {
    const bool covered = std::any_of(own.begin(), own.end(),
                                     [&](const Cidr& o) { return o != cidr && o.covers(cidr); });
    if (!covered) elements.push_back({NftSet::kOwn, {cidr.base(), cidr.last()}});
  }
  for (const IpAddress& address : std::set<IpAddress>(addresses.begin(), addresses.end()))
    elements.push_back({NftSet::kOwnAddress, {address, address}});
  if (elements == own_) return;
  own_changed_ = true;
  own_ = std::move(elements);
}

// The widest prefix around `cidr`: what happens inside it never changes a range outside it.
Cidr Accounting::root_of(const Cidr& cidr) const {
  for (int length = 0; length < cidr.length(); ++length)
    if (const Cidr wider(cidr.base(), length); prefixes_.contains(wider)) return wider;
  return cidr;
}

void Accounting::recompute(const Cidr& root, std::set<NftElement>& touched) {
  for (const NftSet set : kPeerSets) {
    auto it = elements_.lower_bound({set, {root.base(), root.base()}});
    while (it != elements_.end() && it->first.set == set && root.contains(it->first.range.first)) {
      touched.insert(it->first);
      it = elements_.erase(it);
    }
  }
  auto end = prefixes_.lower_bound(root);
  const auto begin = end;
  while (end != prefixes_.end() && root.covers(end->first)) ++end;
  for (const OwnedRange& owned : split_ranges(begin, end)) {
    for (const NftSet set : sets_of(*owned.owner)) {
      const NftElement element{set, owned.range};
      elements_[element] = owned.owner->node;
      touched.insert(element);
    }
  }
}

void Accounting::settle(std::set<NftElement>& touched) {
  std::set<Cidr> roots;
  for (const Cidr& cidr : changed_) roots.insert(root_of(cidr));
  changed_.clear();
  for (const Cidr& root : roots) recompute(root, touched);
  if (!own_changed_) return;
  own_changed_ = false;
  for (const NftSet set : {NftSet::kOwn, NftSet::kOwnAddress}) {
    const auto first = elements_.lower_bound({set, {}});
    auto last = first;
    for (; last != elements_.end() && last->first.set == set; ++last) touched.insert(last->first);
    elements_.erase(first, last);
  }
  for (const NftElement& element : own_) {
    elements_[element] = "";
    touched.insert(element);
  }
}

}  // namespace mesh
