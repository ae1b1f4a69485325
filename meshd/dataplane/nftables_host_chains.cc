#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "meshd/dataplane/nftables_chains.h"

namespace mesh::nft {
namespace {

// "{ 22, 67-68 }" of the ports that are exempt for any address, joined where they touch: nft takes
// no overlaps. Empty when there are none.
std::string port_list(const NftSpec& spec, IpProtocol protocol) {
  std::vector<PortRange> ranges;
  for (const FailsafePort& port : spec.failsafe)
    if (port.protocol == protocol && !port.address) ranges.push_back(port.ports);
  std::sort(ranges.begin(), ranges.end());
  std::vector<PortRange> joined;
  for (const PortRange& range : ranges) {
    if (!joined.empty() && range.first <= joined.back().last + 1)
      joined.back().last = std::max(joined.back().last, range.last);
    else
      joined.push_back(range);
  }
  std::string text;
  for (const PortRange& range : joined) text += (text.empty() ? "" : ", ") + range.to_string();
  return text.empty() ? text : "{ " + text + " }";
}

// What is exempt by its ports, in either direction: `verdict` for each.
std::vector<Rule> exempt_ports(Family family, const NftSpec& spec, const std::string& before,
                               const std::string& verdict) {
  std::vector<Rule> rules;
  for (const IpProtocol protocol : {IpProtocol::kTcp, IpProtocol::kUdp}) {
    const std::string ports = port_list(spec, protocol);
    if (ports.empty()) continue;
    for (const std::string_view side : {"dport", "sport"})
      rules.push_back(
          {fmt::format("{}{} {} {} {}", before, to_string(protocol), side, ports, verdict),
           for_family(family, fmt::format("IPv{{n}} failsafe: {} {}", to_string(protocol), side))});
  }
  for (const FailsafePort& port : spec.failsafe) {
    if (!port.address || port.address->family() != family) continue;
    for (const auto& [where, side] : {std::pair("daddr", "dport"), std::pair("saddr", "sport")})
      rules.push_back({fmt::format("{}{} {} {} {} {} {} {}", before, protocol_word(family), where,
                                   port.address->to_string(), to_string(port.protocol), side,
                                   port.ports.to_string(), verdict),
                       fmt::format("failsafe: {} {}", port.to_string(), side)});
  }
  return rules;
}

// WireGuard's own ports, as a set.
std::string wireguard_ports(const NftSpec& spec) {
  std::string text = fmt::format("{{ {}", spec.listen_port);
  for (const std::uint16_t port : spec.former_ports) text += fmt::format(", {}", port);
  return text + " }";
}

std::string echo_request(Family family) {
  return family == Family::kIpv4 ? "icmp type echo-request" : "icmpv6 type echo-request";
}

Chain hosts_leave(Family family, const NftSpec& spec) {
  const std::string marked = fmt::format("meta mark & {0:#010x} == {0:#010x} ", spec.fwmark);
  Chain chain{for_family(family, "hosts_leave{n}"), "", {}};
  chain.rules = {{marked + "udp sport " + wireguard_ports(spec) + " return", "WireGuard's own"},
                 {marked + echo_request(family) + " return", "measures the path's MTU"}};
  add_neighbour_discovery(family, chain.rules);
  append(chain.rules, exempt_ports(family, spec, "", "return"));
  append(
      chain.rules,
      {{for_family(family, "{ip} saddr @own{n} {ip} daddr @encrypted_hosts{n} drop"),
        "guard: this host's go through WireGuard"},
       {for_family(family, "{ip} daddr @required_hosts{n} drop"), "guard: hosts that must encrypt"},
       {for_family(family,
                   "{ip} saddr @own{n} {ip} saddr != @own_address{n} {ip} daddr @tx_required{n} "
                   "drop"),
        "guard: from an address among the workloads'"}});
  return chain;
}

// Before reassembly: of a datagram in fragments the first one has the port and is judged, and
// without it the others are nothing.
Chain hosts_arrive(Family family, const NftSpec& spec) {
  Chain chain{for_family(family, "hosts_arrive{n}"), "", {}};
  chain.rules = {
      {family == Family::kIpv4 ? "ip frag-off & 0x1fff != 0 return" : "frag frag-off != 0 return",
       "later fragments"},
      {"udp dport " + wireguard_ports(spec) + " return", "WireGuard's own"},
      {echo_request(family) + " return", "measures the path's MTU"}};
  add_neighbour_discovery(family, chain.rules);
  append(chain.rules, exempt_ports(family, spec, "", "return"));
  append(chain.rules,
         {{for_family(family, "{ip} saddr @rx_required_hosts{n} drop"),
           "guard: hosts that must encrypt"},
          {for_family(family,
                      "{ip} daddr @own{n} {ip} daddr != @own_address{n} {ip} saddr @rx_required{n} "
                      "drop"),
           "guard: to an address among the workloads'"}});
  return chain;
}

// Some lookups know no ports: when an address was translated or a mark changed after the first one.
// What is exempt then finds its way here; so does what has a source that the peer would refuse.
Chain hosts_output(const NftSpec& spec) {
  // After DNAT (-100), of which nft has no name here.
  Chain chain{"hosts_output", "type route hook output priority -99; policy accept;", {}};
  const std::string verdict = fmt::format("meta mark set meta mark | {:#010x}", spec.fwmark);
  for (const Family family : kFamilies) {
    const std::string before = fmt::format("oifname \"{}\" ", spec.device) +
                               for_family(family, "{ip} daddr @peer_address{n} ");
    append(chain.rules, exempt_ports(family, spec, before, verdict));
    chain.rules.push_back(
        {fmt::format("{}{}{}", before, for_family(family, "{ip} saddr != @own{n} "), verdict),
         for_family(family, "IPv{n} source not in this node's record")});
  }
  return chain;
}

}  // namespace

void add_neighbour_discovery(Family family, std::vector<Rule>& rules) {
  if (family == Family::kIpv4) return;
  rules.push_back(
      {"icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, "
       "nd-neighbor-advert, nd-redirect } ip6 hoplimit 255 return",
       "neighbour discovery: of this link, by its hop limit"});
}

std::vector<Chain> host_chains(const NftSpec& spec) {
  std::vector<Chain> chains;
  chains.reserve(2 * std::size(kFamilies) + 1);
  for (const Family family : kFamilies) chains.push_back(hosts_arrive(family, spec));
  for (const Family family : kFamilies) chains.push_back(hosts_leave(family, spec));
  chains.push_back(hosts_output(spec));
  return chains;
}

}  // namespace mesh::nft
