#include "core/desired.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/mirror.h"

namespace mesh {
namespace {

// RFC 7600: the IPv4 dummy address, for a device that must have one on a node that has none of its
// own.
const IpAddress kDummyAddress = IpAddress::v4(0xC0000008);

// Of rp_filter.
constexpr int kStrict = 1;
constexpr int kLoose = 2;

std::set<IpAddress> device_addresses(const LocalNode& local) {
  std::set<IpAddress> addresses;
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    if (!local.carries(family)) continue;
    if (const auto preferred = local.preferred_source(family)) {
      addresses.insert(*preferred);
      continue;
    }
    const auto underlay =
        std::find_if(local.addresses.begin(), local.addresses.end(),
                     [&](const IpAddress& address) { return address.family() == family; });
    if (underlay != local.addresses.end()) {
      addresses.insert(*underlay);
    } else if (family == Family::kIpv4) {
      // The reverse-path check refuses everything that arrives on a device without an IPv4 address,
      // even in loose mode.
      addresses.insert(kDummyAddress);
    }
  }
  return addresses;
}

// Traffic to and from an exempt port: both ends know it by the port, as the source of one and the
// destination of the other.
void add_failsafe_rules(const LocalNode& local, Family family, const FailsafePort& port,
                        std::vector<Rule>& rules) {
  if (port.address && port.address->family() != family) return;
  Rule rule;
  rule.family = family;
  rule.priority = local.rule_priority + 1;
  rule.table = kMainTable;
  rule.locally_made = true;
  rule.ip_protocol = port.protocol;
  Rule there = rule;
  there.destination_ports = port.ports;
  Rule back = rule;
  back.source_ports = port.ports;
  if (port.address) {
    there.destination = Cidr::host(*port.address);
    back.source = Cidr::host(*port.address);
  }
  rules.push_back(there);
  rules.push_back(back);
}

// What this host itself sends to its peers' addresses: to those of pairs that both cover it,
// through the mesh. `iif lo` leaves out what others send through this host: a peer would refuse it,
// and a peer that lost its keys may reach its store over this host's forwarding alone.
void add_host_rules(const LocalNode& local, Family family, std::vector<Rule>& rules) {
  for (const FailsafePort& port : local.failsafe) add_failsafe_rules(local, family, port, rules);
  // WireGuard's own packets bear the mark; the reverse-path check looks without it.
  add_failsafe_rules(local, family,
                     {IpProtocol::kUdp, {local.listen_port, local.listen_port}, std::nullopt},
                     rules);
  Rule rule;
  rule.family = family;
  rule.priority = local.rule_priority + 2;
  rule.fwmask = local.fwmark;
  rule.table = local.table_t;
  rule.locally_made = true;
  rules.push_back(rule);
}

std::vector<Rule> rules(const LocalNode& local) {
  std::vector<Rule> rules;
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    if (!local.carries(family)) continue;
    // The only selector, so that the inversion negates it alone.
    rules.push_back({family, local.rule_priority, true, local.fwmark, local.fwmark, std::nullopt,
                     local.table_w});
    if (local.host_traffic) add_host_rules(local, family, rules);
  }
  for (const auto* cidrs : {&local.cidrs, &local.former_cidrs})
    for (const Cidr& cidr : *cidrs)
      if (local.carries(cidr.family()))
        rules.push_back(
            {cidr.family(), local.rule_priority + 2, false, 0, local.fwmark, cidr, local.table_h});
  std::sort(rules.begin(), rules.end());
  rules.erase(std::unique(rules.begin(), rules.end()), rules.end());
  return rules;
}

}  // namespace

void Touched::merge(const Touched& other) {
  everything = everything || other.everything;
  peers.insert(other.peers.begin(), other.peers.end());
  routes.insert(other.routes.begin(), other.routes.end());
  elements.insert(other.elements.begin(), other.elements.end());
}

void Desired::take_out(const Contribution& contribution, const std::string& node,
                       Touched& touched) {
  for (const auto& [key, peer] : contribution.peers) {
    touched.peers.insert(key);
    peers_.erase(key);
    for (const Cidr& cidr : peer.allowed_ips) allowed_.erase(cidr);
  }
  for (const Route& route : contribution.routes) {
    touched.routes.insert(route.key);
    routes_.erase(route.key);
  }
  for (const auto& [cidr, prefix] : contribution.prefixes) accounting_.remove(cidr, node);
}

void Desired::put_in(const Contribution& contribution, const std::string& node, Touched& touched) {
  for (const auto& [key, peer] : contribution.peers) {
    touched.peers.insert(key);
    peers_[key] = peer;
    for (const Cidr& cidr : peer.allowed_ips) allowed_[cidr] = key;
  }
  for (const Route& route : contribution.routes) {
    touched.routes.insert(route.key);
    routes_[route.key] = {node, route};
  }
  for (const auto& [cidr, prefix] : contribution.prefixes) accounting_.put(cidr, prefix);
}

void Desired::replace(std::map<std::string, Contribution> contributions, Touched& touched) {
  std::erase_if(contributions, [&](const auto& item) {
    const auto found = contributions_.find(item.first);
    return found == contributions_.end() ? item.second == Contribution{}
                                         : found->second == item.second;
  });
  for (const auto& [node, contribution] : contributions)
    if (const auto found = contributions_.find(node); found != contributions_.end())
      take_out(found->second, node, touched);
  for (auto& [node, contribution] : contributions) {
    put_in(contribution, node, touched);
    if (contribution == Contribution{}) {
      contributions_.erase(node);
    } else {
      contributions_[node] = std::move(contribution);
    }
  }
  accounting_.settle(touched.elements);
}

