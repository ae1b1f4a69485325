// The plan: the order of acts of design section 4, one sentence a test, and what it leaves alone.
// Each plan is also executed by a kernel in memory, which the path watcher looks at after every
// operation.
#include "core/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "world.h"

namespace mesh {

namespace {

using std::chrono::seconds;
using test::cidr;
using test::endpoint;
using test::ip;
using test::key;
using test::node;
using test::World;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::vector<std::string> lines(const Plan& plan) {
  std::vector<std::string> text;
  for (const Operation& operation : plan) text.push_back(to_string(operation));
  return text;
}

// Where the first (or last) operation stands whose line holds `text`; -1 when there is none.
int first(const Plan& plan, const std::string& text) {
  const auto all = lines(plan);
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i].find(text) != std::string::npos) return static_cast<int>(i);
  return -1;
}
int last(const Plan& plan, const std::string& text) {
  const auto all = lines(plan);
  for (std::size_t i = all.size(); i > 0; --i)
    if (all[i - 1].find(text) != std::string::npos) return static_cast<int>(i) - 1;
  return -1;
}

// Every operation that says `a` comes before every one that says `b`, and there are both.
::testing::AssertionResult comes_before(const Plan& plan, const std::string& a,
                                        const std::string& b) {
  if (first(plan, a) >= 0 && first(plan, b) >= 0 && last(plan, a) < first(plan, b))
    return ::testing::AssertionSuccess();
  auto failure = ::testing::AssertionFailure() << "'" << a << "' before '" << b << "' in:\n";
  for (const std::string& line : lines(plan)) failure << "  " << line << "\n";
  return failure;
}

class PlanOrder : public ::testing::Test {
 protected:
  void TearDown() override {
    EXPECT_THAT(world.watcher->made(), IsEmpty());
    world.settle();
    EXPECT_THAT(world.pass(), IsEmpty()) << "executed, it leaves nothing to do";
    EXPECT_THAT(world.left_to_do(), IsEmpty());
  }
  void encrypted_node(const std::string& name, int n) {
    world.kernel.answer(key(n));
    world.put(node(name, n));
    world.settle();
    ASSERT_EQ(world.state(name), State::kEncrypted);
  }
  static std::string peer(int n) { return "peer " + key(n).to_base64(); }
  World world;
};

TEST_F(PlanOrder, AFirstPassMakesTheDeviceBeforePeersBeforeRoutesBeforeRules) {
  world.put(node("b", 2));
  const Plan plan = world.pass();
  EXPECT_TRUE(comes_before(plan, "device: private-key (hidden)", "address: add"));
  EXPECT_TRUE(comes_before(plan, "address: add", "link: up"));
  EXPECT_TRUE(comes_before(plan, "link: mtu", "link: up"));
  EXPECT_TRUE(comes_before(plan, "link: up", "peer "));
  EXPECT_TRUE(comes_before(plan, "nftables: install", "nftables: add"));
  EXPECT_TRUE(comes_before(plan, "nftables: add", "peer "));
  EXPECT_TRUE(comes_before(plan, "route: put", "rule: add"));
  EXPECT_EQ(last(plan, "rule: add"), static_cast<int>(plan.size()) - 1) << "the rules last";
}

TEST_F(PlanOrder, TheDeviceHasAnAddressOfEachFamilyItCarries) {
  world.pass();
  std::set<Family> families;
  const auto addresses = world.kernel.read_addresses().value();
  for (const LocalAddress& address : addresses)
    if (address.ifindex == world.kernel.device_index()) families.insert(address.address.family());
  EXPECT_THAT(families, Contains(Family::kIpv4));
}

TEST_F(PlanOrder, TheRulesAreWhatTheDesignSays) {
  world.pass();
  const LocalNode& local = world.local;
  EXPECT_EQ(world.kernel.rules(),
            (std::set<Rule>{
                {Family::kIpv4, 99, true, 0x2000, 0x2000, std::nullopt, local.table_w},
                {Family::kIpv6, 99, true, 0x2000, 0x2000, std::nullopt, local.table_w},
                {Family::kIpv4, 101, false, 0, 0x2000, cidr("10.1.0.0/24"), local.table_h},
                {Family::kIpv6, 101, false, 0, 0x2000, cidr("fd00:1::/64"), local.table_h},
            }));
}

