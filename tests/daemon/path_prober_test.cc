// The ways to the peers, measured beside the pass: whom, how often, and what becomes of it.
#include "meshd/daemon/path_prober.h"

#include <gmock/gmock.h>

#include "rig.h"

namespace mesh::test {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Paths : public ::testing::Test {
 protected:
  // Node a with the encrypted peers b (192.0.2.2) and c (192.0.2.3).
  void SetUp() override {
    rig.measure_paths();
    rig.add_peer("b", 2);
    rig.add_peer("c", 3);
  }
  void start() {
    rig.start();
    ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b") && rig.encrypted("c"); }));
    rig.run(seconds(20));
  }
  // Of the route in table W or H; nothing when there is no such route.
  std::optional<Route> route(const std::string& prefix) const {
    const Cidr destination = cidr(prefix);
    for (const auto& [key, route] : rig.kernel.routes())
      if (key.destination == destination && route.type == RouteType::kUnicast) return route;
    return std::nullopt;
  }
  std::uint32_t mtu_of(const std::string& prefix) const {
    const auto found = route(prefix);
    EXPECT_TRUE(found) << prefix;
    return found ? found->mtu : 0;
  }

  Rig rig;
};

TEST_F(Paths, AWayAsWideAsTheLinkNeedsNoMetric) {
  start();
  EXPECT_EQ(rig.peer("b").path_mtu, 1500U);
  EXPECT_EQ(rig.peer("b").mtu, 1440U);
  EXPECT_EQ(rig.peer("b").mtu_reason, "");
  EXPECT_EQ(mtu_of("10.2.0.0/24"), 0U);
  EXPECT_EQ(rig.underlay.mark, rig.config.wireguard.fwmark) << "probes stay out of the mesh";
}

TEST_F(Paths, ANarrowWayNarrowsTheRoutesOfThatPeerAlone) {
  rig.underlay.carries[ip("192.0.2.2")] = 1400;
  start();
  EXPECT_EQ(rig.peer("b").path_mtu, 1400U);
  EXPECT_EQ(rig.peer("b").mtu, 1340U);
  EXPECT_EQ(mtu_of("10.2.0.0/24"), 1340U);
  EXPECT_EQ(mtu_of("192.0.2.2/32"), 1340U);
  ASSERT_TRUE(route("fd00:2::/64"));
  EXPECT_EQ(route("fd00:2::/64")->mtu, 1340U);
  EXPECT_TRUE(route("fd00:2::/64")->mtu_locked) << "else a change of the device's overwrites it";
  EXPECT_EQ(rig.peer("c").mtu, 1440U);
  EXPECT_EQ(mtu_of("10.3.0.0/24"), 0U);
}

TEST_F(Paths, Ipv6RoutesNeverFallBelowTheirMinimum) {
  rig.underlay.carries[ip("192.0.2.2")] = 1200;
  start();
  EXPECT_EQ(mtu_of("10.2.0.0/24"), 1140U);
  EXPECT_EQ(mtu_of("fd00:2::/64"), 1280U);
}

TEST_F(Paths, AWayThatChangesIsFollowedByOneReplacementOfEachRoute) {
  start();
  rig.kernel.forget();
  rig.underlay.carries[ip("192.0.2.2")] = 1400;
  rig.run(seconds(15));
  EXPECT_EQ(mtu_of("10.2.0.0/24"), 1340U);
  EXPECT_EQ(rig.kernel.executed().size(), 3U) << "two prefixes and an address";
  for (const Operation& operation : rig.kernel.executed())
    EXPECT_EQ(name_of(operation.act), "put-route") << to_string(operation);
  rig.underlay.carries[ip("192.0.2.2")] = 1500;
  rig.run(minutes(1));
  EXPECT_EQ(mtu_of("10.2.0.0/24"), 0U);
  EXPECT_EQ(rig.status->repairs, 0U);
}

TEST_F(Paths, AMeasuredMeshWritesNothing) {
  rig.underlay.carries[ip("192.0.2.2")] = 1400;
  start();
  rig.kernel.forget();
  rig.run(minutes(30));
  EXPECT_THAT(rig.kernel.executed(), IsEmpty());
}

TEST_F(Paths, ARestartKeepsTheRoutesUntilTheWayIsMeasuredAgain) {
  rig.underlay.carries[ip("192.0.2.2")] = 1400;
  start();
  rig.kernel.forget();
  rig.underlay.silent.insert(ip("192.0.2.2"));
  rig.start();
  rig.run(hours(1));
  EXPECT_THAT(rig.kernel.executed(), IsEmpty());
  EXPECT_EQ(mtu_of("10.2.0.0/24"), 1340U);
  EXPECT_EQ(rig.peer("b").mtu, 1340U);
  EXPECT_EQ(rig.peer("b").path_mtu, std::nullopt);
  EXPECT_THAT(rig.peer("b").mtu_reason, HasSubstr("answers no echo"));

  rig.underlay.silent.clear();
  rig.run(minutes(6));
  EXPECT_EQ(rig.peer("b").path_mtu, 1400U);
  EXPECT_THAT(rig.kernel.executed(), IsEmpty()) << "it was right";
  rig.underlay.carries.clear();
  rig.run(minutes(1));
  EXPECT_EQ(mtu_of("10.2.0.0/24"), 0U);
}

TEST_F(Paths, APeerThatAnswersNoEchoKeepsTheLinksMtu) {
  rig.underlay.silent.insert(ip("192.0.2.2"));
  start();
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_EQ(rig.peer("b").path_mtu, std::nullopt);
  EXPECT_EQ(rig.peer("b").mtu, 1440U);
  EXPECT_EQ(mtu_of("10.2.0.0/24"), 0U);
}

TEST_F(Paths, WhereThePeerRoamsToIsMeasured) {
  rig.underlay.carries[ip("198.51.100.9")] = 1400;
  start();
  rig.kernel.roam(key(2), endpoint("198.51.100.9:7777"));
  rig.run(seconds(10));
  EXPECT_EQ(rig.peer("b").path_mtu, 1400U);
  EXPECT_EQ(mtu_of("10.2.0.0/24"), 1340U);
}

TEST_F(Paths, WhatWasTrueOfAFormerAddressEndsWithIt) {
  rig.underlay.carries[ip("192.0.2.2")] = 1400;
  rig.underlay.silent.insert(ip("198.51.100.9"));
  start();
  ASSERT_EQ(mtu_of("10.2.0.0/24"), 1340U);
  rig.kernel.roam(key(2), endpoint("198.51.100.9:7777"));
  rig.run(seconds(30));
  EXPECT_EQ(mtu_of("10.2.0.0/24"), 0U);
}

TEST_F(Paths, OnlyPeersThatAreSentToThroughWireGuardAreProbed) {
  rig.store.put(node("d", 4).no_key().record());
  rig.store.put(node("e", 5).record());  // never answers a handshake
  start();
  rig.run(minutes(5));
  EXPECT_EQ(rig.underlay.sent_to(ip("192.0.2.4")), 0U);
  EXPECT_EQ(rig.underlay.sent_to(ip("192.0.2.5")), 0U);
  EXPECT_EQ(rig.peer("d").mtu, std::nullopt);
  EXPECT_THAT(rig.peer("d").mtu_reason, HasSubstr("through WireGuard"));
  rig.store.remove("b");
  rig.run(Peer::kGrace + seconds(5));
  rig.underlay.sent.clear();
  rig.run(minutes(5));
  EXPECT_EQ(rig.underlay.sent_to(ip("192.0.2.2")), 0U);
}

TEST_F(Paths, AFixedMtuIsNotMeasuredAndHoldsForAll) {
  rig.underlay.carries[ip("192.0.2.2")] = 1400;
  start();
  ASSERT_EQ(mtu_of("10.2.0.0/24"), 1340U);
  rig.config.wireguard.mtu = 1300;
  rig.reconciler->reconfigure(rig.config);
  rig.pass();
  rig.underlay.sent.clear();
  rig.run(minutes(5));
  EXPECT_EQ(mtu_of("10.2.0.0/24"), 0U);
  EXPECT_EQ(rig.peer("b").mtu, 1300U);
  EXPECT_EQ(rig.peer("b").path_mtu, std::nullopt);
  EXPECT_THAT(rig.peer("b").mtu_reason, HasSubstr("wireguard.mtu"));
  EXPECT_THAT(rig.underlay.sent, IsEmpty());
}

TEST_F(Paths, WithoutThePermissionTheStatusSaysSo) {
  rig.measure_paths(false);
  start();
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_EQ(rig.peer("b").path_mtu, std::nullopt);
  EXPECT_THAT(rig.peer("b").mtu_reason, HasSubstr("CAP_NET_RAW"));
}

TEST_F(Paths, ALinkThatGetsLargerFramesIsMeasuredAnew) {
  rig.underlay.width = 9000;
  start();
  ASSERT_EQ(rig.peer("b").path_mtu, 1500U);
  rig.kernel.set_link_mtu("eth0", 9000);
  rig.run(seconds(5));
  EXPECT_EQ(rig.peer("b").path_mtu, 9000U);
  EXPECT_EQ(rig.peer("b").mtu, 8940U);
}

TEST_F(Paths, AForgedAnswerOrAStrangersIsNotTaken) {
  rig.underlay.carries[ip("192.0.2.2")] = 1400;
  start();
  const std::uint16_t last = rig.underlay.sent.back().number;
  for (int i = 0; i < 100; ++i) {
    const auto number = static_cast<std::uint16_t>(last - i);
    rig.underlay.news.push_back({ProbeNews::Kind::kAnswered, number, ip("203.0.113.1"), 1500, 0});
    rig.underlay.news.push_back({ProbeNews::Kind::kAnswered, number, ip("192.0.2.2"), 1499, 0});
  }
  rig.run(seconds(4));
  EXPECT_EQ(rig.peer("b").path_mtu, 1400U);
}

// 10,000 peers at 40 a second are looked at every 250 s; here the same rate with fewer.
TEST_F(Paths, ALargeMeshCostsASteadyLowRate) {
  for (int n = 4; n < 250; ++n) rig.add_peer("n" + std::to_string(n), n);
  start();
  rig.run(seconds(30));
  EXPECT_EQ(rig.peer("n249").path_mtu, 1500U);
  rig.underlay.sent.clear();
  rig.run(minutes(1));
  EXPECT_LE(rig.underlay.sent.size(), 45U * 60);
  EXPECT_GE(rig.underlay.sent.size(), 30U * 60);
}

TEST_F(Paths, NeverMoreThanAHundredProbesASecond) {
  for (int n = 4; n < 250; ++n) rig.underlay.silent.insert(ip("192.0.2." + std::to_string(n)));
  for (int n = 4; n < 250; ++n) rig.add_peer("n" + std::to_string(n), n);
  start();
  for (int i = 0; i < 60; ++i) {
    rig.underlay.sent.clear();
    rig.run(seconds(1));
    EXPECT_LE(rig.underlay.sent.size(), 121U);
  }
}

TEST_F(Paths, FindingsThatComeTogetherShareAPass) {
  for (int n = 4; n < 250; ++n) rig.add_peer("n" + std::to_string(n), n);
  start();
  const std::size_t before = rig.passes;
  rig.underlay.width = 1400;
  rig.underlay.routers_tell = true;
  rig.run(seconds(20));
  EXPECT_EQ(rig.peer("n4").mtu, 1340U);
  EXPECT_EQ(rig.peer("n249").mtu, 1340U);
  EXPECT_LE(rig.passes - before, 20U * 10);
}

// --- workload links ---

TEST_F(Paths, AWorkloadLinkThatIsTooLargeIsOneWarningWithItsNumbersAndTheRemedy) {
  rig.kernel.set_link_mtu("br0", 1500);
  start();
  ASSERT_EQ(rig.status->warnings.size(), 1U);
  EXPECT_THAT(rig.status->warnings[0], HasSubstr("br0 has an MTU of 1500, the mesh carries 1440:"));
  EXPECT_THAT(rig.status->warnings[0], HasSubstr("set the MTU of br0"));
  rig.underlay.carries[ip("192.0.2.2")] = 1400;
  rig.run(seconds(20));
  ASSERT_EQ(rig.status->warnings.size(), 1U);
  EXPECT_THAT(rig.status->warnings[0], HasSubstr("the mesh carries 1340 to b"));
  rig.kernel.set_link_mtu("br0", 1340);
  rig.run(seconds(2));
  EXPECT_THAT(rig.status->warnings, IsEmpty());
}

}  // namespace
}  // namespace mesh::test
