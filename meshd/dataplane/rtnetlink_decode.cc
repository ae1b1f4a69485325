// Decoders of rtnetlink messages. Every length is checked before a byte is used.
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <algorithm>

#include "meshd/dataplane/rtnetlink_codec.h"

namespace mesh {
namespace {

// Selectors that came after Debian 12's headers (6.2 to 6.15); the kernel sends them only when set.
constexpr std::uint16_t kFraDscp = 25;
constexpr std::uint16_t kFraDscpMask = 30;

Error malformed(std::string_view what) {
  return make_error(ErrorCode::kInvalid, "the kernel sent a malformed {} message", what);
}

std::optional<Family> family_of(std::uint8_t af) {
  if (af == AF_INET) return Family::kIpv4;
  if (af == AF_INET6) return Family::kIpv6;
  return std::nullopt;
}

// Nothing when the payload is not an address of this family.
std::optional<IpAddress> address_of(const NetlinkAttribute& attribute, Family family) {
  if (attribute.payload.size() != static_cast<std::size_t>(address_bytes(family)))
    return std::nullopt;
  auto address = IpAddress::from_bytes(attribute.payload);
  if (!address) return std::nullopt;
  return *address;
}

IpAddress any_of(Family family) {
  static constexpr std::array<std::uint8_t, 16> kZero{};
  return *IpAddress::from_bytes(
      Bytes(kZero).first(static_cast<std::size_t>(address_bytes(family))));
}

// Stores a fixed-size value; false when the payload has another size.
template <class T>
bool take(const NetlinkAttribute& attribute, T& value) {
  const auto read = attribute.as<T>();
  if (read) value = *read;
  return read.has_value();
}

bool take_address(const NetlinkAttribute& attribute, Family family,
                  std::optional<IpAddress>& value) {
  value = address_of(attribute, family);
  return value.has_value();
}

bool take_ifindex(const NetlinkAttribute& attribute, int& value) {
  std::uint32_t index = 0;
  if (!take(attribute, index)) return false;
  value = static_cast<int>(index);
  return true;
}

// Calls `take_one` for each attribute; false when one is malformed.
template <class F>
bool for_each_attribute(Bytes payload, F&& take_one) {
  AttributeReader reader(payload);
  while (const auto attribute = reader.next())
    if (!take_one(*attribute)) return false;
  return !reader.malformed();
}

bool take_link_kind(const NetlinkAttribute& info, std::string& kind) {
  return for_each_attribute(info.payload, [&](const NetlinkAttribute& attribute) {
    if (attribute.type == IFLA_INFO_KIND) kind = attribute.as_string();
    return true;
  });
}

RouteType route_type(std::uint8_t type) {
  switch (type) {
    case RTN_UNICAST:
      return RouteType::kUnicast;
    case RTN_THROW:
      return RouteType::kThrow;
    case RTN_UNREACHABLE:
      return RouteType::kUnreachable;
    default:
      return RouteType::kOther;
  }
}

// The output device of the first next hop, so that a multipath route still names one.
bool take_first_hop(const NetlinkAttribute& attribute, int& oif) {
  rtnexthop hop{};
  if (attribute.payload.size() < sizeof hop) return false;
  std::memcpy(&hop, attribute.payload.data(), sizeof hop);
  oif = hop.rtnh_ifindex;
  return true;
}

bool take_route_mtu(const NetlinkAttribute& metrics, std::uint32_t& mtu) {
  return for_each_attribute(metrics.payload, [&](const NetlinkAttribute& attribute) {
    return attribute.type != RTAX_MTU || take(attribute, mtu);
  });
}

bool take_route_metrics(const NetlinkAttribute& metrics, Route& route) {
  std::uint32_t locks = 0;
  const bool good = take_route_mtu(metrics, route.mtu) &&
                    for_each_attribute(metrics.payload, [&](const NetlinkAttribute& attribute) {
                      return attribute.type != RTAX_LOCK || take(attribute, locks);
                    });
  route.mtu_locked = route.mtu != 0 && (locks & (std::uint32_t{1} << RTAX_MTU)) != 0;
  return good;
}

// RTA_VIA: the gateway of another family (IPv4 over IPv6 next hops).
bool take_via(const NetlinkAttribute& attribute, std::optional<IpAddress>& gateway) {
  std::uint16_t af = 0;
  if (attribute.payload.size() < sizeof af) return false;
  std::memcpy(&af, attribute.payload.data(), sizeof af);
  const auto family = family_of(static_cast<std::uint8_t>(af));
  if (!family) return true;
  return take_address({RTA_GATEWAY, attribute.payload.subspan(sizeof af)}, *family, gateway);
}

// Headers that no Route is made of: other families, IPv6's cached exceptions, source routing.
std::optional<Family> family_of_route(const rtmsg& header) {
  if ((header.rtm_flags & RTM_F_CLONED) != 0 || header.rtm_src_len != 0) return std::nullopt;
  return family_of(header.rtm_family);
}

bool take_route_attribute(const NetlinkAttribute& attribute, Family family, Route& route,
                          std::optional<IpAddress>& destination) {
  switch (attribute.type) {
    case RTA_DST:
      return take_address(attribute, family, destination);
    case RTA_TABLE:
      return take(attribute, route.key.table);
    case RTA_PRIORITY:
      return take(attribute, route.key.metric);
    case RTA_OIF:
      return take_ifindex(attribute, route.oif);
    case RTA_PREFSRC:
      return take_address(attribute, family, route.preferred_source);
    case RTA_METRICS:
      return take_route_metrics(attribute, route);
    case RTA_MULTIPATH:
      route.type = RouteType::kOther;
      return take_first_hop(attribute, route.oif);
    case RTA_NH_ID:
    case RTA_ENCAP:
      route.type = RouteType::kOther;
      return true;
    default:
      return true;
  }
}

bool take_ports(const NetlinkAttribute& attribute, PortRange& ports) {
  fib_rule_port_range range{};
  if (!take(attribute, range)) return false;
  ports = {range.start, range.end};
  return true;
}

// A protocol that a Rule cannot name is another selector.
bool take_ip_protocol(const NetlinkAttribute& attribute, Rule& rule) {
  std::uint8_t number = 0;
  if (!take(attribute, number)) return false;
  rule.ip_protocol = static_cast<IpProtocol>(number);
  rule.more_selectors |=
      rule.ip_protocol != IpProtocol::kTcp && rule.ip_protocol != IpProtocol::kUdp;
  return true;
}

// What the header gives the length of.
struct RuleAddresses {
  std::optional<IpAddress> source;
  std::optional<IpAddress> destination;
};

bool take_rule_attribute(const NetlinkAttribute& attribute, Rule& rule, RuleAddresses& addresses,
                         bool& mask_given) {
  std::uint32_t number = 0;
  switch (attribute.type) {
    case FRA_PRIORITY:
      return take(attribute, rule.priority);
    case FRA_FWMARK:
      return take(attribute, rule.fwmark);
    case FRA_FWMASK:
      mask_given = true;
      return take(attribute, rule.fwmask);
    case FRA_TABLE:
      return take(attribute, rule.table);
    case FRA_SRC:
      return take_address(attribute, rule.family, addresses.source);
    case FRA_DST:
      return take_address(attribute, rule.family, addresses.destination);
    case FRA_IIFNAME:
      rule.locally_made = attribute.as_string() == "lo";
      rule.more_selectors |= !rule.locally_made;
      return true;
    case FRA_IP_PROTO:
      return take_ip_protocol(attribute, rule);
    case FRA_SPORT_RANGE:
      return take_ports(attribute, rule.source_ports);
    case FRA_DPORT_RANGE:
      return take_ports(attribute, rule.destination_ports);
    case FRA_PROTOCOL:
      return take(attribute, rule.protocol);
    case FRA_SUPPRESS_PREFIXLEN:  // always sent; all ones: off
      if (!take(attribute, number)) return false;
      rule.more_selectors |= number != 0xffff'ffffU;
      return true;
    case FRA_OIFNAME:
    case FRA_GOTO:
    case FRA_FLOW:
    case FRA_TUN_ID:
    case FRA_SUPPRESS_IFGROUP:
    case FRA_L3MDEV:
    case FRA_UID_RANGE:
      rule.more_selectors = true;
      return true;
    default:
      rule.more_selectors |= attribute.type >= kFraDscp && attribute.type <= kFraDscpMask;
      return true;
  }
}

}  // namespace

Result<std::optional<Link>> decode_link(const nlmsghdr& message) {
  const auto header = family_header<ifinfomsg>(message);
  if (!header) return malformed("link");
  // Bridges report their ports on the same group: a port that leaves its bridge is "deleted" there.
  if (header->ifi_family != AF_UNSPEC) return std::optional<Link>();
  Link link;
  link.index = header->ifi_index;
  link.up = (header->ifi_flags & IFF_UP) != 0;
  link.running = (header->ifi_flags & IFF_LOWER_UP) != 0;
  link.loopback = (header->ifi_flags & IFF_LOOPBACK) != 0;
  bool wireless = false;  // a scan's progress, sent as a link message without the link's facts
  const bool good = for_each_attribute(
      attributes_of(message, sizeof *header), [&](const NetlinkAttribute& attribute) {
        switch (attribute.type) {
          case IFLA_IFNAME:
            link.name = attribute.as_string();
            return !link.name.empty() && link.name.size() < IFNAMSIZ;
          case IFLA_MTU:
            return take(attribute, link.mtu);
          case IFLA_LINKINFO:
            return take_link_kind(attribute, link.kind);
          case IFLA_WIRELESS:
            wireless = true;
            return true;
          default:
            return true;
        }
      });
  if (!good || link.index <= 0 || link.name.empty()) return malformed("link");
  if (wireless) return std::optional<Link>();
  return std::optional<Link>(std::move(link));
}

Result<std::optional<LocalAddress>> decode_address(const nlmsghdr& message) {
  const auto header = family_header<ifaddrmsg>(message);
  if (!header) return malformed("address");
  const auto family = family_of(header->ifa_family);
  if (!family) return std::optional<LocalAddress>();
  std::uint32_t flags = header->ifa_flags;
  std::optional<IpAddress> local;
  std::optional<IpAddress> address;  // of a point-to-point link: the other end, beside IFA_LOCAL
  const bool good = for_each_attribute(attributes_of(message, sizeof *header),
                                       [&](const NetlinkAttribute& attribute) {
                                         switch (attribute.type) {
                                           case IFA_LOCAL:
                                             return take_address(attribute, *family, local);
                                           case IFA_ADDRESS:
                                             return take_address(attribute, *family, address);
                                           case IFA_FLAGS:
                                             return take(attribute, flags);
                                           default:
                                             return true;
                                         }
                                       });
  if (!local) local = address;
  if (!good || !local || header->ifa_prefixlen > address_bits(*family) || header->ifa_index == 0)
    return malformed("address");
  // IFA_F_TEMPORARY shares its bit with IPv4's IFA_F_SECONDARY.
  const std::uint32_t unwanted =
      *family == Family::kIpv6 ? IFA_F_TEMPORARY | IFA_F_DEPRECATED : IFA_F_DEPRECATED;
  return std::optional<LocalAddress>({static_cast<int>(header->ifa_index), *local,
                                      header->ifa_prefixlen, (flags & unwanted) != 0});
}

std::optional<std::uint32_t> table_of_route(const nlmsghdr& message) {
  const auto header = family_header<rtmsg>(message);
  if (!header || !family_of_route(*header)) return std::nullopt;
  std::uint32_t table = header->rtm_table;
  AttributeReader reader(attributes_of(message, sizeof *header));
  while (const auto attribute = reader.next())
    if (attribute->type == RTA_TABLE && !take(*attribute, table)) return std::nullopt;
  return table;
}

Result<std::optional<Route>> decode_route(const nlmsghdr& message) {
  const auto header = family_header<rtmsg>(message);
  if (!header) return malformed("route");
  const auto family = family_of_route(*header);
  if (!family) return std::optional<Route>();
  Route route;
  route.key.table = header->rtm_table;
  route.type = route_type(header->rtm_type);
  route.protocol = header->rtm_protocol;
  std::optional<IpAddress> destination;
  const bool good = for_each_attribute(
      attributes_of(message, sizeof *header), [&](const NetlinkAttribute& attribute) {
        return take_route_attribute(attribute, *family, route, destination);
      });
  if (!good || header->rtm_dst_len > address_bits(*family)) return malformed("route");
  if (!destination && header->rtm_dst_len != 0) return malformed("route");
  route.key.destination = Cidr(destination.value_or(any_of(*family)), header->rtm_dst_len);
  // IPv6 puts reject routes on the loopback device, which means nothing.
  if (route.type == RouteType::kThrow || route.type == RouteType::kUnreachable) route.oif = 0;
  return std::optional<Route>(route);
}

Result<std::optional<RouteLookup>> decode_lookup(const nlmsghdr& message) {
  const auto header = family_header<rtmsg>(message);
  const auto family = header ? family_of(header->rtm_family) : std::nullopt;
  if (!family) return malformed("route");
  // RTN_LOCAL: the destination is this host. IPv6 answers a lookup that fails with a reject route.
  if (header->rtm_type == RTN_UNREACHABLE || header->rtm_type == RTN_PROHIBIT ||
      header->rtm_type == RTN_BLACKHOLE || header->rtm_type == RTN_THROW)
    return std::optional<RouteLookup>();
  RouteLookup lookup;
  const bool good = for_each_attribute(
      attributes_of(message, sizeof *header), [&](const NetlinkAttribute& attribute) {
        switch (attribute.type) {
          case RTA_OIF:
            return take_ifindex(attribute, lookup.oif);
          case RTA_GATEWAY:
            return take_address(attribute, *family, lookup.gateway);
          case RTA_VIA:
            return take_via(attribute, lookup.gateway);
          case RTA_PREFSRC:
            return take_address(attribute, *family, lookup.source);
          case RTA_METRICS:
            return take_route_mtu(attribute, lookup.mtu);
          default:
            return true;
        }
      });
  if (!good) return malformed("route");
  return std::optional<RouteLookup>(lookup);
}

Result<std::optional<Rule>> decode_rule(const nlmsghdr& message) {
  const auto header = family_header<fib_rule_hdr>(message);
  if (!header) return malformed("rule");
  const auto family = family_of(header->family);
  if (!family) return std::optional<Rule>();  // multicast routing has rules of its own
  Rule rule;
  rule.family = *family;
  rule.table = header->table;
  rule.invert = (header->flags & FIB_RULE_INVERT) != 0;
  rule.protocol = RTPROT_UNSPEC;
  rule.more_selectors = header->action != FR_ACT_TO_TBL || header->tos != 0;
  RuleAddresses addresses;
  bool mask_given = false;
  const bool good = for_each_attribute(
      attributes_of(message, sizeof *header), [&](const NetlinkAttribute& attribute) {
        return take_rule_attribute(attribute, rule, addresses, mask_given);
      });
  const auto take_prefix = [&](const std::optional<IpAddress>& address, std::uint8_t length,
                               std::optional<Cidr>& prefix) {
    if (length == 0) return true;
    if (!address || length > address_bits(*family)) return false;
    prefix = Cidr(*address, length);
    return true;
  };
  if (!good || !take_prefix(addresses.source, header->src_len, rule.source) ||
      !take_prefix(addresses.destination, header->dst_len, rule.destination))
    return malformed("rule");
  if (!mask_given && rule.fwmark != 0) rule.fwmask = 0xffff'ffffU;
  return std::optional<Rule>(rule);
}

}  // namespace mesh