TEST_F(PlanOrder, WithHostTrafficWhatThisHostSendsHasARuleOfItsOwnBehindTheFailsafePorts) {
  world.local.host_traffic = true;
  world.local.failsafe = {{IpProtocol::kTcp, {22, 22}, {}},
                          {IpProtocol::kTcp, {12379, 12379}, ip("192.0.2.9")}};
  const Plan plan = world.pass();
  for (const char* rule : {"IPv4 100: iif lo ipproto tcp dport 22 lookup 254",
                           "IPv6 100: iif lo ipproto tcp sport 22 lookup 254",
                           "IPv4 100: to 192.0.2.9/32 iif lo ipproto tcp dport 12379 lookup 254",
                           "IPv4 100: from 192.0.2.9/32 iif lo ipproto tcp sport 12379 lookup 254",
                           "IPv6 100: iif lo ipproto udp dport 51820 lookup 254",
                           "IPv4 101: fwmark 0x0/0x2000 iif lo lookup 5184",
                           "IPv4 101: from 10.1.0.0/24 fwmark 0x0/0x2000 lookup 5183"})
    EXPECT_THAT(lines(plan), Contains(HasSubstr(rule)));
  EXPECT_THAT(lines(plan), Not(Contains(HasSubstr("IPv6 100: to"))));
}

TEST_F(PlanOrder, AHostIsSentToThroughTheMeshOnlyWhenBothCoverItAndNeverWithAReject) {
  world.local.host_traffic = true;
  world.kernel.answer(key(3));
  world.put(node("c", 3));
  world.kernel.answer(key(2));
  world.put(node("b", 2).host_traffic());
  world.settle();
  const RouteKey b{test::kTableT, cidr("192.0.2.2/32"), 0};
  ASSERT_TRUE(world.kernel.routes().contains(b));
  EXPECT_EQ(world.kernel.routes().at(b).preferred_source, ip("192.0.2.1"));
  EXPECT_FALSE(world.kernel.routes().contains({test::kTableT, cidr("192.0.2.3/32"), 0}));
  EXPECT_TRUE(world.kernel.routes().contains({test::kTableH, cidr("192.0.2.3/32"), 0}));
  const NftElement closed{NftSet::kEncryptedHosts, {ip("192.0.2.2"), ip("192.0.2.2")}};
  EXPECT_TRUE(world.kernel.elements().contains(closed));
  for (const auto& [key, route] : world.kernel.routes())
    EXPECT_TRUE(key.table == test::kTableW || route.type == RouteType::kUnicast);
  world.put(node("b", 2));
  const Plan plan = world.pass();
  EXPECT_TRUE(comes_before(plan, "remove encrypted_hosts4", "route: remove"));
}

TEST_F(PlanOrder, TheHostIsClosedAfterItsRouteAndRequiredOnesBeforeAnything) {
  world.local.host_traffic = true;
  world.put(node("b", 2).host_traffic().mode("require"));
  const Plan first_sight = world.pass();
  EXPECT_TRUE(comes_before(first_sight, "add required_hosts4", "rule: add"));
  EXPECT_EQ(first(first_sight, "add encrypted_hosts4"), -1) << "nothing is proven yet";
  world.kernel.answer(key(2));
  world.wait(seconds(3));
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  world.kernel.delete_device();
  world.settle();
  EXPECT_TRUE(world.kernel.elements().contains(
      {NftSet::kEncryptedHosts, {ip("192.0.2.2"), ip("192.0.2.2")}}));
}

TEST_F(PlanOrder, RulesArePutOnce) {
  world.settle();
  encrypted_node("b", 2);
  world.put(node("c", 3));
  EXPECT_EQ(first(world.pass(), "rule:"), -1);
}

TEST_F(PlanOrder, WithEverythingGoneTheWayIsClosedBeforeAnythingCanBeReceived) {
  world.settle();
  encrypted_node("b", 2);
  world.kernel.delete_device();
  for (const auto& [key, route] : std::map(world.kernel.routes())) world.kernel.remove_route(key);
  for (const Rule& rule : std::set(world.kernel.rules())) world.kernel.remove_rule(rule);
  const Plan plan = world.pass();
  EXPECT_TRUE(comes_before(plan, "route: put unreachable 10.2.0.0/24", "rule: add"));
  EXPECT_TRUE(comes_before(plan, "rule: add", peer(2)));
  EXPECT_TRUE(comes_before(plan, "allowed-ips + 10.2.0.0/24", "route: put unicast 10.2.0.0/24"));
}

