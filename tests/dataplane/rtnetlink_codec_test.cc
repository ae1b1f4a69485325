// rtnetlink messages as bytes (little-endian, as on every machine Debian 12 runs meshd on), and
// what decoders make of good, odd and malformed ones.
#include "meshd/dataplane/rtnetlink_codec.h"

#include <gmock/gmock.h>
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

namespace mesh {
namespace {

using testing::Optional;

// Without the header's length and sequence, which differ by nothing worth a test.
std::string hex(NetlinkMessage message) {
  std::string text;
  const Bytes bytes = message.bytes();
  for (std::size_t i = 4; i < bytes.size(); ++i) {
    if (i >= 8 && i < 16) continue;
    if (i % 4 == 0 && !text.empty()) text += ' ';
    text += fmt::format("{:02x}", bytes[i]);
  }
  return text;
}

IpAddress ip(const char* text) { return *IpAddress::parse(text); }

Route route(const char* destination, RouteType type) {
  Route made;
  made.key = {5182, *Cidr::parse(destination), 1024};
  made.type = type;
  made.oif = type == RouteType::kUnicast ? 7 : 0;
  return made;
}

Rule mesh_rule(Family family) {
  Rule rule;
  rule.family = family;
  rule.priority = 99;
  rule.invert = true;
  rule.fwmark = rule.fwmask = 0x2000;
  rule.table = 5182;
  return rule;
}

// Encoding. Each line: type and flags, the family's header, then attributes (length, type, value).

TEST(RtnetlinkEncode, PutRouteByDevice) {
  EXPECT_EQ(
      hex(encode_put_route(route("10.9.0.0/24", RouteType::kUnicast))),
      "18000505 "                    // RTM_NEWROUTE, REQUEST ACK REPLACE CREATE
      "02180000 006dfd01 00000000 "  // AF_INET /24, table in the attribute, 109, link, unicast
      "08000100 0a090000 "           // RTA_DST
      "08000f00 3e140000 "           // RTA_TABLE 5182
      "08000600 00040000 "           // RTA_PRIORITY 1024
      "08000400 07000000");          // RTA_OIF 7
}

TEST(RtnetlinkEncode, PutUnreachableGuardHasNoDevice) {
  Route guard = route("fd09::/64", RouteType::kUnreachable);
  guard.key.metric = kGuardMetric;
  EXPECT_EQ(hex(encode_put_route(guard)),
            "18000505 0a400000 006d0007 00000000 "
            "14000100 fd090000 00000000 00000000 00000000 "
            "08000f00 3e140000 08000600 ffffffff");
}

TEST(RtnetlinkEncode, PutRouteWithPreferredSourceInASmallTable) {
  Route wanted = route("10.9.0.0/24", RouteType::kUnicast);
  wanted.key.table = 77;
  wanted.preferred_source = ip("10.1.0.1");
  EXPECT_EQ(hex(encode_put_route(wanted)),
            "18000505 02180000 4d6dfd01 00000000 08000100 0a090000 08000f00 4d000000 "
            "08000600 00040000 08000400 07000000 08000700 0a010001");
}

TEST(RtnetlinkEncode, ARoutesMtuIsAMetricThatIpv6Locks) {
  Route narrow4 = route("10.9.0.0/24", RouteType::kUnicast);
  narrow4.set_mtu(1340);
  EXPECT_EQ(hex(encode_put_route(narrow4)),
            "18000505 02180000 006dfd01 00000000 08000100 0a090000 08000f00 3e140000 "
            "08000600 00040000 08000400 07000000 "
            "0c000880 08000200 3c050000");  // RTA_METRICS: RTAX_MTU 1340
  Route narrow6 = route("fd09::/64", RouteType::kUnicast);
  narrow6.set_mtu(1340);
  EXPECT_EQ(hex(encode_put_route(narrow6)),
            "18000505 0a400000 006d0001 00000000 "
            "14000100 fd090000 00000000 00000000 00000000 "
            "08000f00 3e140000 08000600 00040000 08000400 07000000 "
            "14000880 08000100 04000000 08000200 3c050000");  // RTAX_LOCK: bit 2
}

TEST(RtnetlinkEncode, RemovingAnIpv6RejectRouteNamesTheLoopbackDevice) {
  EXPECT_EQ(hex(encode_remove_route(route("fd09::/64", RouteType::kThrow))),
            "19000500 0a400000 006dff09 00000000 "
            "14000100 fd090000 00000000 00000000 00000000 "
            "08000f00 3e140000 08000600 00040000 08000400 01000000");
}

TEST(RtnetlinkEncode, RemovingAnIpv4RejectRouteNamesItsType) {
  EXPECT_EQ(hex(encode_remove_route(route("10.9.0.0/24", RouteType::kThrow))),
            "19000500 02180000 006dff09 00000000 08000100 0a090000 08000f00 3e140000 "
            "08000600 00040000");
}

TEST(RtnetlinkEncode, TheInvertedRule) {
  EXPECT_EQ(hex(encode_put_rule(mesh_rule(Family::kIpv6))),
            "20000504 "                    // RTM_NEWRULE, REQUEST ACK CREATE
            "0a000000 00000001 02000000 "  // AF_INET6, action table, FIB_RULE_INVERT
            "08000600 63000000 "           // FRA_PRIORITY 99
            "08000f00 3e140000 "           // FRA_TABLE
            "08000a00 00200000 "           // FRA_FWMARK
            "08001000 00200000 "           // FRA_FWMASK
            "05001500 6d000000");          // FRA_PROTOCOL
}

TEST(RtnetlinkEncode, ARuleWithASourceAndAZeroMarkSendsBothMarkAndMask) {
  Rule rule = mesh_rule(Family::kIpv4);
  rule.invert = false;
  rule.fwmark = 0;
  rule.source = *Cidr::parse("10.1.0.0/24");
  EXPECT_EQ(hex(encode_put_rule(rule)),
            "20000504 02001800 00000001 00000000 08000200 0a010000 08000600 63000000 "
            "08000f00 3e140000 08000a00 00000000 08001000 00200000 05001500 6d000000");
}

TEST(RtnetlinkEncode, AddressesAreHostPrefixesWithoutRoutesAndIpv6WithoutDetection) {
  EXPECT_EQ(hex(encode_add_address(7, ip("10.1.0.1"))),
            "14000506 02200000 07000000 08000200 0a010001 08000100 0a010001 08000800 00020000");
  EXPECT_EQ(hex(encode_add_address(7, ip("fd01::1"))),
            "14000506 0a800000 07000000 "
            "14000200 fd010000 00000000 00000000 00000001 "
            "14000100 fd010000 00000000 00000000 00000001 08000800 02020000");
}

TEST(RtnetlinkEncode, Links) {
  EXPECT_EQ(hex(encode_create_link("mesh0", "wireguard")),
            "10000506 00000000 00000000 00000000 00000000 "
            "0a000300 6d657368 30000000 "                     // IFLA_IFNAME
            "14001280 0e000100 77697265 67756172 64000000");  // IFLA_LINKINFO { IFLA_INFO_KIND }
  EXPECT_EQ(hex(encode_change_link(7, 1380, true)),
            "10000500 00000000 07000000 01000000 01000000 08000400 64050000");
  EXPECT_EQ(hex(encode_change_link(7, 0, false)), "10000500 00000000 07000000 00000000 00000000");
}

TEST(RtnetlinkEncode, ALookupCarriesTheMarkOnlyWhenThereIsOne) {
  EXPECT_EQ(hex(encode_lookup(ip("192.0.2.9"), 0x2000)),
            "1a000100 02200000 00000000 00000000 08000100 c0000209 08001000 00200000");
  EXPECT_EQ(hex(encode_lookup(ip("192.0.2.9"), 0)),
            "1a000100 02200000 00000000 00000000 08000100 c0000209");
}

// Decoding

TEST(RtnetlinkDecode, WhatWeEncodeWeDecode) {
  for (const char* destination : {"10.9.0.0/24", "0.0.0.0/0", "fd09::/64", "::/0", "fd09::1/128"})
    for (const RouteType type : {RouteType::kUnicast, RouteType::kThrow, RouteType::kUnreachable}) {
      auto message = encode_put_route(route(destination, type));
      const auto decoded = decode_route(message.header());
      ASSERT_TRUE(decoded) << decoded.error().message;
      EXPECT_THAT(*decoded, Optional(route(destination, type))) << destination;
      EXPECT_EQ(table_of_route(message.header()), 5182U);
    }
  for (const char* destination : {"10.9.0.0/24", "fd09::/64"}) {
    Route narrow = route(destination, RouteType::kUnicast);
    narrow.set_mtu(1340);
    auto message = encode_put_route(narrow);
    EXPECT_THAT(*decode_route(message.header()), Optional(narrow)) << destination;
  }
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    auto message = encode_put_rule(mesh_rule(family));
    EXPECT_THAT(*decode_rule(message.header()), Optional(mesh_rule(family)));
  }
  auto address = encode_add_address(7, ip("fd01::1"));
  EXPECT_THAT(*decode_address(address.header()), Optional(LocalAddress{7, ip("fd01::1"), 128}));
}

NetlinkMessage route_message(const rtmsg& header) {
  NetlinkMessage message(RTM_NEWROUTE, 0);
  message.put_header(header);
  return message;
}
rtmsg unicast4() {
  rtmsg header{};
  header.rtm_family = AF_INET;
  header.rtm_dst_len = 24;
  header.rtm_table = 77;
  header.rtm_type = RTN_UNICAST;
  header.rtm_protocol = 2;
  return header;
}

TEST(RtnetlinkDecode, TheTablesAttributeCountsMoreThanTheHeader) {
  auto message = route_message(unicast4());
  message.put(RTA_DST, ip("10.9.0.0").bytes());
  EXPECT_EQ((*decode_route(message.header()))->key.table, 77U);
  EXPECT_EQ(table_of_route(message.header()), 77U);
  message.put_value(RTA_TABLE, std::uint32_t{5182});
  EXPECT_EQ((*decode_route(message.header()))->key.table, 5182U);
  EXPECT_EQ(table_of_route(message.header()), 5182U);
}

TEST(RtnetlinkDecode, OfTheMetricsOnlyTheMtuAndItsLockAreTaken) {
  auto message = route_message(unicast4());
  message.put(RTA_DST, ip("10.9.0.0").bytes());
  const auto metrics = message.begin_nest(RTA_METRICS);
  message.put_value(RTAX_ADVMSS, std::uint32_t{1000});
  message.put_value(RTAX_LOCK, std::uint32_t{1} << RTAX_ADVMSS);
  message.put_value(RTAX_MTU, std::uint32_t{1340});
  message.end_nest(metrics);
  const auto decoded = decode_route(message.header());
  ASSERT_TRUE(decoded);
  EXPECT_EQ((*decoded)->mtu, 1340U);
  EXPECT_FALSE((*decoded)->mtu_locked);
}

TEST(RtnetlinkDecode, AnMtuOfAnotherSizeIsMalformed) {
  auto message = route_message(unicast4());
  message.put(RTA_DST, ip("10.9.0.0").bytes());
  const auto metrics = message.begin_nest(RTA_METRICS);
  message.put_value(RTAX_MTU, std::uint16_t{1340});
  message.end_nest(metrics);
  EXPECT_FALSE(decode_route(message.header()));
}

TEST(RtnetlinkDecode, Ipv6RejectRoutesStandOnNoDevice) {
  rtmsg header = unicast4();
  header.rtm_family = AF_INET6;
  header.rtm_dst_len = 64;
  header.rtm_type = RTN_THROW;
  auto message = route_message(header);
  message.put(RTA_DST, ip("fd09::").bytes());
  message.put_value(RTA_OIF, std::uint32_t{1});
  EXPECT_EQ((*decode_route(message.header()))->oif, 0);
}

TEST(RtnetlinkDecode, RoutesThatAreNotOursToSeeAreNothing) {
  rtmsg cached = unicast4();
  cached.rtm_flags = RTM_F_CLONED;
  rtmsg mpls = unicast4();
  mpls.rtm_family = 28;
  rtmsg source_routed = unicast4();
  source_routed.rtm_src_len = 8;
  for (const rtmsg& header : {cached, mpls, source_routed}) {
    auto message = route_message(header);
    const auto decoded = decode_route(message.header());
    ASSERT_TRUE(decoded);
    EXPECT_FALSE(*decoded);
    EXPECT_FALSE(table_of_route(message.header()));
  }
}

TEST(RtnetlinkDecode, UnknownAttributesAreIgnored) {
  auto message = encode_put_route(route("10.9.0.0/24", RouteType::kUnicast));
  message.put_string(999, "from a newer kernel");
  EXPECT_THAT(*decode_route(message.header()), Optional(route("10.9.0.0/24", RouteType::kUnicast)));
}

TEST(RtnetlinkDecode, AttributesOfTheWrongSizeAreMalformed) {
  for (const std::uint16_t type : {RTA_DST, RTA_TABLE, RTA_PRIORITY, RTA_OIF, RTA_PREFSRC}) {
    auto message = route_message(unicast4());
    if (type != RTA_DST) message.put(RTA_DST, ip("10.9.0.0").bytes());
    message.put_value(type, std::uint8_t{1});
    const auto decoded = decode_route(message.header());
    ASSERT_FALSE(decoded) << type;
    EXPECT_EQ(decoded.error().code, ErrorCode::kInvalid);
  }
  auto no_destination = route_message(unicast4());
  EXPECT_FALSE(decode_route(no_destination.header()));
  rtmsg long_prefix = unicast4();
  long_prefix.rtm_dst_len = 33;
  auto too_long = route_message(long_prefix);
  too_long.put(RTA_DST, ip("10.9.0.0").bytes());
  EXPECT_FALSE(decode_route(too_long.header()));
}

TEST(RtnetlinkDecode, EveryTruncationOfAMessageIsMalformedOrAnotherMessage) {
  for (const auto& whole :
       {encode_put_route(route("fd09::/64", RouteType::kUnicast)),
        encode_put_rule(mesh_rule(Family::kIpv4)), encode_add_address(7, ip("fd01::1")),
        encode_create_link("mesh0", "wireguard")}) {
    NetlinkMessage message = whole;
    const std::uint32_t size = message.header().nlmsg_len;
    for (std::uint32_t length = NLMSG_HDRLEN; length < size; ++length) {
      nlmsghdr& header = message.header();
      header.nlmsg_len = length;
      (void)decode_route(header);
      (void)decode_rule(header);
      (void)decode_address(header);
      (void)decode_link(header);
      (void)decode_lookup(header);
      (void)table_of_route(header);
    }
  }
}

TEST(RtnetlinkDecode, AMarkWithoutAMaskIsComparedInAllItsBits) {
  NetlinkMessage message(RTM_NEWRULE, 0);
  fib_rule_hdr header{};
  header.family = AF_INET;
  header.action = FR_ACT_TO_TBL;
  message.put_header(header);
  message.put_value(FRA_FWMARK, std::uint32_t{7});
  EXPECT_EQ((*decode_rule(message.header()))->fwmask, 0xffff'ffffU);
}

TEST(RtnetlinkDecode, RulesThatSayMoreThanARuleCanAreMarked) {
  for (const std::uint16_t type : {FRA_IIFNAME, FRA_OIFNAME, FRA_UID_RANGE, FRA_L3MDEV}) {
    auto message = encode_put_rule(mesh_rule(Family::kIpv4));
    message.put_string(type, "eth7");
    EXPECT_TRUE((*decode_rule(message.header()))->more_selectors) << type;
  }
  auto icmp = encode_put_rule(mesh_rule(Family::kIpv4));
  icmp.put_value(FRA_IP_PROTO, std::uint8_t{1});
  EXPECT_TRUE((*decode_rule(icmp.header()))->more_selectors);
  auto off = encode_put_rule(mesh_rule(Family::kIpv4));
  off.put_value(FRA_SUPPRESS_PREFIXLEN, std::uint32_t{0xffff'ffff});
  EXPECT_FALSE((*decode_rule(off.header()))->more_selectors);
  auto on = encode_put_rule(mesh_rule(Family::kIpv4));
  on.put_value(FRA_SUPPRESS_PREFIXLEN, std::uint32_t{0});
  EXPECT_TRUE((*decode_rule(on.header()))->more_selectors);
}

TEST(RtnetlinkDecode, ALinkWithItsKindFlagsAndMtu) {
  NetlinkMessage message(RTM_NEWLINK, 0);
  ifinfomsg header{};
  header.ifi_index = 7;
  header.ifi_flags = IFF_UP | IFF_LOWER_UP;
  message.put_header(header);
  message.put_string(IFLA_IFNAME, "mesh0");
  message.put_value(IFLA_MTU, std::uint32_t{1380});
  const auto info = message.begin_nest(IFLA_LINKINFO);
  message.put_string(IFLA_INFO_KIND, "wireguard");
  message.end_nest(info);
  EXPECT_THAT(*decode_link(message.header()),
              Optional(Link{7, "mesh0", "wireguard", 1380, true, true, false}));
}

TEST(RtnetlinkDecode, BridgePortsAndWirelessScansAreNoLinks) {
  for (const bool bridge : {true, false}) {
    NetlinkMessage message(RTM_DELLINK, 0);
    ifinfomsg header{};
    header.ifi_family = bridge ? AF_BRIDGE : AF_UNSPEC;
    header.ifi_index = 7;
    message.put_header(header);
    message.put_string(IFLA_IFNAME, "wlan0");
    if (!bridge) message.put_string(IFLA_WIRELESS, "scan");
    const auto decoded = decode_link(message.header());
    ASSERT_TRUE(decoded);
    EXPECT_FALSE(*decoded);
  }
}

TEST(RtnetlinkDecode, NamesThatNoLinkCanHaveAreMalformed) {
  for (const char* name : {"", "sixteencharacter"}) {
    NetlinkMessage message(RTM_NEWLINK, 0);
    ifinfomsg header{};
    header.ifi_index = 7;
    message.put_header(header);
    message.put_string(IFLA_IFNAME, name);
    EXPECT_FALSE(decode_link(message.header())) << name;
  }
}

TEST(RtnetlinkDecode, SecondaryIpv4AddressesAreNotTemporary) {
  NetlinkMessage message(RTM_NEWADDR, 0);
  message.put_header(ifaddrmsg{AF_INET, 24, IFA_F_SECONDARY, 0, 7});
  message.put(IFA_ADDRESS, ip("10.1.0.1").bytes());
  message.put(IFA_LOCAL, ip("10.1.0.1").bytes());
  EXPECT_THAT(*decode_address(message.header()),
              Optional(LocalAddress{7, ip("10.1.0.1"), 24, false}));
  NetlinkMessage temporary(RTM_NEWADDR, 0);
  temporary.put_header(ifaddrmsg{AF_INET6, 64, 0, 0, 7});
  temporary.put(IFA_ADDRESS, ip("fd01::9").bytes());
  temporary.put_value(IFA_FLAGS, std::uint32_t{IFA_F_TEMPORARY});
  EXPECT_THAT(*decode_address(temporary.header()),
              Optional(LocalAddress{7, ip("fd01::9"), 64, true}));
}

TEST(RtnetlinkDecode, ARejectRouteIsNoAnswerToALookup) {
  rtmsg header = unicast4();
  header.rtm_type = RTN_UNREACHABLE;
  auto message = route_message(header);
  const auto decoded = decode_lookup(message.header());
  ASSERT_TRUE(decoded);
  EXPECT_FALSE(*decoded);
}

TEST(RtnetlinkDecode, ALookupsGatewayMayBeOfTheOtherFamily) {
  auto message = route_message(unicast4());
  message.put_value(RTA_OIF, std::uint32_t{7});
  std::vector<std::uint8_t> via{AF_INET6, 0};
  const auto gateway = ip("2001:db8::fe");
  via.insert(via.end(), gateway.bytes().begin(), gateway.bytes().end());
  message.put(RTA_VIA, via);
  const auto metrics = message.begin_nest(RTA_METRICS);
  message.put_value(RTAX_MTU, std::uint32_t{1300});
  message.end_nest(metrics);
  const auto decoded = decode_lookup(message.header());
  ASSERT_TRUE(decoded);
  EXPECT_EQ((*decoded)->oif, 7);
  EXPECT_EQ((*decoded)->gateway, gateway);
  EXPECT_EQ((*decoded)->mtu, 1300U);
}

}  // namespace
}  // namespace mesh
