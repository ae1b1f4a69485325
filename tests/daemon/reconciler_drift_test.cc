// What others change in the kernel is repaired, counted once, and nothing else is.
#include <gmock/gmock.h>

#include "reconciler_fixture.h"

namespace mesh::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::HasSubstr;

// --- drift ---

struct Drift {
  const char* object;
  std::function<void(Rig&)> change;
};

const std::vector<Drift>& drifts() {
  static const std::vector<Drift> kDrifts{
      {"route",
       [](Rig& rig) {
         rig.kernel.remove_route({kTableW, cidr("10.2.0.0/24"), base_metric(Family::kIpv4)});
       }},
      {"route",
       [](Rig& rig) {
         rig.kernel.remove_route({kTableW, cidr("10.2.0.0/24"), kGuardMetric});
       }},
      {"route",
       [](Rig& rig) {
         Route throw_away;
         throw_away.key = {kTableW, cidr("10.2.0.0/24"), base_metric(Family::kIpv4)};
         throw_away.type = RouteType::kThrow;
         rig.kernel.put_route(throw_away);
       }},
      {"route",
       [](Rig& rig) {
         Route unwanted;
         unwanted.key = {kTableW, cidr("10.77.0.0/24"), base_metric(Family::kIpv4)};
         unwanted.type = RouteType::kThrow;
         rig.kernel.put_route(unwanted);
       }},
      {"rule", [](Rig& rig) { rig.kernel.remove_rule(rule_of(rig)); }},
      {"address",
       [](Rig& rig) { rig.kernel.remove_address(rig.kernel.device_index(), ip("10.1.0.1")); }},
      {"peer", [](Rig& rig) { rig.kernel.remove_peer(key(2)); }},
      {"peer", [](Rig& rig) { rig.kernel.remove_allowed_ip(cidr("10.2.0.0/24")); }},
      {"nftables", [](Rig& rig) { rig.kernel.flush_ruleset(); }},
      {"nftables", [](Rig& rig) { rig.kernel.spoil_rules(); }},
      {"device",
       [](Rig& rig) {
         rig.kernel.apply(Plan{{"", ConfigureDevice{{false, 4444, std::nullopt}}}});
       }},
      {"device",
       [](Rig& rig) {
         rig.kernel.apply(Plan{{"", ConfigureDevice{{false, std::nullopt, 0x77}}}});
       }},
      {"device", [](Rig& rig) { rig.kernel.delete_device(); }},
  };
  return kDrifts;
}

TEST_F(ReconcilerTest, EveryKindOfDriftIsRepairedAtOnceAndCountedOnce) {
  for (std::size_t i = 0; i < drifts().size(); ++i) {
    const Drift& drift = drifts()[i];
    SCOPED_TRACE(drift.object + std::string(" ") + std::to_string(i));
    Rig rig;
    make_encrypted(rig);
    drift.change(rig);
    rig.run(milliseconds(1500));
    EXPECT_EQ(rig.repairs(drift.object), 1);
    EXPECT_EQ(rig.status->repairs, 1U);
    EXPECT_EQ(rig.left_to_do(), kNothing);
    EXPECT_TRUE(rig.encrypted("b"));
    rig.run(minutes(3));
    EXPECT_EQ(rig.status->repairs, 1U);
  }
}

const NftElement kGuard{NftSet::kTxRequired, {ip("10.2.0.0"), ip("10.2.0.255")}};

// Node b must encrypt, and from here on its guard may not be gone for the time of one operation.
void make_guarded(Rig& rig) {
  rig.kernel.answer(key(2));
  rig.store.put(node("b", 2).mode("require").record());
  rig.start();
  ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
  rig.run(seconds(6));
  rig.kernel.count(kGuard, 100);
  rig.run(seconds(2));
  ASSERT_EQ(rig.peer("b").dropped_bytes, 100U);
  rig.kernel.after_each([&](const Operation& operation) {
    EXPECT_TRUE(rig.kernel.elements().contains(kGuard)) << to_string(operation);
  });
}

TEST_F(ReconcilerTest, OtherRulesComeUnderTheSetsThatStand) {
  Rig rig;
  make_guarded(rig);
  for (const bool covered : {true, false, true}) {
    rig.config.encryption.host_traffic = covered;
    rig.reconciler->reconfigure(rig.config);
    rig.run(seconds(10));
    EXPECT_EQ(rig.kernel.ruleset()->host_traffic, covered);
    EXPECT_EQ(rig.left_to_do(), kNothing);
  }
  EXPECT_EQ(rig.peer("b").dropped_bytes, 100U) << "nothing is lost, and nothing counted twice";
  EXPECT_EQ(rig.status->repairs, 0U);
}

TEST_F(ReconcilerTest, RulesThatSomebodyElseChangedAreReplacedUnderTheSetsThatStand) {
  Rig rig;
  make_guarded(rig);
  rig.kernel.spoil_rules();
  rig.run(seconds(10));
  EXPECT_EQ(rig.kernel.ruleset()->fwmark, rig.config.wireguard.fwmark);
  EXPECT_EQ(rig.repairs("nftables"), 1);
  EXPECT_EQ(rig.peer("b").dropped_bytes, 100U);
}

TEST_F(ReconcilerTest, WhereTheRulesAloneCannotBeReplacedTheTableIsMadeAnewAtOnce) {
  Rig rig;
  make_guarded(rig);
  rig.kernel.after_each({});
  rig.kernel.fail("install-ruleset", 0, 1);
  rig.kernel.spoil_rules();
  rig.run(milliseconds(50));
  EXPECT_EQ(rig.kernel.ruleset()->fwmark, rig.config.wireguard.fwmark);
  EXPECT_TRUE(rig.kernel.elements().contains(kGuard));
  rig.run(seconds(10));
  EXPECT_EQ(rig.left_to_do(), kNothing);
  EXPECT_EQ(rig.peer("b").dropped_bytes, 100U);
}