TEST_F(PlanOrder, AllowedIpsAndEndpointAreWrittenInOneMessage) {
  world.put(node("b", 2));
  const Plan plan = world.pass();
  int writes = 0;
  for (const Operation& operation : plan)
    if (const auto* change = std::get_if<ChangePeer>(&operation.act);
        change != nullptr && !change->change.kick) {
      ++writes;
      EXPECT_THAT(change->change.add_allowed_ips,
                  ElementsAre(cidr("10.2.0.0/24"), cidr("192.0.2.2/32"), cidr("fd00:2::/64")));
      EXPECT_EQ(change->change.endpoint, endpoint("192.0.2.2:51820"));
      EXPECT_EQ(change->change.keepalive, 25) << "so that a handshake starts at once";
    }
  EXPECT_EQ(writes, 1);
}

TEST_F(PlanOrder, APeerComesBeforeItsRouteAndTheGuardBeforeTheRouteAboveIt) {
  world.kernel.answer(key(2));
  world.put(node("b", 2));
  world.pass();
  world.clock.advance(seconds(1));
  const Plan plan = world.pass();
  EXPECT_TRUE(comes_before(plan, "put unreachable 10.2.0.0/24", "put unicast 10.2.0.0/24"));
  EXPECT_TRUE(comes_before(plan, "put unreachable fd00:2::/64", "put unicast fd00:2::/64"));
}

TEST_F(PlanOrder, ANewPrefixOfAnEncryptedPeerIsAllowedBeforeItIsRouted) {
  encrypted_node("b", 2);
  auto more = node("b", 2);
  more.cidrs.push_back(cidr("10.20.0.0/24"));
  world.put(more);
  const Plan plan = world.pass();
  EXPECT_TRUE(
      comes_before(plan, peer(2) + ": allowed-ips + 10.20.0.0/24", "put unreachable 10.20.0.0/24"));
  EXPECT_TRUE(comes_before(plan, "put unreachable 10.20.0.0/24", "put unicast 10.20.0.0/24"));
}

TEST_F(PlanOrder, ARouteIsAwayBeforeThePeerLosesThePrefix) {
  encrypted_node("b", 2);
  auto less = node("b", 2);
  less.cidrs = {cidr("fd00:2::/64")};
  world.put(less);
  world.settle();
  world.clock.advance(Peer::kGrace);
  const Plan plan = world.pass();
  EXPECT_TRUE(comes_before(plan, "remove unicast 10.2.0.0/24", peer(2) + ": allowed-ips - "));
  EXPECT_EQ(plan[static_cast<std::size_t>(first(plan, "remove unicast 10.2.0.0/24"))].node, "b")
      << "if the route cannot go the prefix must stay";
}

TEST_F(PlanOrder, ARouteThatCannotBeRemovedKeepsItsPrefixAllowed) {
  encrypted_node("b", 2);
  auto less = node("b", 2);
  less.cidrs = {cidr("fd00:2::/64")};
  world.put(less);
  world.settle();
  world.kernel.fail("remove-route", 0, 3);
  world.clock.advance(Peer::kGrace);
  world.pass();
  ASSERT_TRUE(world.kernel.routes().contains({test::kTableW, cidr("10.2.0.0/24"), 0}));
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(2));
}

TEST_F(PlanOrder, TurningToPlaintextReplacesTheRouteInOneStepAndClearsTheGuardLast) {
  encrypted_node("b", 2);
  world.put(node("b", 2).no_key());
  const Plan plan = world.pass();
  EXPECT_TRUE(comes_before(plan, "put throw 10.2.0.0/24", "remove unreachable 10.2.0.0/24"));
  EXPECT_EQ(first(plan, "remove unicast 10.2.0.0/24"), -1);
  EXPECT_EQ(first(plan, peer(2)), -1) << "the peer stays, to be heard";
}

