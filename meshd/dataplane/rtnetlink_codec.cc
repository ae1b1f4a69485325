// Encoders. The decoders are in rtnetlink_decode.cc.
#include "meshd/dataplane/rtnetlink_codec.h"

#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <array>

namespace mesh {
namespace {

// Every network namespace numbers its loopback device 1 (LOOPBACK_IFINDEX in the kernel).
constexpr std::uint32_t kLoopbackIndex = 1;
constexpr std::string_view kLoopbackName = "lo";

std::uint8_t af_of(Family family) { return static_cast<std::uint8_t>(to_af(family)); }

std::uint8_t length_of(const Cidr& cidr) { return static_cast<std::uint8_t>(cidr.length()); }

// rtm_table and fib_rule_hdr::table have 8 bits; larger numbers stand in the attribute alone.
std::uint8_t short_table(std::uint32_t table) {
  return table < 256 ? static_cast<std::uint8_t>(table) : std::uint8_t{RT_TABLE_UNSPEC};
}

std::uint8_t kernel_type(RouteType type) {
  switch (type) {
    case RouteType::kUnicast:
      return RTN_UNICAST;
    case RouteType::kThrow:
      return RTN_THROW;
    case RouteType::kUnreachable:
      return RTN_UNREACHABLE;
    case RouteType::kOther:
      break;
  }
  return RTN_UNSPEC;
}

rtmsg route_header(const Route& route) {
  rtmsg header{};
  header.rtm_family = af_of(route.key.destination.family());
  header.rtm_dst_len = length_of(route.key.destination);
  header.rtm_table = short_table(route.key.table);
  header.rtm_protocol = route.protocol;
  header.rtm_type = kernel_type(route.type);
  return header;
}

void put_route_key(NetlinkMessage& message, const RouteKey& key) {
  if (!key.destination.is_default()) message.put(RTA_DST, key.destination.base().bytes());
  message.put_value(RTA_TABLE, key.table);
  if (key.metric != 0) message.put_value(RTA_PRIORITY, key.metric);
}

// The lock is a bit for each metric (RTAX_LOCK in linux/rtnetlink.h).
void put_route_mtu(NetlinkMessage& message, const Route& route) {
  if (route.mtu == 0) return;
  const auto metrics = message.begin_nest(RTA_METRICS);
  if (route.mtu_locked) message.put_value(RTAX_LOCK, std::uint32_t{1} << RTAX_MTU);
  message.put_value(RTAX_MTU, route.mtu);
  message.end_nest(metrics);
}

NetlinkMessage link_message(std::uint16_t type, std::uint16_t flags, ifinfomsg header = {}) {
  header.ifi_family = AF_UNSPEC;
  NetlinkMessage message(type, flags);
  message.put_header(header);
  return message;
}

NetlinkMessage address_message(std::uint16_t type, std::uint16_t flags, int ifindex,
                               const IpAddress& address) {
  ifaddrmsg header{};
  header.ifa_family = af_of(address.family());
  header.ifa_prefixlen = static_cast<std::uint8_t>(address_bits(address.family()));
  header.ifa_scope = RT_SCOPE_UNIVERSE;
  header.ifa_index = static_cast<std::uint32_t>(ifindex);
  NetlinkMessage message(type, flags);
  message.put_header(header);
  message.put(IFA_LOCAL, address.bytes());
  message.put(IFA_ADDRESS, address.bytes());
  return message;
}

void put_ports(NetlinkMessage& message, std::uint16_t attribute, const PortRange& ports) {
  if (ports.any()) return;
  const std::array<std::uint16_t, 2> range{ports.first, ports.last};  // fib_rule_port_range
  message.put(attribute, Bytes(reinterpret_cast<const std::uint8_t*>(range.data()), sizeof range));
}

NetlinkMessage rule_message(std::uint16_t type, std::uint16_t flags, const Rule& rule) {
  fib_rule_hdr header{};
  header.family = af_of(rule.family);
  header.src_len = rule.source ? length_of(*rule.source) : std::uint8_t{0};
  header.dst_len = rule.destination ? length_of(*rule.destination) : std::uint8_t{0};
  header.table = short_table(rule.table);
  header.action = FR_ACT_TO_TBL;
  header.flags = rule.invert ? FIB_RULE_INVERT : 0;
  NetlinkMessage message(type, flags);
  message.put_header(header);
  if (rule.source && !rule.source->is_default()) message.put(FRA_SRC, rule.source->base().bytes());
  if (rule.destination && !rule.destination->is_default())
    message.put(FRA_DST, rule.destination->base().bytes());
  if (rule.locally_made) message.put_string(FRA_IIFNAME, kLoopbackName);
  message.put_value(FRA_PRIORITY, rule.priority);
  message.put_value(FRA_TABLE, rule.table);
  // Both or none: a mark without a mask would be compared in all its bits.
  if (rule.fwmask != 0) {
    message.put_value(FRA_FWMARK, rule.fwmark);
    message.put_value(FRA_FWMASK, rule.fwmask);
  }
  if (rule.ip_protocol != IpProtocol::kAny)
    message.put_value(FRA_IP_PROTO, static_cast<std::uint8_t>(rule.ip_protocol));
  put_ports(message, FRA_SPORT_RANGE, rule.source_ports);
  put_ports(message, FRA_DPORT_RANGE, rule.destination_ports);
  message.put_value(FRA_PROTOCOL, rule.protocol);
  return message;
}

}  // namespace

NetlinkMessage encode_create_link(std::string_view name, std::string_view kind) {
  NetlinkMessage message = link_message(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
  message.put_string(IFLA_IFNAME, name);
  const auto info = message.begin_nest(IFLA_LINKINFO);
  message.put_string(IFLA_INFO_KIND, kind);
  message.end_nest(info);
  return message;
}

NetlinkMessage encode_delete_link(int ifindex) {
  ifinfomsg header{};
  header.ifi_index = ifindex;
  return link_message(RTM_DELLINK, NLM_F_ACK, header);
}

NetlinkMessage encode_change_link(int ifindex, std::uint32_t mtu, bool up) {
  ifinfomsg header{};
  header.ifi_index = ifindex;
  if (up) header.ifi_flags = header.ifi_change = IFF_UP;
  NetlinkMessage message = link_message(RTM_NEWLINK, NLM_F_ACK, header);
  if (mtu != 0) message.put_value(IFLA_MTU, mtu);
  return message;
}

NetlinkMessage encode_rename_link(int ifindex, std::string_view name) {
  ifinfomsg header{};
  header.ifi_index = ifindex;
  NetlinkMessage message = link_message(RTM_NEWLINK, NLM_F_ACK, header);
  message.put_string(IFLA_IFNAME, name);
  return message;
}

NetlinkMessage encode_set_link_down(int ifindex) {
  ifinfomsg header{};
  header.ifi_index = ifindex;
  header.ifi_change = IFF_UP;
  return link_message(RTM_NEWLINK, NLM_F_ACK, header);
}

NetlinkMessage encode_get_link(std::string_view name) {
  NetlinkMessage message = link_message(RTM_GETLINK, 0);
  message.put_string(IFLA_IFNAME, name);
  return message;
}

NetlinkMessage encode_dump_links() {
  NetlinkMessage message = link_message(RTM_GETLINK, NLM_F_DUMP);
  message.put_value(IFLA_EXT_MASK, std::uint32_t{RTEXT_FILTER_SKIP_STATS});
  return message;
}

NetlinkMessage encode_add_address(int ifindex, const IpAddress& address) {
  NetlinkMessage message =
      address_message(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, ifindex, address);
  std::uint32_t flags = IFA_F_NOPREFIXROUTE;
  if (address.family() == Family::kIpv6) flags |= IFA_F_NODAD;
  message.put_value(IFA_FLAGS, flags);
  return message;
}

NetlinkMessage encode_remove_address(int ifindex, const IpAddress& address) {
  return address_message(RTM_DELADDR, NLM_F_ACK, ifindex, address);
}

NetlinkMessage encode_dump_addresses() {
  NetlinkMessage message(RTM_GETADDR, NLM_F_DUMP);
  message.put_header(ifaddrmsg{});  // AF_UNSPEC: both families
  return message;
}

NetlinkMessage encode_put_route(const Route& route) {
  rtmsg header = route_header(route);
  // An IPv4 route by a device has link scope; IPv6 has no scopes.
  const bool on_link =
      route.type == RouteType::kUnicast && route.key.destination.family() == Family::kIpv4;
  header.rtm_scope = on_link ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  NetlinkMessage message(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
  message.put_header(header);
  put_route_key(message, route.key);
  if (route.type == RouteType::kUnicast)
    message.put_value(RTA_OIF, static_cast<std::uint32_t>(route.oif));
  if (route.preferred_source) message.put(RTA_PREFSRC, route.preferred_source->bytes());
  put_route_mtu(message, route);
  return message;
}

NetlinkMessage encode_remove_route(const Route& route) {
  rtmsg header = route_header(route);
  header.rtm_scope = RT_SCOPE_NOWHERE;  // any
  NetlinkMessage message(RTM_DELROUTE, NLM_F_ACK);
  message.put_header(header);
  put_route_key(message, route.key);
  // IPv6 does not compare the type, but its reject routes all stand on the loopback device: naming
  // the device keeps a throw's removal from taking the unicast route that replaced it.
  if (route.type == RouteType::kUnicast) {
    if (route.oif != 0) message.put_value(RTA_OIF, static_cast<std::uint32_t>(route.oif));
  } else if (route.key.destination.family() == Family::kIpv6) {
    message.put_value(RTA_OIF, kLoopbackIndex);
  }
  return message;
}

NetlinkMessage encode_dump_routes(Family family, std::uint32_t table) {
  rtmsg header{};
  header.rtm_family = af_of(family);
  header.rtm_table = short_table(table);
  NetlinkMessage message(RTM_GETROUTE, NLM_F_DUMP);
  message.put_header(header);
  message.put_value(RTA_TABLE, table);
  return message;
}

NetlinkMessage encode_lookup(const IpAddress& destination, std::uint32_t mark) {
  rtmsg header{};
  header.rtm_family = af_of(destination.family());
  header.rtm_dst_len = static_cast<std::uint8_t>(address_bits(destination.family()));
  NetlinkMessage message(RTM_GETROUTE, 0);
  message.put_header(header);
  message.put(RTA_DST, destination.bytes());
  if (mark != 0) message.put_value(RTA_MARK, mark);
  return message;
}

NetlinkMessage encode_put_rule(const Rule& rule) {
  return rule_message(RTM_NEWRULE, NLM_F_ACK | NLM_F_CREATE, rule);
}

NetlinkMessage encode_remove_rule(const Rule& rule) {
  return rule_message(RTM_DELRULE, NLM_F_ACK, rule);
}

NetlinkMessage encode_dump_rules(Family family) {
  fib_rule_hdr header{};
  header.family = af_of(family);
  NetlinkMessage message(RTM_GETRULE, NLM_F_DUMP);
  message.put_header(header);
  return message;
}

}  // namespace mesh
