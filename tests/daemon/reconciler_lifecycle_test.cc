// Leaving and coming back, a reload, a restart, and what only looks: dry run and preview.
#include <gmock/gmock.h>

#include "reconciler_fixture.h"

namespace mesh::test {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::HasSubstr;

// --- leaving on purpose, and coming back ---

TEST_F(ReconcilerTest, ADrainedNodeTakesItsDeviceDownWhenNobodySendsToItAnyMore) {
  Rig rig;
  make_encrypted(rig);
  ASSERT_TRUE(rig.reconciler->drain().has_value());
  rig.run(seconds(1));
  EXPECT_FALSE(rig.published_key());
  EXPECT_EQ(rig.peer("b").state, State::kPlaintext);
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.9")), RouteType::kThrow);
  for (int i = 0; i < 4; ++i) {
    rig.kernel.receive(key(2), 100);
    rig.run(seconds(5));
    EXPECT_TRUE(rig.kernel.has_device()) << "b still sends through the tunnel";
    EXPECT_EQ(rig.status->drain.phase, DrainPhase::kLeaving);
    EXPECT_THAT(rig.status->drain.waits_for, HasSubstr("b"));
  }
  rig.run(seconds(12));
  EXPECT_FALSE(rig.kernel.has_device());
  EXPECT_EQ(rig.status->drain.phase, DrainPhase::kLeft);
  EXPECT_EQ(rig.status->repairs, 0U);
  rig.run(minutes(5));
  EXPECT_FALSE(rig.kernel.has_device()) << "nobody brings it back but resume";
}

TEST_F(ReconcilerTest, ANodeWhoseWithdrawalTheStoreDoesNotTakeGoesOnReceiving) {
  Rig rig;
  make_encrypted(rig);
  rig.store.go_out("unreachable");
  ASSERT_TRUE(rig.reconciler->drain().has_value());
  rig.run(minutes(5));
  EXPECT_TRUE(rig.kernel.has_device());
  EXPECT_THAT(rig.status->drain.waits_for, HasSubstr("store"));
}

TEST_F(ReconcilerTest, AResumedNodeIsBackInTheMesh) {
  Rig rig;
  make_encrypted(rig);
  ASSERT_TRUE(rig.reconciler->drain().has_value());
  rig.run(seconds(15));
  ASSERT_FALSE(rig.kernel.has_device()) << rig.status->drain.waits_for;
  ASSERT_TRUE(rig.reconciler->resume().has_value());
  EXPECT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
  EXPECT_TRUE(rig.published_key());
  EXPECT_EQ(rig.status->drain.phase, DrainPhase::kNo);
}

// --- reload ---

TEST_F(ReconcilerTest, AMovedListenPortIsRedirectedBeforeTheDeviceMoves) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.forget();
  Config config = config_of_a();
  config.wireguard.listen_port = 51999;
  rig.reconciler->reconfigure(config);
  rig.run(seconds(1));
  ASSERT_TRUE(rig.kernel.ruleset().has_value());
  EXPECT_EQ(rig.kernel.ruleset()->listen_port, 51999);
  EXPECT_EQ(rig.kernel.ruleset()->former_ports, std::vector<std::uint16_t>{51820});
  std::vector<std::string> order;
  bool told = false;
  for (const Operation& operation : rig.kernel.executed()) {
    const std::string name(name_of(operation.act));
    if (name == "install-ruleset" || name == "configure-device") order.push_back(name);
    if (const auto* peer = std::get_if<ChangePeer>(&operation.act)) told |= peer->change.kick;
  }
  EXPECT_EQ(order, (std::vector<std::string>{"install-ruleset", "configure-device"}));
  EXPECT_TRUE(told) << "the peer learns the port from what it hears";
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_EQ(rig.status->repairs, 0U);
  rig.run(minutes(11));
  EXPECT_EQ(rig.kernel.ruleset()->former_ports, std::vector<std::uint16_t>{});
}