TEST_F(PlanOrder, AMovedPrefixIsAddedToTheNewPeerAndNeverRemovedFirst) {
  encrypted_node("b", 2);
  encrypted_node("c", 3);
  auto less = node("b", 2);
  auto more = node("c", 3);
  less.cidrs = {cidr("fd00:2::/64")};
  more.cidrs.push_back(cidr("10.2.0.0/24"));
  world.put(less);
  world.put(more);
  const Plan plan = world.pass();
  EXPECT_GE(first(plan, peer(3) + ": allowed-ips + 10.2.0.0/24"), 0);
  EXPECT_EQ(first(plan, "allowed-ips -"), -1);
  EXPECT_EQ(first(plan, "route:"), -1) << "the route stays as it is";
}

TEST_F(PlanOrder, APeerNoRecordPublishesStaysUntilItIsRetired) {
  encrypted_node("b", 2);
  world.remove("b");
  world.settle();
  world.clock.advance(Peer::kGrace);
  EXPECT_EQ(first(world.pass(), peer(2)), -1);
  world.wait(seconds(30));
  EXPECT_TRUE(world.kernel.peers().contains(key(2)));
  world.kernel.forget();
  world.wait(seconds(60));
  EXPECT_THAT(lines(world.kernel.executed()), ElementsAre(peer(2) + ": remove"));
}

TEST_F(PlanOrder, APrefixLeavesWithItsGuardAndItsRouteInOnePlan) {
  encrypted_node("b", 2);
  world.remove("b");
  world.settle();
  world.clock.advance(Peer::kGrace);
  const Plan plan = world.pass();
  EXPECT_GE(first(plan, "remove unicast 10.2.0.0/24"), 0);
  EXPECT_TRUE(comes_before(plan, "remove unreachable 10.2.0.0/24", "remove unicast 10.2.0.0/24"))
      << "a guard alone would drop what the main table carries";
}

TEST_F(PlanOrder, ARoamedEndpointIsNotWrittenBackButAChangedRecordIs) {
  encrypted_node("b", 2);
  world.kernel.roam(key(2), endpoint("198.51.100.7:4000"));
  world.wait(seconds(10));
  EXPECT_EQ(world.kernel.peers().at(key(2)).endpoint, endpoint("198.51.100.7:4000"));
  EXPECT_THAT(world.left_to_do(), IsEmpty());
  world.put(node("b", 2).endpoint("192.0.2.2:51999"));
  world.settle();
  EXPECT_EQ(world.kernel.peers().at(key(2)).endpoint, endpoint("192.0.2.2:51999"));
}

TEST_F(PlanOrder, ARoamedEndpointIsNotWrittenBackAfterARestartButAChangedRecordIs) {
  encrypted_node("b", 2);
  world.kernel.roam(key(2), endpoint("198.51.100.7:4000"));
  world.restart();
  world.wait(seconds(10));
  EXPECT_EQ(world.kernel.peers().at(key(2)).endpoint, endpoint("198.51.100.7:4000"));
  world.put(node("b", 2).endpoint("192.0.2.2:51999"));
  world.settle();
  EXPECT_EQ(world.kernel.peers().at(key(2)).endpoint, endpoint("192.0.2.2:51999"));
}

TEST_F(PlanOrder, AnEndpointThatNeverAnsweredIsTheRecordsAfterARestart) {
  world.put(node("b", 2).endpoint("198.51.100.7:4000"));
  world.settle();
  world.store_answered = false;
  world.put(node("b", 2));
  world.restart();
  world.settle();
  EXPECT_EQ(world.kernel.peers().at(key(2)).endpoint, endpoint("192.0.2.2:51820"));
}

TEST_F(PlanOrder, WhatOthersTookFromAPeerIsGivenBack) {
  encrypted_node("b", 2);
  world.kernel.remove_allowed_ip(cidr("10.2.0.0/24"));
  world.pass();
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(2));
  world.kernel.remove_peer(key(2));
  world.pass();
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(2));
}

TEST_F(PlanOrder, ForeignRoutesAndRulesAreUntouchedEvenInOurTables) {
  encrypted_node("b", 2);
  Route foreign;
  foreign.key = {test::kTableW, cidr("172.16.0.0/12"), 0};
  foreign.type = RouteType::kThrow;
  foreign.protocol = 4;  // static
  world.kernel.put_route(foreign);
  Rule rule{Family::kIpv4, 50, false, 0, 0, cidr("172.16.0.0/12"), 100};
  rule.protocol = 0;
  world.kernel.put_rule(rule);
  world.settle();
  EXPECT_THAT(world.left_to_do(), IsEmpty());
  world.remove("b");
  world.settle();
  EXPECT_TRUE(world.kernel.routes().contains(foreign.key));
  EXPECT_TRUE(world.kernel.rules().contains(rule));
}

