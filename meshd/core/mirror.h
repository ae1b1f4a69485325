// The kernel's state as last known: filled by dumps, kept true by events and by our own
// acknowledged operations. The planner compares with it. Pure; one thread.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/desired.h"
#include "mesh/kernel.h"
#include "mesh/plan.h"
#include "mesh/wireguard.h"

namespace mesh {

class Mirror {
 public:
  // --- dumps ---
  // Also learns which endpoints were written: one found at the first sight of a peer counts as
  // written, unless the peer has shaken hands: then it may have roamed, and is adopted.
  void set_device(const WgDevice& device, Touched& touched);
  void clear_device(Touched& touched);  // it is gone, and its routes and addresses with it
  void set_links(const std::vector<Link>& links);
  void set_addresses(const std::vector<LocalAddress>& addresses);
  void set_routes(const std::vector<Route>& routes, Touched& touched);  // of all our tables
  void set_rules(const std::vector<Rule>& rules) { rules_ = {rules.begin(), rules.end()}; }
  // Empty: the table is not there, or nobody knows what it holds.
  void set_nftables(std::optional<NftContents> contents, Touched& touched);
  // Others are wanted: what the sets hold is not touched by that.
  void rules_are_outdated() { ruleset_ = false; }
  // Before a new reading: links come and go by the thousand.
  void clear_link_settings() { link_settings_.clear(); }
  // `in_force`: of the link's own value and that of "all", the one the kernel goes by.
  void set_link_setting(const LinkSetting& in_force) {
    link_settings_[{in_force.link, in_force.sysctl}] = in_force.value;
  }

  // --- our own operations, once acknowledged ---
  void apply(const Operation& operation);

  // --- events ---
  // Returns what kind of object changed otherwise than we know it, "" for our own echoes.
  std::string apply(const KernelEvent& event, const std::string& device_name, Touched& touched);

  const std::optional<WgDevice>& device() const { return device_; }  // without its peers
  const std::map<PublicKey, WgPeer>& peers() const { return peers_; }
  // The endpoint meshd last wrote for the peer; the kernel's own may have roamed since.
  std::optional<Endpoint> written_endpoint(const PublicKey& key) const;
  // Peers whose endpoint an earlier run wrote or the peer's own packets taught: nobody knows. It
  // is good, for it had an answer: the caller says what counts as written from now on.
  const std::set<PublicKey>& adopted_endpoints() const { return adopted_endpoints_; }
  void take_as_written(const PublicKey& key, const Endpoint& endpoint);
  // The peer that has this prefix in its AllowedIPs, if one has.
  std::optional<PublicKey> allowed_to(const Cidr& cidr) const;
  const std::map<std::string, Link>& links() const { return links_; }
  const std::set<LocalAddress>& addresses() const { return addresses_; }
  const std::map<RouteKey, Route>& routes() const { return routes_; }
  const std::set<Rule>& rules() const { return rules_; }
  bool ruleset_installed() const { return ruleset_; }  // the rules, as they are wanted
  bool has_sets() const { return sets_; }              // the table's, and what they hold is known
  const std::set<NftElement>& elements() const { return elements_; }
  std::optional<int> link_setting(const std::string& link, LinkSysctl sysctl) const;
  const Link* link(const std::string& name) const;
  int index_of(const std::string& link_name) const;  // 0: not there

 private:
  struct OnOperation;
  struct OnEvent;
  void change_peer(const WgPeerChange& change);
  void forget_endpoint(const PublicKey& key);
  void drop_device_routes(int ifindex, Touched& touched);

  std::optional<WgDevice> device_;
  std::map<PublicKey, WgPeer> peers_;
  std::map<PublicKey, Endpoint> written_endpoints_;
  std::set<PublicKey> adopted_endpoints_;
  std::map<Cidr, PublicKey> allowed_;  // AllowedIPs belong to one peer each
  std::map<std::string, Link> links_;
  std::set<LocalAddress> addresses_;
  std::map<RouteKey, Route> routes_;
  std::set<Rule> rules_;
  std::set<NftElement> elements_;
  bool ruleset_ = false;
  bool sets_ = false;
  std::map<std::pair<std::string, LinkSysctl>, int> link_settings_;
};

}  // namespace mesh