TEST_F(ReconcilerTest, OtherTablesMarkAndPriorityTakeOverBeforeTheOldOnesGo) {
  Rig rig;
  make_encrypted(rig);
  Config config = config_of_a();
  config.wireguard.routing_table = 6000;
  config.wireguard.fwmark = 0x4000;
  config.wireguard.rule_priority = 200;
  int lookups = 0;
  rig.kernel.after_each([&](const Operation&) {
    // Some rule leads to a table that sends 10.2.0.0/24 into the device, at every step.
    ++lookups;
    const bool sent =
        std::any_of(rig.kernel.rules().begin(), rig.kernel.rules().end(), [&](const Rule& rule) {
          const auto route = rig.kernel.routes().find(
              {rule.table, cidr("10.2.0.0/24"), base_metric(Family::kIpv4)});
          return rule.invert && rule.family == Family::kIpv4 &&
                 route != rig.kernel.routes().end() && route->second.type == RouteType::kUnicast;
        });
    EXPECT_TRUE(sent);
  });
  rig.reconciler->reconfigure(config);
  rig.run(seconds(2));
  EXPECT_GT(lookups, 5);
  for (const auto& [key, route] : rig.kernel.routes())
    EXPECT_TRUE(key.table == 6000 || key.table == 6001 || route.protocol != kProtocol)
        << "left in table " << key.table;
  for (const Rule& rule : rig.kernel.rules())
    EXPECT_TRUE(rule.priority == 200 || rule.priority == 202 || rule.protocol != kProtocol);
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_EQ(rig.status->repairs, 0U);
}

TEST_F(ReconcilerTest, ARestartWithOtherTablesEmptiesTheOldOnes) {
  Rig rig;
  make_encrypted(rig);
  rig.config.wireguard.routing_table = 6000;
  rig.start();
  rig.run(seconds(3));
  EXPECT_TRUE(rig.encrypted("b"));
  for (const auto& [key, route] : rig.kernel.routes())
    EXPECT_TRUE(key.table == 6000 || key.table == 6001 || route.protocol != kProtocol);
}

// --- restart ---

TEST_F(ReconcilerTest, ARestartWritesNothing) {
  Rig rig;
  make_encrypted(rig);
  const int published = rig.store.publications();
  rig.start();
  rig.run(minutes(3));
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
  EXPECT_EQ(rig.store.publications(), published);
  EXPECT_EQ(rig.status->repairs, 0U);
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_EQ(rig.status->peers.size(), 2U) << "the own record is nobody else's";
}

TEST_F(ReconcilerTest, ARestartWithTheStoreOutRemovesNothing) {
  Rig rig;
  make_encrypted(rig);
  rig.store.go_out("no such directory");
  rig.start();
  rig.run(minutes(10));
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
  EXPECT_THAT(rig.reconciler->not_ready(), HasSubstr("store"));
  rig.store.come_back();
  rig.run(seconds(2));
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_EQ(rig.reconciler->not_ready(), "");
}

TEST_F(ReconcilerTest, ARestartWithoutADeviceLeaksNothingEvenIfNoneCanBeMade) {
  for (const bool error : {false, true}) {
    Rig rig;
    make_encrypted(rig);
    rig.kernel.delete_device();
    if (error) {
      rig.kernel.fail("ensure-device", 0, FakeDataplane::kForEver);
    } else {
      rig.kernel.set_backend(Backend::kNone, "wireguard-go is not installed");
    }
    const NodeRecord record = *rig.store.record("a");
    rig.start();
    rig.kernel.after_each([&](const Operation& operation) {
      EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnreachable) << to_string(operation);
    });
    rig.run(minutes(2));
    EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnreachable);
    EXPECT_EQ(rig.kernel.way_of(ip("fd00:3::7")), RouteType::kUnreachable);
    EXPECT_EQ(rig.state("b"), State::kDegraded);
    EXPECT_EQ(rig.path("b"), Path::kWireguard);
    EXPECT_TRUE(rig.warns("cannot be made again"));
    EXPECT_EQ(*rig.store.record("a"), record);
    EXPECT_THAT(rig.reconciler->not_ready(), HasSubstr("cannot be made again"));
    rig.kernel.after_each(nullptr);
    rig.kernel.stop_failing();
    rig.kernel.set_backend(Backend::kKernel);
    EXPECT_TRUE(rig.run_until([&] { return rig.encrypted("b") && rig.encrypted("c"); }));
    EXPECT_EQ(rig.reconciler->not_ready(), "");
  }
}

TEST_F(ReconcilerTest, ARestartOverAKernelThatCannotBeReadChangesNothingUntilItCan) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.fail("read-routes", 0, FakeDataplane::kForEver);
  rig.start();
  rig.run(minutes(1));
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
  EXPECT_THAT(rig.reconciler->not_ready(), HasSubstr("injected"));
  rig.kernel.stop_failing();
  rig.run(seconds(31));
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
  EXPECT_TRUE(rig.encrypted("b"));
}