TEST_F(ReconcilerTest, WhatNftablesLacksIsLeftOutAndSaidAndTheGuardsStand) {
  Rig rig;
  rig.kernel.lack({false, false, false});
  rig.config.encryption.host_traffic = true;
  make_guarded(rig);
  EXPECT_EQ(rig.kernel.ruleset()->kernel_has, (NftExpressions{false, false, false}));
  EXPECT_TRUE(rig.warns("no fib expression"));
  EXPECT_EQ(rig.reconciler->not_ready(), "");
  EXPECT_EQ(rig.left_to_do(), kNothing);
}

TEST_F(ReconcilerTest, ALookReadsTheCountersNow) {
  Rig rig;
  make_guarded(rig);
  const auto before = rig.status->counters_read;
  ASSERT_TRUE(before);
  rig.clock.advance(milliseconds(10));
  rig.kernel.count(kGuard, 10);
  rig.pass();
  EXPECT_EQ(rig.peer("b").dropped_bytes, 100U) << "it was not due";
  rig.reconciler->look();
  rig.pass();
  EXPECT_EQ(rig.peer("b").dropped_bytes, 110U);
  EXPECT_GT(rig.status->counters_read, before);
  const auto last = rig.status->counters_read;
  rig.kernel.fail("read-counters", 0, FakeDataplane::kForEver);
  rig.clock.advance(milliseconds(10));
  rig.reconciler->look();
  rig.pass();
  EXPECT_EQ(rig.status->counters_read, last) << "it says of when the counts are";
}

TEST_F(ReconcilerTest, ADeviceSetDownIsSetUpWithItsRoutes) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.set_device_up(false);
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnreachable);
  rig.run(seconds(1));
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnicast);
  EXPECT_EQ(rig.repairs("link"), 1);
  const auto repairs = rig.status->repairs;
  rig.run(minutes(3));
  EXPECT_EQ(rig.status->repairs, repairs);
  EXPECT_EQ(rig.left_to_do(), kNothing);
}

TEST_F(ReconcilerTest, DriftThatLostEventsHidIsFoundAndCounted) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.remove_route({kTableW, cidr("10.2.0.0/24"), base_metric(Family::kIpv4)});
  rig.kernel.lose_events();
  rig.run(seconds(1));
  EXPECT_EQ(rig.repairs("route"), 1);
  EXPECT_EQ(rig.left_to_do(), kNothing);
}

TEST_F(ReconcilerTest, DriftIsCountedAlsoWhileAnotherPeerKeepsFailing) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.fail("change-peer", 0, FakeDataplane::kForEver);
  rig.add_peer("d", 4);
  rig.run(seconds(5));
  rig.kernel.remove_route({kTableW, cidr("10.2.0.0/24"), base_metric(Family::kIpv4)});
  rig.run(seconds(1));
  EXPECT_EQ(rig.repairs("route"), 1);
  EXPECT_EQ(rig.status->repairs, 1U);
}

TEST_F(ReconcilerTest, WhatIsNobodysDoingIsNoRepair) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.roam(key(2), endpoint("198.51.100.9:4000"));
  rig.kernel.receive(key(2), 1000);
  rig.run(seconds(2));
  rig.kernel.handshake(key(3));
  rig.add_peer("d", 4);
  rig.run(seconds(5));
  rig.store.put(node("b", 2).no_key().record());
  rig.run(minutes(3));
  rig.store.remove("c");
  rig.run(minutes(3));
  EXPECT_EQ(rig.status->repairs, 0U);
  EXPECT_EQ(rig.left_to_do(), kNothing);
}

TEST_F(ReconcilerTest, ARoamedEndpointIsShownAndNotWrittenBack) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.roam(key(2), endpoint("198.51.100.9:4000"));
  rig.run(minutes(5));
  EXPECT_EQ(rig.kernel.peers().at(key(2)).endpoint, endpoint("198.51.100.9:4000"));
  EXPECT_EQ(rig.peer("b").endpoint, endpoint("198.51.100.9:4000"));
}

TEST_F(ReconcilerTest, AnEndpointThatOthersWroteIsPutRight) {
  Rig rig;
  make_encrypted(rig);
  const auto before = rig.kernel.peers().at(key(2)).endpoint;
  rig.kernel.write_endpoint(key(2), endpoint("203.0.113.9:9"));
  rig.run(seconds(5));
  EXPECT_EQ(rig.kernel.peers().at(key(2)).endpoint, before);
  EXPECT_EQ(rig.repairs("peer"), 1);
  // Also where the peer had roamed before: its record is all that is known by then.
  rig.kernel.roam(key(2), endpoint("198.51.100.9:4000"));
  rig.run(seconds(5));
  rig.kernel.write_endpoint(key(2), endpoint("203.0.113.9:9"));
  rig.run(seconds(5));
  EXPECT_EQ(rig.kernel.peers().at(key(2)).endpoint, before);
  EXPECT_EQ(rig.repairs("peer"), 2);
}

TEST_F(ReconcilerTest, WhatAPreviewFindsIsStillARepair) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.remove_allowed_ip(cidr("10.2.0.0/24"));
  EXPECT_THAT(rig.left_to_do(), HasSubstr("10.2.0.0/24"));
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
  rig.run(seconds(1));
  EXPECT_EQ(rig.repairs("peer"), 1);
  EXPECT_EQ(rig.left_to_do(), kNothing);
}

}  // namespace
}  // namespace mesh::test