TEST_F(PlanOrder, AForeignRouteInThePlaceOfOursIsReplaced) {
  encrypted_node("b", 2);
  Route foreign;
  foreign.key = {test::kTableW, cidr("10.2.0.0/24"), 0};
  foreign.type = RouteType::kThrow;
  foreign.protocol = 4;
  world.kernel.put_route(foreign);
  world.pass();
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnicast);
}

TEST_F(PlanOrder, AForeignRouteThatLeadsAPartOfAPrefixAstrayIsTakenOut) {
  encrypted_node("b", 2);
  for (const char* astray : {"10.2.0.128/25", "10.2.0.9/32", "fd00:2::1:0/112"}) {
    Route foreign;
    foreign.key = {test::kTableW, cidr(astray), base_metric(cidr(astray).family())};
    foreign.type = RouteType::kThrow;
    foreign.protocol = 4;
    world.kernel.put_route(foreign);
    world.pass();
    EXPECT_FALSE(world.kernel.routes().contains(foreign.key)) << astray;
  }
  EXPECT_EQ(world.way_to("10.2.0.200"), RouteType::kUnicast);
}

TEST_F(PlanOrder, APeerThatSomebodyElsePutInTheDeviceIsTakenOutAtOnce) {
  encrypted_node("b", 2);
  WgPeer foreign;
  foreign.key = key(77);
  foreign.allowed_ips = {cidr("10.2.0.64/26")};
  world.kernel.put_peer(foreign);
  world.settle();
  EXPECT_FALSE(world.kernel.peers().contains(key(77)));
  EXPECT_TRUE(world.kernel.peers().contains(key(2)));
}

TEST_F(PlanOrder, DeletedRoutesAndRulesAreRepairedByTheirEventsAlone) {
  encrypted_node("b", 2);
  world.kernel.remove_route({test::kTableW, cidr("10.2.0.0/24"), 0});
  EXPECT_THAT(lines(world.pass()), ElementsAre(HasSubstr("put unicast 10.2.0.0/24")));
  world.kernel.remove_route({test::kTableW, cidr("10.2.0.0/24"), kGuardMetric});
  EXPECT_THAT(lines(world.pass()), ElementsAre(HasSubstr("put unreachable 10.2.0.0/24")));
  const Rule rule = *world.kernel.rules().begin();
  world.kernel.remove_rule(rule);
  EXPECT_THAT(lines(world.pass()), ElementsAre(HasSubstr("rule: add")));
  EXPECT_TRUE(world.kernel.rules().contains(rule));
}

TEST_F(PlanOrder, AFlushedRulesetIsInstalledAgainWithItsElements) {
  encrypted_node("b", 2);
  const auto elements = world.kernel.elements();
  world.kernel.flush_ruleset();
  const Plan plan = world.pass();
  EXPECT_EQ(first(plan, "nftables: install"), 0);
  EXPECT_EQ(world.kernel.elements(), elements);
}

TEST_F(PlanOrder, LostEventsAreMadeUpForByAFullComparison) {
  encrypted_node("b", 2);
  world.kernel.remove_route({test::kTableW, cidr("10.2.0.0/24"), 0});
  world.kernel.lose_events();
  EXPECT_THAT(lines(world.pass()), ElementsAre(HasSubstr("put unicast 10.2.0.0/24")));
}

TEST_F(PlanOrder, CountingThatFailsHoldsUpNoPeer) {
  world.kernel.fail("install-ruleset", 0, test::FakeDataplane::kForEver);
  world.kernel.answer(key(2));
  world.put(node("b", 2));
  for (int i = 0; i < 3; ++i) {
    world.pass();
    world.clock.advance(seconds(1));
  }
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnicast);
  EXPECT_FALSE(world.kernel.rules().empty()) << "nor the rules";
  world.kernel.stop_failing();
}