// --- reload, dry run, preview ---

TEST_F(ReconcilerTest, AReloadAppliesPrefixesLabelsModeAndKeepalive) {
  Rig rig;
  make_encrypted(rig);
  Config changed = rig.config;
  changed.node.cidrs = {cidr("10.11.0.0/24")};
  changed.node.labels = {{"role", "db"}};
  changed.encryption.mode = Mode::kRequire;
  changed.wireguard.persistent_keepalive = seconds(17);
  rig.reconciler->reconfigure(changed);
  rig.pass();
  rig.run(seconds(1));
  EXPECT_EQ(rig.store.record("a")->cidrs, changed.node.cidrs);
  EXPECT_EQ(rig.store.record("a")->labels, changed.node.labels);
  EXPECT_EQ(rig.store.record("a")->annotations.at(std::string(kModeAnnotation)), "require");
  EXPECT_EQ(rig.kernel.peers().at(key(2)).keepalive, 17);
  EXPECT_TRUE(
      rig.kernel.elements().contains({NftSet::kTxRequired, {ip("10.2.0.0"), ip("10.2.0.255")}}));
  EXPECT_EQ(rig.status->cidrs, changed.node.cidrs);
  EXPECT_EQ(rig.status->repairs, 0U);
  EXPECT_EQ(rig.left_to_do(), kNothing);
}

TEST_F(ReconcilerTest, ModeOffWithdrawsTheKey) {
  Rig rig;
  make_encrypted(rig);
  Config changed = rig.config;
  changed.encryption.mode = Mode::kOff;
  rig.reconciler->reconfigure(changed);
  rig.pass();
  rig.run(seconds(1));
  EXPECT_FALSE(rig.published_key());
  EXPECT_EQ(rig.peer("b").reason, Reason::kPolicy);
}

TEST_F(ReconcilerTest, ADryRunChangesNothing) {
  Rig rig;
  rig.add_peer("b", 2);
  rig.start(true);
  rig.pass();
  const std::string plan = rig.reconciler->dry_run();
  EXPECT_THAT(plan, HasSubstr("10.2.0.0/24"));
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
  EXPECT_EQ(rig.dataplane.calls["ensure-device"], 0);
  EXPECT_FALSE(rig.kernel.has_device());
}

TEST_F(ReconcilerTest, ADryRunOverARunningMeshFindsNothingToDo) {
  Rig rig;
  make_encrypted(rig);
  rig.start(true);
  rig.pass();
  EXPECT_THAT(rig.reconciler->dry_run(), HasSubstr("nothing to do"));
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
}

TEST_F(ReconcilerTest, APreviewBeforeTheStoreAnswersPlansNothing) {
  Rig rig;
  make_encrypted(rig);
  rig.store.go_out("gone");
  rig.start();
  rig.run(seconds(3));
  EXPECT_THAT(rig.left_to_do(), HasSubstr("the store has not answered"));
}

int times_made_anew(const Rig& rig) {
  return static_cast<int>(std::count_if(rig.kernel.executed().begin(), rig.kernel.executed().end(),
                                        [](const Operation& operation) {
                                          const auto* act = std::get_if<ChangePeer>(&operation.act);
                                          return act != nullptr && act->change.anew;
                                        }));
}

// The last look before the first retry was long before.
TEST_F(ReconcilerTest, AHandshakeThatEndedBetweenTwoLooksIsNotThrownAway) {
  for (const int answered : {100, 400, 700, 950}) {
    Rig rig;
    make_encrypted(rig);
    rig.kernel.answer(key(2), false);
    rig.kernel.forget();
    rig.kernel.delete_device();
    rig.run(std::chrono::milliseconds(answered));
    rig.kernel.handshake(key(2));
    rig.run(seconds(10));
    EXPECT_TRUE(rig.encrypted("b"));
    EXPECT_EQ(times_made_anew(rig), 0) << answered;
  }
}

TEST_F(ReconcilerTest, AFreshDevicesLostInitiationIsRepeatedEarlyAndNotForEver) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.answer(key(2), false);
  rig.kernel.forget();
  rig.kernel.delete_device();
  rig.run(seconds(6));
  EXPECT_EQ(times_made_anew(rig), 2);
  rig.run(minutes(2));
  EXPECT_EQ(times_made_anew(rig), 2);
  EXPECT_LE(rig.dataplane.calls["read-device"], 400);
}

}  // namespace
}  // namespace mesh::test