void Desired::set_own_prefixes(const LocalNode& local, Touched& touched) {
  std::vector<Cidr> cidrs = local.cidrs;
  cidrs.insert(cidrs.end(), local.former_cidrs.begin(), local.former_cidrs.end());
  accounting_.set_own(cidrs, local.addresses);
  accounting_.settle(touched.elements);
}

std::optional<PublicKey> Desired::allowed_to(const Cidr& cidr) const {
  const auto found = allowed_.find(cidr);
  if (found == allowed_.end()) return std::nullopt;
  return found->second;
}

void add_workload_routes(const LocalNode& local, const Cidr& cidr, Path path, const RouteMtu& mtu,
                         std::vector<Route>& routes) {
  if (!local.carries(cidr.family())) return;
  Route route;
  route.key = {local.table_w, cidr, base_metric(cidr.family())};
  switch (path) {
    case Path::kPlaintext:
      route.type = RouteType::kThrow;
      break;
    case Path::kDrop:
      route.type = RouteType::kUnreachable;
      break;
    case Path::kWireguard: {
      Route guard = route;
      guard.type = RouteType::kUnreachable;
      guard.key.metric = kGuardMetric;
      routes.push_back(guard);
      if (local.device_index == 0) return;
      route.type = RouteType::kUnicast;
      route.oif = local.device_index;
      route.preferred_source = local.preferred_source(cidr.family());
      route.set_mtu(mtu.of(cidr.family()));
      break;
    }
  }
  routes.push_back(route);
}

DesiredDevice desired_device(const LocalNode& local, bool with_rules) {
  DesiredDevice device;
  device.present = local.has_wireguard() && local.device_index != 0;
  device.key = local.key;
  device.listen_port = local.listen_port;
  device.fwmark = local.fwmark;
  device.mtu = local.mtu;
  if (device.present) device.addresses = device_addresses(local);
  if (with_rules) device.rules = rules(local);
  if (local.has_wireguard()) device.link_settings = wanted_link_settings(local);
  device.nft = nft_spec(local);
  device.tables = local.tables();
  return device;
}

NftSpec nft_spec(const LocalNode& local) {
  NftSpec spec{local.device_name, local.fwmark};
  if (!local.former_ports.empty() || local.host_traffic) spec.listen_port = local.listen_port;
  spec.former_ports = local.former_ports;
  spec.pins = local.connection_tracking;
  spec.host_traffic = local.host_traffic;
  if (local.host_traffic) spec.failsafe = local.failsafe;
  spec.kernel_has = local.nft;
  return spec;
}

std::vector<std::string> left_out_of(const NftSpec& spec) {
  std::vector<std::string> warnings;
  const NftExpressions& has = spec.kernel_has;
  if (spec.pins && !(has.ct && has.fib))
    warnings.push_back(fmt::format(
        "this kernel's nf_tables has no {}: masqueraded connections from before their peer was "
        "encrypted are cut instead of going on as they began (`modprobe {}` and restart meshd)",
        has.ct ? "fib expression" : "connection tracking", has.ct ? "nft_fib_inet" : "nft_ct"));
  if (spec.host_traffic && !has.fib)
    warnings.emplace_back(
        "this kernel's nf_tables has no fib expression: between nodes, only the addresses of this "
        "node's record are guarded, and no others it may have (`modprobe nft_fib_inet` and restart "
        "meshd)");
  if (!spec.former_ports.empty() && !has.socket)
    warnings.emplace_back(
        "this kernel's nf_tables has no socket expression: while wireguard.listenPort moves, a few "
        "packets may be lost");
  return warnings;
}

std::vector<LinkSetting> wanted_link_settings(const LocalNode& local) {
  std::vector<LinkSetting> wanted{{local.device_name, LinkSysctl::kRpFilter, kLoose}};
  for (const std::string& link : local.underlay_links)
    wanted.push_back({link, LinkSysctl::kRpFilter, kLoose});
  // On a link without an IPv4 address, loose is not enough: the check insists on a route back over
  // that very link. nftables marks what a peer sends past the mesh, and under the mark the route
  // back is the main table's.
  for (const std::string& link : local.unnumbered_links)
    wanted.push_back({link, LinkSysctl::kSrcValidMark, 1});
  return wanted;
}

bool will_do(const LinkSetting& wanted, int in_force) {
  switch (wanted.sysctl) {
    case LinkSysctl::kRpFilter:
      return in_force != kStrict;
    case LinkSysctl::kSrcValidMark:
      return in_force != 0;
  }
  return true;
}

void adopt_endpoints(const Desired& desired, Mirror& mirror) {
  for (const PublicKey& key : std::set<PublicKey>(mirror.adopted_endpoints()))
    if (const auto peer = desired.peers().find(key);
        peer != desired.peers().end() && peer->second.endpoint)
      mirror.take_as_written(key, *peer->second.endpoint);
}

Contribution own_contribution(const LocalNode& local) {
  Contribution contribution;
  for (const Cidr& cidr : local.cidrs)
    add_workload_routes(local, cidr, Path::kPlaintext, {}, contribution.routes);
  return contribution;
}

}  // namespace mesh