// Each set on its own, those that guard first: the parts of a range come right after it goes.
TEST_F(PlanOrder, RangesThatShrinkGoBeforeTheirPartsCome) {
  world.kernel.answer(key(2));
  world.put(node("b", 2).mode("require"));
  world.settle();
  auto c = node("c", 3);
  c.cidrs = {cidr("10.2.0.128/25")};
  world.put(c);
  const Plan plan = world.pass();
  for (const char* set : {"tx_required4", "rx_required4", "tx_wireguard4", "rx_plaintext4"})
    EXPECT_TRUE(comes_before(plan, fmt::format("nftables: remove {} 10.2.0.0/24", set),
                             fmt::format("nftables: add {} 10.2.0.0/25", set)));
  EXPECT_TRUE(comes_before(plan, "nftables: remove tx_required4", "nftables: add rx_required4"));
  EXPECT_TRUE(comes_before(plan, "nftables: add rx_required4", "nftables: remove peer4"));
}

TEST_F(PlanOrder, AStrictReversePathFilterIsLoosenedAndALooseOneLeft) {
  Mirror mirror;
  Desired desired;
  DesiredDevice device;
  for (const char* link : {"eth0", "eth1", "eth2", "gone0"})
    device.link_settings.push_back({link, LinkSysctl::kRpFilter, 2});
  desired.set_device(device);
  mirror.set_link_setting({"eth0", LinkSysctl::kRpFilter, 1});
  mirror.set_link_setting({"eth1", LinkSysctl::kRpFilter, 2});
  mirror.set_link_setting({"eth2", LinkSysctl::kRpFilter, 0});
  EXPECT_THAT(lines(make_plan(desired, mirror, {}, {}, {true, false})),
              ElementsAre("sysctl: net.ipv4.conf.eth0.rp_filter = 2"));
}

TEST_F(PlanOrder, AReversePathCheckThatOverlooksTheMarkIsTaughtToHeedIt) {
  Mirror mirror;
  Desired desired;
  DesiredDevice device;
  for (const char* link : {"eth0", "eth1"})
    device.link_settings.push_back({link, LinkSysctl::kSrcValidMark, 1});
  desired.set_device(device);
  mirror.set_link_setting({"eth0", LinkSysctl::kSrcValidMark, 0});
  mirror.set_link_setting({"eth1", LinkSysctl::kSrcValidMark, 1});
  const Plan plan = make_plan(desired, mirror, {}, {}, {true, false});
  EXPECT_THAT(lines(plan), ElementsAre("sysctl: net.ipv4.conf.eth0.src_valid_mark = 1"));
  mirror.apply(plan.front());
  EXPECT_THAT(make_plan(desired, mirror, {}, {}, {true, false}), IsEmpty());
}

TEST_F(PlanOrder, OnlyAnUnderlayLinkWithoutAnIpv4AddressNeedsTheMark) {
  LocalNode local;
  local.device_name = "mesh0";
  local.underlay_links = {"eth0", "eth1"};
  local.unnumbered_links = {"eth1"};
  EXPECT_TRUE(desired_device(local, true).link_settings.empty()) << "without WireGuard";
  local.backend = Backend::kKernel;
  EXPECT_THAT(desired_device(local, true).link_settings,
              ElementsAre(LinkSetting{"mesh0", LinkSysctl::kRpFilter, 2},
                          LinkSetting{"eth0", LinkSysctl::kRpFilter, 2},
                          LinkSetting{"eth1", LinkSysctl::kRpFilter, 2},
                          LinkSetting{"eth1", LinkSysctl::kSrcValidMark, 1}));
}

TEST_F(PlanOrder, WithoutNftablesThePlanHasNone) {
  const Plan plan = make_plan({}, {}, {}, {}, {true, false});
  EXPECT_EQ(first(plan, "nftables"), -1);
}

// --- before the store has answered ---

TEST_F(PlanOrder, NothingIsRemovedBeforeTheStoreHasAnswered) {
  encrypted_node("b", 2);
  world.restart(true);
  world.kernel.put_rule({Family::kIpv4, 98, true, 1, 1, std::nullopt, 7});
  world.kernel.add_address(world.kernel.device_index(), ip("10.77.0.1"), 32);
  for (int i = 0; i < 5; ++i) {
    for (const std::string& line : lines(world.pass())) EXPECT_THAT(line, Not(HasSubstr("remove")));
    world.clock.advance(seconds(60));
  }
  world.store_answers();
  const auto plan = lines(world.pass());
  EXPECT_THAT(plan, Contains(HasSubstr("address: remove 10.77.0.1")));
  EXPECT_THAT(plan, Contains(HasSubstr("rule: remove IPv4 98")));
}

}  // namespace
}  // namespace mesh
