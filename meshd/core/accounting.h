// The nftables sets of a mesh: overlapping prefixes split into the disjoint ranges that interval
// sets take, each range counted for the owner of its most specific prefix. Pure; one thread.
//
// Cost: a change recomputes the ranges inside the widest prefix that covers it, and nothing else.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "mesh/kernel.h"

namespace mesh {

class Accounting {
 public:
  struct Prefix {
    std::string node;
    bool workload = false;  // a prefix of the record
    bool address = false;   // an underlay address
    bool required = false;  // must not be sent to, or heard from, in plaintext
    bool blocked = false;   // nothing is sent to it now
    // Of an address: what this host itself sends goes through the mesh alone; nothing goes either
    // way between the hosts but through the mesh.
    bool encrypted_host = false;
    bool required_host = false;
    bool closed = false;  // is not sent to in plaintext now
    friend bool operator==(const Prefix&, const Prefix&) = default;
  };

  // A prefix has one owner: claims are settled before they come here.
  void put(const Cidr& cidr, Prefix prefix);
  void remove(const Cidr& cidr, const std::string& node);  // only if it is that node's
  // My own prefixes and addresses.
  void set_own(const std::vector<Cidr>& cidrs, const std::vector<IpAddress>& addresses);
  // Recomputes what changed since the last call; adds the elements that came or went to `touched`.
  void settle(std::set<NftElement>& touched);

  // Every element that should be, with the node it counts for ("" for my own).
  const std::map<NftElement, std::string>& elements() const { return elements_; }

 private:
  Cidr root_of(const Cidr& cidr) const;
  void recompute(const Cidr& root, std::set<NftElement>& touched);

  std::map<Cidr, Prefix> prefixes_;
  std::set<Cidr> changed_;
  std::map<NftElement, std::string> elements_;
  std::vector<NftElement> own_;
  bool own_changed_ = false;
};

struct OwnedRange {
  IpRange range;
  const Accounting::Prefix* owner = nullptr;
};
// Splits prefixes, in the order of Cidr, into disjoint ranges of their most specific owners.
std::vector<OwnedRange> split_ranges(std::map<Cidr, Accounting::Prefix>::const_iterator first,
                                     std::map<Cidr, Accounting::Prefix>::const_iterator last);

}  // namespace mesh
