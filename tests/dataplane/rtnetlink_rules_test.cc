// Rules, addresses and links against the real kernel, in namespaces of the test's own. What meshd
// writes is checked with iproute2, and what iproute2 writes with meshd.
#include <fstream>

#include "dataplane/rtnetlink_fixture.h"

namespace mesh {
namespace {

using nlohmann::json;
using test::cidr;
using test::index_of;
using test::ip;
using test::run;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

using test::everything_but_m;
using test::FailsWith;
using test::kTable;
using test::RtnetlinkTest;
using test::Succeeds;

// Rules

class RuleTest : public RtnetlinkTest, public testing::WithParamInterface<Family> {
 protected:
  static Rule mesh_rule() { return everything_but_m(GetParam()); }
  static Rule host_rule(std::optional<Cidr> source) {
    Rule rule;
    rule.family = GetParam();
    rule.priority = 101;
    rule.fwmask = 0x2000;
    rule.source = source;
    rule.table = kTable + 1;
    return rule;
  }
  static Cidr source() { return cidr(GetParam() == Family::kIpv4 ? "10.1.0.0/24" : "fd01::/64"); }
  static Cidr source2() { return cidr(GetParam() == Family::kIpv4 ? "10.2.0.0/24" : "fd02::/64"); }
  static std::string ip_rule(const std::string& words) {
    return run(fmt::format("ip -{} rule {}", static_cast<int>(GetParam()), words));
  }
  std::vector<Rule> at_priority(std::uint32_t priority) {
    std::vector<Rule> found;
    const auto rules = net().read_rules();
    for (const Rule& rule : *rules)
      if (rule.family == GetParam() && rule.priority == priority) found.push_back(rule);
    return found;
  }
};
INSTANTIATE_TEST_SUITE_P(BothFamilies, RuleTest, testing::Values(Family::kIpv4, Family::kIpv6));

TEST_P(RuleTest, PutIsIdempotentAndRemoveTakesItAway) {
  const std::string before = ip_rule("show");
  for (int i = 0; i < 3; ++i) ASSERT_THAT(net().put_rule(mesh_rule()), Succeeds());
  EXPECT_THAT(at_priority(99), ElementsAre(mesh_rule()));
  const json shown = json::parse(
      run(fmt::format("ip -j -{} rule show priority 99", static_cast<int>(GetParam()))));
  ASSERT_EQ(shown.size(), 1U) << shown.dump(1);
  EXPECT_TRUE(shown[0].contains("not")) << shown.dump(1);
  EXPECT_EQ(shown[0]["fwmark"], "0x2000");
  EXPECT_EQ(shown[0]["table"], std::to_string(kTable));
  EXPECT_EQ(shown[0]["protocol"], "109");
  for (int i = 0; i < 2; ++i) EXPECT_THAT(net().remove_rule(mesh_rule()), Succeeds());
  EXPECT_EQ(ip_rule("show"), before);
}

TEST_P(RuleTest, AZeroMarkWithAMaskRoundTrips) {
  ASSERT_THAT(net().put_rule(host_rule(source())), Succeeds());
  EXPECT_THAT(at_priority(101), ElementsAre(host_rule(source())));
  EXPECT_THAT(ip_rule("show priority 101"), HasSubstr("fwmark 0/0x2000"));
}

TEST_P(RuleTest, ARuleThatDiffersInItsInversionAloneIsNotTakenForOurs) {
  ip_rule("add fwmark 0x2000/0x2000 lookup 5182 priority 99 protocol 109");
  ASSERT_THAT(net().put_rule(mesh_rule()), Succeeds());
  ASSERT_EQ(at_priority(99).size(), 2U);
  EXPECT_THAT(net().remove_rule(mesh_rule()), Succeeds());
  Rule other = mesh_rule();
  other.invert = false;
  EXPECT_THAT(at_priority(99), ElementsAre(other));
}

TEST_P(RuleTest, ARuleWithMoreSelectorsIsNotTakenForOurs) {
  ip_rule("add not fwmark 0x2000/0x2000 oif eth7 lookup 5182 priority 99 protocol 109");
  EXPECT_THAT(net().remove_rule(mesh_rule()), Succeeds()) << "ours is not there";
  EXPECT_EQ(at_priority(99).size(), 1U);
  ASSERT_THAT(net().put_rule(mesh_rule()), Succeeds());
  EXPECT_EQ(at_priority(99).size(), 2U);
  EXPECT_THAT(net().remove_rule(mesh_rule()), FailsWith(ErrorCode::kExists));
  EXPECT_EQ(at_priority(99).size(), 2U) << "rather nothing than somebody else's";
}

TEST_P(RuleTest, RemovingTheRuleWithoutASourceLeavesThoseWithOne) {
  ASSERT_THAT(net().put_rule(host_rule(source())), Succeeds());
  ASSERT_THAT(net().put_rule(host_rule(source2())), Succeeds());
  ASSERT_THAT(net().put_rule(host_rule(std::nullopt)), Succeeds());
  ASSERT_THAT(net().remove_rule(host_rule(std::nullopt)), Succeeds());
  EXPECT_THAT(at_priority(101), UnorderedElementsAre(host_rule(source()), host_rule(source2())));
  ASSERT_THAT(net().remove_rule(host_rule(source())), Succeeds());
  EXPECT_THAT(at_priority(101), ElementsAre(host_rule(source2())));
}

TEST_P(RuleTest, PortsProtocolAndLocallyMadePacketsRoundTripAndAreToldApart) {
  std::vector<Rule> rules;
  for (const bool there : {true, false}) {
    Rule rule;
    rule.family = GetParam();
    rule.priority = 100;
    rule.table = kMainTable;
    rule.locally_made = true;
    rule.ip_protocol = there ? IpProtocol::kUdp : IpProtocol::kTcp;
    (there ? rule.destination_ports : rule.source_ports) = {67, 68};
    rules.push_back(rule);
    (there ? rule.destination : rule.source) = source();
    rules.push_back(rule);
  }
  for (const Rule& rule : rules) ASSERT_THAT(net().put_rule(rule), Succeeds());
  EXPECT_THAT(at_priority(100), testing::UnorderedElementsAreArray(rules));
  const std::string shown = ip_rule("show priority 100");
  EXPECT_THAT(shown, HasSubstr("iif lo ipproto udp dport 67-68 lookup main"));
  EXPECT_THAT(shown, HasSubstr("to " + source().to_string() + " iif lo ipproto udp dport 67-68"));
  EXPECT_THAT(shown, HasSubstr("iif lo ipproto tcp sport 67-68 lookup main"));
  for (; !rules.empty(); rules.pop_back()) {
    EXPECT_THAT(at_priority(100), testing::UnorderedElementsAreArray(rules));
    ASSERT_THAT(net().remove_rule(rules.back()), Succeeds());
  }
  EXPECT_THAT(at_priority(100), testing::IsEmpty());
}

TEST_P(RuleTest, RulesComeInTheOrderTheKernelTriesThemWithForeignOnesMarked) {
  ip_rule("add priority 50 to 10.0.0.0/8 lookup 50 2>/dev/null || true");
  ip_rule("add priority 60 blackhole");
  ip_rule("add priority 70 oif eth7 lookup 70");
  ip_rule("add priority 80 lookup 80 suppress_prefixlength 0");
  ASSERT_THAT(net().put_rule(mesh_rule()), Succeeds());
  EXPECT_THAT(at_priority(99), ElementsAre(mesh_rule()));
  for (const std::uint32_t priority : {60U, 70U, 80U}) {
    ASSERT_EQ(at_priority(priority).size(), 1U) << priority;
    EXPECT_TRUE(at_priority(priority)[0].more_selectors) << priority;
  }
  EXPECT_FALSE(at_priority(32766)[0].more_selectors) << "the rule of the main table";
}

// Addresses

TEST_F(RtnetlinkTest, AnAddressIsAHostPrefixWithoutAConnectedRouteAndUsableAtOnce) {
  const int mesh = index_of("mesh0");
  for (const char* address : {"10.1.0.1", "fd01::1"})
    for (int i = 0; i < 2; ++i) ASSERT_THAT(net().add_address(mesh, ip(address)), Succeeds());
  const json shown = json::parse(run("ip -j addr show dev mesh0 scope global"));
  const json& addresses = shown[0]["addr_info"];
  ASSERT_EQ(addresses.size(), 2U) << shown.dump(1);
  EXPECT_EQ(addresses[0]["prefixlen"], 32);
  EXPECT_EQ(addresses[1]["prefixlen"], 128);
  for (const json& address : addresses) {
    EXPECT_TRUE(address.value("noprefixroute", false)) << address.dump();
    EXPECT_FALSE(address.value("tentative", false)) << address.dump();
  }
  EXPECT_TRUE(addresses[1].value("nodad", false));
  EXPECT_EQ(run("ip -6 route show table main | grep fd01:: || true"), "");

  std::vector<LocalAddress> ours;
  const auto read = net().read_addresses();
  ASSERT_TRUE(read);
  for (const LocalAddress& address : *read)
    if (address.ifindex == mesh && !address.address.is_link_local()) ours.push_back(address);
  EXPECT_THAT(ours, ElementsAre(LocalAddress{mesh, ip("10.1.0.1"), 32},
                                LocalAddress{mesh, ip("fd01::1"), 128}));
  for (const char* address : {"10.1.0.1", "fd01::1"})
    for (int i = 0; i < 2; ++i) EXPECT_THAT(net().remove_address(mesh, ip(address)), Succeeds());
  EXPECT_EQ(run("ip addr show dev mesh0 scope global | grep inet || true"), "");
}

TEST_F(RtnetlinkTest, APointToPointAddressIsTheLocalEnd) {
  run("ip addr add 10.1.0.1 peer 10.1.0.2/32 dev mesh0");
  const auto addresses = net().read_addresses();
  ASSERT_TRUE(addresses);
  EXPECT_THAT(*addresses, testing::Contains(LocalAddress{index_of("mesh0"), ip("10.1.0.1"), 32}));
}

TEST_F(RtnetlinkTest, DeprecatedAddressesAreMarked) {
  run("ip -6 addr add fd01::9/64 dev mesh0 nodad preferred_lft 0");
  const auto addresses = net().read_addresses();
  EXPECT_THAT(*addresses,
              testing::Contains(LocalAddress{index_of("mesh0"), ip("fd01::9"), 64, true}));
}

TEST_F(RtnetlinkTest, WhereIpv6IsDisabledTheErrorSaysSo) {
  std::ofstream("/proc/sys/net/ipv6/conf/mesh0/disable_ipv6") << "1";
  const auto added = net().add_address(index_of("mesh0"), ip("fd01::1"));
  EXPECT_THAT(added, FailsWith(ErrorCode::kUnsupported));
  EXPECT_THAT(added.error().message, HasSubstr("disable_ipv6"));
}

// Links

TEST_F(RtnetlinkTest, LinksAreReadWithTheirKindMtuAndState) {
  run("ip link add v0 type veth peer name v1 && ip link set v0 mtu 1400 up");
  const auto links = net().read_links();
  ASSERT_TRUE(links) << links.error().message;
  const auto named = [&](std::string_view name) {
    return *std::find_if(links->begin(), links->end(),
                         [&](const Link& link) { return link.name == name; });
  };
  EXPECT_TRUE(named("lo").loopback);
  EXPECT_EQ(named("lo").index, 1);
  EXPECT_EQ(named("v0").kind, "veth");
  EXPECT_EQ(named("v0").mtu, 1400U);
  EXPECT_TRUE(named("v0").up);
  EXPECT_FALSE(named("v0").running) << "its other end is down";
  EXPECT_EQ(named("mesh0").kind, "tun");
}

TEST_F(RtnetlinkTest, ALinkIsFoundChangedAndDeleted) {
  EXPECT_EQ(*net().find_link("nobody"), std::nullopt);
  run("ip link add v0 type veth peer name v1");
  const Link before = **net().find_link("v0");
  EXPECT_FALSE(before.up);
  ASSERT_THAT(net().change_link(before.index, 1280, true), Succeeds());
  const Link after = **net().find_link("v0");
  EXPECT_TRUE(after.up);
  EXPECT_EQ(after.mtu, 1280U);
  ASSERT_THAT(net().change_link(before.index, 0, false), Succeeds());
  EXPECT_TRUE((*net().find_link("v0"))->up) << "up is never cleared";
  for (int i = 0; i < 2; ++i) ASSERT_THAT(net().delete_link(before.index), Succeeds());
  EXPECT_EQ(*net().find_link("v0"), std::nullopt);
}

TEST_F(RtnetlinkTest, AKindTheKernelDoesNotKnowIsUnsupportedAndATakenNameExists) {
  EXPECT_THAT(net().create_link("m1", "nosuchkind"), FailsWith(ErrorCode::kUnsupported));
  EXPECT_THAT(net().create_link("mesh0", "veth"), FailsWith(ErrorCode::kExists));
  EXPECT_THAT(net().change_link(9999, 1400, false), FailsWith(ErrorCode::kNotFound));
}

}  // namespace
}  // namespace mesh
