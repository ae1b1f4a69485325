// Who owns which prefix, address and key: every claim of every node, and the rules that settle
// conflicts (design section 2).
//
// Pure; one thread. The outcome depends on the claims and on who holds what now, never on the order
// in which claims came. Conflicts are settled per prefix, per address and per key: a refused claim
// costs its node that claim only. What a node yields goes to whoever else claims it, or claims it
// within a wider prefix under a key that is proven. Cost: a change touches the claims it names and
// those that overlap them; of many that claim the same, all only when its holder changes. Lookups
// are logarithmic.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mesh/ip.h"
#include "mesh/public_key.h"

namespace mesh {

using NodeSet = std::set<std::string>;

struct NodeClaims {
  std::vector<Cidr> cidrs;
  std::vector<IpAddress> addresses;  // underlay addresses
  // Owned by nobody; guarded like addresses once the node's key is proven.
  std::vector<IpAddress> endpoint_addresses;
  std::optional<PublicKey> key;
  // Of `cidrs`: what its record no longer has. It keeps these against nobody.
  std::vector<Cidr> yielding = {};
  bool yields_all = false;  // the record is gone: so with all prefixes and addresses
  // Of what it yields, nothing falls to a wider claim: it is blocked, and no other claim is meant
  // for it.
  bool blocked = false;
  friend bool operator==(const NodeClaims&, const NodeClaims&) = default;
};

// What this host itself has: always stronger than any claim of a peer.
struct OwnClaims {
  std::vector<Cidr> cidrs;
  std::set<IpAddress> addresses;  // of the record and of every local interface but the mesh device
  std::optional<PublicKey> key;
  friend bool operator==(const OwnClaims&, const OwnClaims&) = default;
};

struct Accepted {
  std::vector<Cidr> cidrs;            // sorted
  std::vector<IpAddress> addresses;   // sorted
  std::vector<std::string> warnings;  // one a refused claim, with its cause
  friend bool operator==(const Accepted&, const Accepted&) = default;
};

class Claims {
 public:
  // Each returns the nodes whose outcome may have changed.
  NodeSet set_own(OwnClaims own);
  NodeSet set(const std::string& node, NodeClaims claims);
  NodeSet remove(const std::string& node);

  // The outcome for one node under the present holders.
  Accepted resolve(const std::string& node) const;
  // Makes `accepted` the holdings of `node`; returns the others whose outcome may have changed by
  // that. Called for all nodes of a batch after all of them were resolved, so that the batch has no
  // order.
  NodeSet hold(const std::string& node, const Accepted& accepted);
  // Holdings found in a running data path, before the first resolve after a restart.
  void seed(const std::string& node, const Cidr& cidr);

  // Somebody else has proven this node's key, or nobody has and others claim it too.
  bool key_is_duplicate(const std::string& node) const;
  // The node has proven that it holds this key; it keeps it against newcomers until keep_keys()
  // lets it go. Returns whose outcome may have changed.
  NodeSet prove_key(const std::string& node, const PublicKey& key);
  // Lets go of every key that `node` has proven but these: a key it still uses while its record
  // already publishes the next one is one of them. Returns whose outcome may have changed.
  NodeSet keep_keys(const std::string& node, const std::set<PublicKey>& keys);
  const NodeSet& nodes_with_key(const PublicKey& key) const;
  // The prefix through which packets to `address` would enter the mesh, whoever owns it.
  std::optional<Cidr> accepted_prefix_over(const IpAddress& address) const;

 private:
  using Holders = std::map<Cidr, std::string>;

  template <class Key>
  static const NodeSet& nodes_of(const std::map<Key, NodeSet>& index, const Key& key) {
    static const NodeSet kNobody;
    const auto found = index.find(key);
    return found == index.end() ? kNobody : found->second;
  }
  static void add_all(const NodeSet& some, NodeSet& nodes) {
    nodes.insert(some.begin(), some.end());
  }
  // Claimed prefixes around an address, and others of their lengths.
  template <class Visit>  // bool Visit(const Cidr&): true ends
  void visit_covering(const IpAddress& address, Visit visit) const {
    for (const auto& [length, count] : lengths_[address.family() == Family::kIpv4 ? 0 : 1])
      if (visit(Cidr(address, length))) return;
  }
  static const std::string* holder_of(const Holders& holders, const Cidr& cidr);  // null: nobody
  static bool holds(const Holders& holders, const Cidr& cidr, const std::string& node);

  // claims_related.cc
  void index(const std::string& node, const NodeClaims& claims);
  void unindex(const std::string& node, const NodeClaims& claims);
  void relate(const std::string& node, const NodeClaims& claims, NodeSet& nodes) const;
  void relate_claimants(const Cidr& cidr, NodeSet& nodes) const;
  void relate_held_cidr(const Cidr& cidr, NodeSet& nodes) const;
  void relate_held_address(const IpAddress& address, NodeSet& nodes) const;
  void relate_guarded(const std::string& node, const IpAddress& address, NodeSet& nodes) const;
  bool refused_before(const Cidr& cidr, const IpAddress& address, const std::string& node) const;
  void relate_endpoints(const std::string& node, NodeSet& nodes) const;
  void relate_yielding(const Cidr& cidr, NodeSet& nodes) const;
  void relate_yielding(const std::string& node, NodeSet& nodes) const;

  std::string why_cidr_refused(const std::string& node, const Cidr& cidr) const;
  std::string why_cidr_impossible(const std::string& node, const Cidr& cidr) const;
  std::string why_address_refused(const std::string& node, const IpAddress& address) const;
  std::string why_address_impossible(const std::string& node, const IpAddress& address) const;
  std::string why_yielded(const std::string& node, const Cidr& cidr) const;
  bool guards(const std::string& node, const IpAddress& address) const;
  bool yields(const std::string& node, const Cidr& cidr) const;
  bool yields_all(const std::string& node) const;

  OwnClaims own_;
  std::map<std::string, NodeClaims> claims_;
  std::map<Cidr, NodeSet> by_keeping_;  // claimed and not yielded
  std::map<Cidr, NodeSet> by_yielding_;
  std::map<IpAddress, NodeSet> by_address_;  // claimed as addresses
  std::map<IpAddress, NodeSet> by_guarded_;  // claimed as addresses or endpoints
  std::map<PublicKey, NodeSet> by_key_;
  std::array<std::map<int, int>, 2>
      lengths_;  // how many claimed prefixes have this length, per family
  Holders cidr_holders_;
  Holders address_holders_;
  std::map<std::string, Accepted> held_;
  std::map<PublicKey, std::string> key_holders_;
  std::map<std::string, std::set<PublicKey>> held_keys_;  // the same, by node
};

// Why nobody may claim this prefix: the default route, loopback, link-local, multicast,
// IPv4-mapped. "" if one may.
std::string why_prefix_unusable(const Cidr& cidr);

}  // namespace mesh
