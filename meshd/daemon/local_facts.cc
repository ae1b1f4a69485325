#include "meshd/daemon/local_facts.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <tuple>

#include "core/path_mtu.h"

namespace mesh {
namespace {

constexpr Duration kFindAgain = std::chrono::seconds(10);

const Link* link_by_index(const Mirror& mirror, int index) {
  for (const auto& [name, link] : mirror.links())
    if (link.index == index) return &link;
  return nullptr;
}

bool has_ipv4(const Mirror& mirror, int index) {
  return std::any_of(mirror.addresses().begin(), mirror.addresses().end(),
                     [&](const LocalAddress& address) {
                       return address.ifindex == index && address.address.family() == Family::kIpv4;
                     });
}

// Whether the kernel takes IPv6 routes through the mesh device, which begins as links do by
// default.
bool has_ipv6(const std::string& device) {
  for (const std::string& link : {device, std::string("default")}) {
    std::ifstream file("/proc/sys/net/ipv6/conf/" + link + "/disable_ipv6");
    int disabled = 0;
    if (file >> disabled) return disabled == 0;
  }
  return false;
}

}  // namespace

LocalNode local_from_config(const Config& config) {
  LocalNode local;
  local.name = config.node.name;
  local.addresses = config.node.addresses;
  local.cidrs = config.node.cidrs;
  local.labels = config.node.labels;
  local.mode = config.encryption.mode;
  local.host_traffic = config.encryption.host_traffic;
  local.fallback_after = config.encryption.fallback_after;
  local.allow_withdrawal = config.encryption.allow_withdrawal;
  local.keepalive = static_cast<std::uint16_t>(config.wireguard.persistent_keepalive.count());
  local.device_name = config.wireguard.interface;
  local.listen_port = config.wireguard.listen_port;
  local.fwmark = config.wireguard.fwmark;
  local.table_w = config.wireguard.routing_table;
  local.table_h = config.wireguard.host_table();
  local.table_t = config.wireguard.own_host_table();
  local.failsafe = failsafe_of(config);
  local.rule_priority = config.wireguard.rule_priority;
  local.ipv6 = has_ipv6(local.device_name);
  std::error_code error;
  // Where nobody has loaded it nobody masquerades, and meshd is not the one to burden every packet.
  local.connection_tracking =
      std::filesystem::exists("/proc/sys/net/netfilter/nf_conntrack_max", error);
  return local;
}

Result<std::vector<IpAddress>> default_addresses(Dataplane& dataplane, const Mirror& mirror) {
  auto routes = dataplane.read_routes(kMainTable);
  if (!routes) return routes.error();
  const Route* best = nullptr;
  for (const Route& route : *routes) {
    if (!route.key.destination.is_default() || route.type != RouteType::kUnicast || route.oif == 0)
      continue;
    const auto rank = [](const Route& r) {
      return std::tuple(r.key.destination.family(), r.key.metric);
    };
    if (best == nullptr || rank(route) < rank(*best)) best = &route;
  }
  if (best == nullptr)
    return make_error(
        ErrorCode::kNotFound,
        "this host has no default route to take its underlay addresses from: set node.addresses");
  std::vector<IpAddress> addresses;
  for (const LocalAddress& address : mirror.addresses())
    if (address.ifindex == best->oif && !address.deprecated_or_temporary &&
        address.address.why_not_reachable().empty())
      addresses.push_back(address.address);
  if (addresses.empty())
    return make_error(ErrorCode::kNotFound,
                      "the interface of the default route has no address that peers could reach: "
                      "set node.addresses");
  return addresses;
}

std::vector<IpAddress> UnderlayAddresses::find(const Mirror& mirror,
                                               const std::vector<IpAddress>& last,
                                               MonotonicTime now) {
  if (now < again_ && mirror.addresses() == searched_) return last;
  searched_ = mirror.addresses();
  again_ = now + kFindAgain;
  const auto addresses = default_addresses(dataplane_, mirror);
  if (addresses) {
    problems_.clear("addresses");
    return *addresses;
  }
  problems_.note("addresses", addresses.error().message);
  return last;  // the interface may be on its way back
}

void fill_from_node_object(LocalNode& local, const NodeRecord* own, const LocalNode& last,
                           const Mirror& mirror, Problems& problems) {
  const std::vector<Cidr> configured = local.cidrs;
  if (own != nullptr)
    local.cidrs = own->cidrs;
  else if (!last.cidrs.empty())
    local.cidrs = last.cidrs;
  const auto as_set = [](const std::vector<Cidr>& cidrs) {
    return std::set(cidrs.begin(), cidrs.end());
  };
  if (own != nullptr && !configured.empty() && as_set(configured) != as_set(own->cidrs))
    problems.note("node",
                  "node.cidrs differs from the podCIDRs of this machine's Node, which count: "
                  "take node.cidrs out of the configuration");
  else
    problems.clear("node");
  if (own == nullptr || !local.addresses.empty()) return;
  for (const IpAddress& address : own->addresses)
    if (std::any_of(mirror.addresses().begin(), mirror.addresses().end(),
                    [&](const LocalAddress& here) { return here.address == address; }))
      local.addresses.push_back(address);
}

void fill_from_links(LocalNode& local, const Config& config, const Mirror& mirror) {
  local.host_addresses.clear();
  local.underlay_links.clear();
  local.unnumbered_links.clear();
  const int device = mirror.index_of(local.device_name);
  std::uint32_t underlay_mtu = std::numeric_limits<std::uint32_t>::max();
  for (const LocalAddress& address : mirror.addresses()) {
    if (address.ifindex == device || !address.address.why_not_reachable().empty()) continue;
    local.host_addresses.insert(address.address);
    const bool underlay = std::find(local.addresses.begin(), local.addresses.end(),
                                    address.address) != local.addresses.end();
    const Link* link = link_by_index(mirror, address.ifindex);
    if (!underlay || link == nullptr) continue;
    local.underlay_links.insert(link->name);
    if (!has_ipv4(mirror, link->index)) local.unnumbered_links.insert(link->name);
    underlay_mtu = std::min(underlay_mtu, link->mtu);
  }
  const bool known = underlay_mtu != std::numeric_limits<std::uint32_t>::max();
  local.underlay_mtu = known ? underlay_mtu : 0;
  local.mtu = config.wireguard.mtu;
  local.mtu_fixed = local.mtu != 0;
  if (local.mtu_fixed || !known) return;
  // Peers may choose any of my families: the wider header decides.
  const std::uint32_t overhead =
      mesh_overhead(local.has_family(Family::kIpv6) ? Family::kIpv6 : Family::kIpv4);
  local.mtu = std::max(underlay_mtu > overhead ? underlay_mtu - overhead : 0, kMinimumIpv6Mtu);
}

}  // namespace mesh
