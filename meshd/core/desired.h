// What the kernel should hold: the device's own part, and each peer's contribution. Pure; one
// thread.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/accounting.h"
#include "core/local_node.h"
#include "core/path_mtu.h"
#include "mesh/kernel.h"
#include "mesh/public_key.h"

namespace mesh {

// The objects of the kernel that a pass has to look at: those whose desired or actual state
// changed.
struct Touched {
  bool everything = true;  // a full comparison: at the start, after a resync and after lost events
  std::set<PublicKey> peers;
  std::set<RouteKey> routes;
  std::set<NftElement> elements;

  void merge(const Touched& other);
  bool empty() const { return !everything && peers.empty() && routes.empty() && elements.empty(); }
};

struct DesiredPeer {
  std::string node;
  std::optional<Endpoint> endpoint;
  std::vector<Cidr> allowed_ips;  // sorted
  std::uint16_t keepalive = 0;
  friend bool operator==(const DesiredPeer&, const DesiredPeer&) = default;
};

struct DesiredRoute {
  std::string node;
  Route route;
  friend bool operator==(const DesiredRoute&, const DesiredRoute&) = default;
};

// All that one node wants of the kernel.
struct Contribution {
  std::map<PublicKey, DesiredPeer> peers;  // a second one while the node changes its key
  std::vector<Route> routes;
  std::map<Cidr, Accounting::Prefix> prefixes;
  friend bool operator==(const Contribution&, const Contribution&) = default;
};

// The part that belongs to no peer.
struct DesiredDevice {
  bool present = false;  // there is a device to configure
  PublicKey key;
  std::uint16_t listen_port = 0;
  std::uint32_t fwmark = 0;
  std::uint32_t mtu = 0;  // 0: leave
  std::set<IpAddress> addresses;
  std::vector<Rule> rules;
  std::vector<LinkSetting> link_settings;
  NftSpec nft;
  std::set<std::uint32_t> tables;  // meshd's own
  friend bool operator==(const DesiredDevice&, const DesiredDevice&) = default;
};

class Mirror;

class Desired {
 public:
  // Replaces the contributions of these nodes, all at once: a prefix may move between two of them.
  // An empty contribution forgets the node. What came, went or changed is added to `touched`.
  void replace(std::map<std::string, Contribution> contributions, Touched& touched);
  void set_device(DesiredDevice device) { device_ = std::move(device); }
  // My prefixes, those that were mine a moment ago, and my addresses.
  void set_own_prefixes(const LocalNode& local, Touched& touched);

  const DesiredDevice& device() const { return device_; }
  const std::map<PublicKey, DesiredPeer>& peers() const { return peers_; }
  const std::map<RouteKey, DesiredRoute>& routes() const { return routes_; }
  const std::map<NftElement, std::string>& elements() const { return accounting_.elements(); }
  // Who wants this prefix in its AllowedIPs, if anybody does.
  std::optional<PublicKey> allowed_to(const Cidr& cidr) const;

 private:
  void take_out(const Contribution& contribution, const std::string& node, Touched& touched);
  void put_in(const Contribution& contribution, const std::string& node, Touched& touched);

  DesiredDevice device_;
  std::map<std::string, Contribution> contributions_;
  std::map<PublicKey, DesiredPeer> peers_;
  std::map<RouteKey, DesiredRoute> routes_;
  std::map<Cidr, PublicKey> allowed_;
  Accounting accounting_;
};

// The routes that send one prefix the way of `path` through table W: with a guard under a device
// route, so that a vanished device drops instead of leaking. With `device_index` 0 only the guard
// stands.
void add_workload_routes(const LocalNode& local, const Cidr& cidr, Path path, const RouteMtu& mtu,
                         std::vector<Route>& routes);
// The metric of meshd's routes that are not guards, as the kernel reports it.
constexpr std::uint32_t base_metric(Family family) { return family == Family::kIpv4 ? 0 : 1024; }
DesiredDevice desired_device(const LocalNode& local, bool with_rules);
NftSpec nft_spec(const LocalNode& local);
// What of it this kernel cannot do, in words, with the remedy. The guards are never among it.
std::vector<std::string> left_out_of(const NftSpec& spec);
// The settings of links without which the kernel's reverse-path check would refuse what a pair
// sends while its two sides take different paths. Whether what is in force will do: meshd changes
// nothing that does not stand in its way.
std::vector<LinkSetting> wanted_link_settings(const LocalNode& local);
bool will_do(const LinkSetting& wanted, int in_force);
// What the records say now counts as written for endpoints that were found in the device: only a
// record that changes from here on is written over them.
void adopt_endpoints(const Desired& desired, Mirror& mirror);
// My own prefixes stay local whatever a peer claims around them.
Contribution own_contribution(const LocalNode& local);

}  // namespace mesh
