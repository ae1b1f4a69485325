// The one pass, from nothing to encrypted and through everything that fails on the way.
#include <gmock/gmock.h>

#include "rig.h"

namespace mesh::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::HasSubstr;

int error_lines(const std::string& log) {
  int lines = 0;
  for (std::size_t at = 0; (at = log.find("injected fault", at)) != std::string::npos; ++at)
    ++lines;
  return lines;
}

constexpr char kNothing[] = "nothing to do: the kernel is as it should be\n";

class ReconcilerTest : public ::testing::Test {
 protected:
  // Node a with the encrypted peers b and c.
  void make_encrypted(Rig& rig) {
    rig.add_peer("b", 2);
    rig.add_peer("c", 3);
    rig.start();
    ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b") && rig.encrypted("c"); }));
    rig.run(seconds(2));
    ASSERT_EQ(rig.left_to_do(), kNothing);
    ASSERT_EQ(rig.status->repairs, 0U);
    rig.kernel.forget();
    rig.dataplane.operations_tried = 0;
  }
};

// --- from nothing to encrypted ---

TEST_F(ReconcilerTest, MakesItsDeviceAndEncryptsItsPeers) {
  Rig rig;
  make_encrypted(rig);
  EXPECT_EQ(rig.kernel.devices_made(), 1);
  EXPECT_EQ(rig.path("b"), Path::kWireguard);
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnicast);
  EXPECT_EQ(rig.published_key(), key(1));
  EXPECT_EQ(rig.reconciler->not_ready(), "");
  EXPECT_TRUE(rig.status->warnings.empty());
}

TEST_F(ReconcilerTest, APeerThatNeverAnswersStaysPendingInPlaintext) {
  Rig rig;
  rig.store.put(node("b", 2).record());
  rig.start();
  rig.run(seconds(30));
  EXPECT_EQ(rig.state("b"), State::kPending);
  EXPECT_EQ(rig.peer("b").reason, Reason::kNoHandshake);
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kThrow);
}

TEST_F(ReconcilerTest, CallsNobodyEncryptedWhileTheRulesThatLeadIntoTheMeshAreMissing) {
  Rig rig;
  rig.kernel.fail("put-rule", 0, FakeDataplane::kForEver);
  rig.add_peer("b", 2);
  rig.start();
  rig.run(seconds(5));
  EXPECT_EQ(rig.state("b"), State::kPlaintext);
  EXPECT_EQ(rig.path("b"), Path::kPlaintext);
  rig.kernel.stop_failing();
  EXPECT_TRUE(rig.run_until([&] { return rig.state("b") == State::kEncrypted; }));
}

TEST_F(ReconcilerTest, PublishesNoKeyBeforeTheDeviceWorks) {
  Rig rig;
  rig.kernel.fail("configure-device", 0, 3);
  rig.start();
  rig.pass();
  EXPECT_EQ(rig.store.record("a"), nullptr) << "the device was not configured";
  ASSERT_TRUE(rig.run_until([&] { return rig.store.record("a") != nullptr; }));
  EXPECT_EQ(rig.published_key(), key(1));
}

TEST_F(ReconcilerTest, ADeviceThatNeverWorksIsPublishedAsNoneWithItsReason) {
  Rig rig;
  rig.kernel.fail("configure-device", 0, FakeDataplane::kForEver);
  rig.add_peer("b", 2);
  rig.start();
  rig.run(seconds(10));
  ASSERT_NE(rig.store.record("a"), nullptr);
  EXPECT_FALSE(rig.published_key());
  EXPECT_THAT(rig.store.record("a")->annotations.at(std::string(kSupportAnnotation)),
              HasSubstr("none: "));
  EXPECT_EQ(rig.peer("b").reason, Reason::kLocalUnsupported);
  EXPECT_THAT(rig.status->error, HasSubstr("injected"));
  rig.kernel.stop_failing();
  EXPECT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
  EXPECT_EQ(rig.published_key(), key(1));
  EXPECT_EQ(rig.status->error, "");
}

TEST_F(ReconcilerTest, WithoutWireGuardEveryPeerIsPlaintextAndTheRecordSaysWhy) {
  Rig rig;
  rig.kernel.set_backend(Backend::kNone, "no kernel module and no wireguard-go");
  rig.add_peer("b", 2);
  rig.start();
  rig.run(seconds(2));
  EXPECT_EQ(rig.peer("b").reason, Reason::kLocalUnsupported);
  EXPECT_FALSE(rig.published_key());
  EXPECT_THAT(rig.store.record("a")->annotations.at(std::string(kSupportAnnotation)),
              HasSubstr("no wireguard-go"));
  // And it keeps looking.
  rig.kernel.set_backend(Backend::kKernel);
  rig.run(seconds(35));
  EXPECT_TRUE(rig.encrypted("b"));
}

TEST_F(ReconcilerTest, ARuleOfSomebodyElseThatLeadsPacketsPastTheMeshIsSaidAndNotTouched) {
  Rig rig;
  make_encrypted(rig);
  Rule harmless{Family::kIpv4, 42, false, 0, 0, cidr("172.16.0.0/12"), 77};
  harmless.protocol = 0;
  rig.kernel.put_rule(harmless);
  rig.run(milliseconds(100));
  EXPECT_TRUE(rig.encrypted("b"));
  Rule rival{Family::kIpv4, 50, false, 0, 0, std::nullopt, kMainTable};
  rival.protocol = 0;
  rig.kernel.put_rule(rival);
  rig.run(milliseconds(100));
  EXPECT_EQ(rig.state("b"), State::kPlaintext);
  EXPECT_EQ(rig.path("b"), Path::kPlaintext);
  EXPECT_TRUE(rig.warns("priority 42, 50"));
  EXPECT_TRUE(rig.kernel.rules().contains(rival));
  rig.kernel.remove_rule(rival);
  rig.run(milliseconds(100));
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_FALSE(rig.warns("priority"));
  EXPECT_EQ(rig.status->repairs, 0U);
}

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

// --- the device ---

TEST_F(ReconcilerTest, ADeletedDeviceIsMadeAgainWithTheSameKeyAndNothingLeaksMeanwhile) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.answer(key(2), false);
  rig.kernel.after_each([&](const Operation& operation) {
    const RouteType way = rig.kernel.way_of(ip("10.2.0.7"));
    EXPECT_TRUE(way == RouteType::kUnreachable || way == RouteType::kUnicast)
        << to_string(operation);
  });
  rig.kernel.delete_device();
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnreachable);
  rig.run(seconds(1));
  EXPECT_EQ(rig.kernel.devices_made(), 2);
  EXPECT_EQ(rig.kernel.read_device()->public_key, key(1));
  EXPECT_EQ(rig.state("b"), State::kDegraded);
  EXPECT_EQ(rig.path("b"), Path::kWireguard);
  EXPECT_TRUE(rig.encrypted("c"));
  rig.kernel.answer(key(2));
  EXPECT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
  EXPECT_EQ(rig.repairs("device"), 1);
  EXPECT_EQ(rig.status->repairs, 1U) << "what was on the device went with it";
  EXPECT_EQ(rig.left_to_do(), kNothing);
}

TEST_F(ReconcilerTest, ADeviceThatCannotBeMadeAgainStaysClosedAndSaysSo) {
  for (const bool error : {false, true}) {
    Rig rig;
    make_encrypted(rig);
    if (error) {
      rig.kernel.fail("ensure-device", 0, FakeDataplane::kForEver);
    } else {
      rig.kernel.set_backend(Backend::kNone, "the module is gone");
    }
    rig.kernel.delete_device();
    rig.run(minutes(5));
    EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnreachable);
    EXPECT_EQ(rig.path("b"), Path::kWireguard);
    EXPECT_EQ(rig.state("b"), State::kDegraded);
    EXPECT_TRUE(rig.warns("cannot be made again"));
    EXPECT_EQ(rig.published_key(), key(1)) << "withdrawing it would turn the others to plaintext";
    rig.kernel.stop_failing();
    rig.kernel.set_backend(Backend::kKernel);
    EXPECT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
    EXPECT_FALSE(rig.warns("cannot be made again"));
  }
}

TEST_F(ReconcilerTest, ADeviceThatGoesAwayAgainAndAgainIsMadeWithBackOff) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.after_each([&](const Operation&) { rig.kernel.delete_device(); });
  rig.kernel.delete_device();
  rig.run(minutes(1));
  EXPECT_LT(rig.kernel.devices_made(), 40);
  EXPECT_GT(rig.kernel.devices_made(), 5);
  rig.kernel.after_each(nullptr);
  EXPECT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
}

TEST_F(ReconcilerTest, ADeviceThatCannotBeConfiguredAgainStaysClosed) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.fail("configure-device", 0, FakeDataplane::kForEver);
  rig.kernel.delete_device();
  rig.run(minutes(2));
  EXPECT_NE(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kThrow);
  EXPECT_EQ(rig.path("b"), Path::kWireguard);
  EXPECT_EQ(rig.published_key(), key(1));
  rig.kernel.stop_failing();
  rig.run(seconds(95));
  EXPECT_TRUE(rig.encrypted("b"));
}

// --- the store ---

TEST_F(ReconcilerTest, AStoreThatIsOutChangesNothing) {
  Rig rig;
  make_encrypted(rig);
  rig.store.go_out("the directory is gone");
  rig.run(minutes(30));
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_FALSE(rig.status->store.in_sync);
  EXPECT_EQ(rig.status->store.error, "the directory is gone");
  rig.store.come_back();
  rig.run(seconds(1));
  EXPECT_TRUE(rig.status->store.in_sync);
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
}

TEST_F(ReconcilerTest, AnOverwrittenKeyIsPutBackWithinTwoSeconds) {
  Rig rig;
  make_encrypted(rig);
  NodeRecord forged = *rig.store.record("a");
  forged.annotations[std::string(kPublicKeyAnnotation)] = key(66).to_base64();
  rig.store.put(forged);
  EXPECT_EQ(rig.published_key(), key(66));
  rig.run(seconds(2));
  // The store of the test writes what is published anew only.
  EXPECT_GT(rig.published, 1);
}

TEST_F(ReconcilerTest, AnOverwrittenKeyIsPutBackAlsoWhileTheDeviceIsAway) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.set_backend(Backend::kNone, "the module is gone");
  rig.kernel.delete_device();
  rig.run(seconds(5));
  const int before = rig.published;
  NodeRecord forged = *rig.store.record("a");
  forged.annotations.clear();
  rig.store.put(forged);
  rig.run(seconds(2));
  EXPECT_GT(rig.published, before);
}

// --- drift ---

struct Drift {
  const char* object;
  std::function<void(Rig&)> change;
};

Rule rule_of(const Rig& rig) { return *rig.kernel.rules().begin(); }

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

// --- failures ---

class FailingOperation : public ReconcilerTest,
                         public ::testing::WithParamInterface<std::tuple<const char*, int>> {};

TEST_P(FailingOperation, DoesNotStopTheRestAndConverges) {
  const auto [kind, times] = GetParam();
  Rig rig;
  rig.kernel.fail(kind, 0, times);
  rig.add_peer("b", 2);
  rig.add_peer("c", 3);
  rig.start();
  EXPECT_TRUE(rig.run_until([&] { return rig.encrypted("b") && rig.encrypted("c"); })) << kind;
  // And now everything is done anew: the peers change, move and go.
  rig.kernel.fail(kind, 0, times);
  rig.store.put(node("b", 22).record());
  rig.kernel.answer(key(22));
  rig.store.remove("c");
  rig.run(minutes(4));
  EXPECT_EQ(rig.left_to_do(), kNothing) << kind;
  EXPECT_TRUE(rig.encrypted("b")) << kind;
  EXPECT_EQ(rig.kernel.way_of(ip("10.22.0.7")), RouteType::kUnicast) << kind;
  EXPECT_EQ(rig.kernel.way_of(ip("10.3.0.7")), RouteType::kOther) << kind;
  EXPECT_TRUE(rig.status->warnings.empty()) << rig.status->warnings.front();
  EXPECT_EQ(rig.reconciler->not_ready(), "");
}

std::string name_of_failure(const ::testing::TestParamInfo<std::tuple<const char*, int>>& info) {
  std::string name =
      std::get<0>(info.param) + std::string("_") + std::to_string(std::get<1>(info.param));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(
    Everything, FailingOperation,
    ::testing::Combine(::testing::Values("configure-device", "configure-link", "add-address",
                                         "remove-address", "set-rp-filter", "put-rule",
                                         "remove-rule", "install-ruleset", "change-peer",
                                         "put-route", "remove-route", "put-element",
                                         "remove-element", "ensure-device", "read-device",
                                         "read-links", "read-addresses", "read-routes",
                                         "read-rules", "read-elements", "read-counters"),
                       ::testing::Values(1, 2, 4)),
    name_of_failure);

TEST_F(ReconcilerTest, AnOperationThatFailsForEverIsTriedWithBackOffAndSaidOnce) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.fail("change-peer", 0, FakeDataplane::kForEver);
  rig.add_peer("d", 4);
  ::testing::internal::CaptureStderr();
  rig.run(minutes(30));
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_LT(rig.errors("change-peer"), 100);
  EXPECT_GT(rig.errors("change-peer"), 30);
  EXPECT_EQ(error_lines(log), 1) << log;
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_TRUE(rig.encrypted("c"));
  EXPECT_EQ(rig.kernel.way_of(ip("10.4.0.7")), RouteType::kThrow);
  EXPECT_THAT(rig.reconciler->not_ready(), HasSubstr("injected"));
  rig.kernel.stop_failing();
  rig.run(seconds(60));
  EXPECT_TRUE(rig.encrypted("d"));
  EXPECT_TRUE(rig.status->warnings.empty());
}

TEST_F(ReconcilerTest, AProblemEndsWhenItsCauseIsNotWantedAnyMore) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.fail("change-peer", 0, FakeDataplane::kForEver);
  rig.add_peer("d", 4);
  rig.run(seconds(10));
  EXPECT_TRUE(rig.warns("injected"));
  rig.store.remove("d");
  rig.run(seconds(40));
  EXPECT_FALSE(rig.warns("injected"));
  EXPECT_EQ(rig.reconciler->not_ready(), "");
}

TEST_F(ReconcilerTest, AKernelWithoutNftablesStillEncrypts) {
  Rig rig;
  rig.kernel.fail("install-ruleset", 0, FakeDataplane::kForEver, ErrorCode::kUnsupported);
  rig.kernel.fail("read-elements", 0, FakeDataplane::kForEver, ErrorCode::kUnsupported);
  ::testing::internal::CaptureStderr();
  rig.add_peer("b", 2);
  rig.start();
  EXPECT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
  rig.run(minutes(10));
  rig.kernel.remove_rule(rule_of(rig));
  rig.add_peer("c", 3);
  rig.run(minutes(20));
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_TRUE(rig.encrypted("c"));
  EXPECT_EQ(error_lines(log), 1) << log;
  EXPECT_TRUE(rig.warns("injected"));
  EXPECT_EQ(rig.repairs("rule"), 1);
  EXPECT_EQ(rig.status->repairs, 1U) << "what never was there was not taken by anybody";
  EXPECT_EQ(rig.reconciler->not_ready(), "");
  EXPECT_LT(rig.errors("install-ruleset"), 60);
}

TEST_F(ReconcilerTest, AFailedDumpOfTheTableDoesNotMakeItAnew) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.fail("read-elements", 0, FakeDataplane::kForEver, ErrorCode::kInterrupted);
  rig.run(minutes(5));
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
}

TEST_F(ReconcilerTest, ADeviceThatCannotBeReadDegradesNobody) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.fail("read-device", 0, FakeDataplane::kForEver);
  for (int i = 0; i < 120; ++i) {
    rig.kernel.count({NftSet::kTxWireguard, {ip("10.2.0.0"), ip("10.2.0.255")}}, 1000);
    rig.kernel.receive(key(2), 1000);
    rig.run(seconds(1));
  }
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_TRUE(rig.warns("injected"));
  rig.kernel.stop_failing();
  rig.run(seconds(31));
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_FALSE(rig.warns("injected"));
}

TEST_F(ReconcilerTest, UnansweredDataDegradesAPeerAndNeverTurnsItToPlaintext) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.answer(key(2), false);
  for (int i = 0; i < 60; ++i) {
    rig.kernel.count({NftSet::kTxWireguard, {ip("10.2.0.0"), ip("10.2.0.255")}}, 1000);
    rig.run(seconds(1));
  }
  EXPECT_EQ(rig.state("b"), State::kDegraded);
  EXPECT_EQ(rig.path("b"), Path::kWireguard);
  rig.kernel.handshake(key(2));
  rig.kernel.receive(key(2), 100);
  rig.run(seconds(2));
  EXPECT_TRUE(rig.encrypted("b"));
}

// --- cost ---

TEST_F(ReconcilerTest, AnIdleHourCostsFewPassesAndWritesNothing) {
  Rig rig;
  make_encrypted(rig);
  rig.passes = 0;
  rig.dataplane.calls.clear();
  rig.run(std::chrono::hours(1));
  EXPECT_EQ(rig.dataplane.calls["apply"], 0);
  EXPECT_LE(rig.passes, 3700U);
  EXPECT_GE(rig.dataplane.calls["read-device"], 3500) << "status is seconds old";
  EXPECT_LE(rig.dataplane.calls["read-device"], 4330);
  EXPECT_LE(rig.dataplane.calls["read-links"], 722) << "compared every five seconds";
  EXPECT_EQ(rig.dataplane.calls["ensure-device"], 0);
}

TEST_F(ReconcilerTest, AnIdleHourWithoutWireGuardCostsNoMore) {
  Rig rig;
  rig.config.node.addresses.clear();
  rig.kernel.set_backend(Backend::kNone, "nothing there");
  rig.add_peer("b", 2);
  rig.start();
  rig.run(seconds(10));
  rig.passes = 0;
  rig.dataplane.calls.clear();
  rig.run(std::chrono::hours(1));
  EXPECT_EQ(rig.dataplane.calls["apply"], 0);
  EXPECT_LE(rig.passes, 3900U);
  EXPECT_LE(rig.dataplane.calls["ensure-device"], 121);
  EXPECT_LE(rig.dataplane.calls["read-main-routes"], 365);
}

TEST_F(ReconcilerTest, APeerThatNeverAnswersCostsFewHandshakesAnHour) {
  Rig rig;
  rig.store.put(node("b", 2).record());
  rig.start();
  rig.run(minutes(5));
  rig.dataplane.operations_tried = 0;
  rig.passes = 0;
  rig.run(std::chrono::hours(1));
  EXPECT_LE(rig.passes, 4200U);
  EXPECT_LE(rig.dataplane.operations_tried, 61U);
  EXPECT_GE(rig.dataplane.operations_tried, 55U) << "it keeps trying";
}

TEST_F(ReconcilerTest, OneRecordsChangeCostsTheSameWhateverTheNumberOfPeers) {
  std::vector<std::size_t> costs;
  for (const int peers : {2, 500}) {
    Rig rig;
    for (int n = 2; n < peers + 2; ++n) {
      RecordOf record = node("n" + std::to_string(n), 2);
      record.key(n);
      record.addresses = {ip(fmt::format("198.18.{}.{}", n / 250, n % 250 + 1))};
      record.cidrs = {cidr(fmt::format("10.{}.{}.0/24", 100 + n / 250, n % 250))};
      rig.kernel.answer(key(n));
      rig.store.put(record.record());
    }
    rig.start();
    rig.run(seconds(3));
    ASSERT_TRUE(rig.encrypted("n2"));
    ASSERT_TRUE(rig.encrypted("n3"));
    rig.dataplane.operations_tried = 0;
    RecordOf moved = node("n2", 2);
    moved.addresses = {ip("198.18.0.3")};
    moved.cidrs = {cidr("10.99.0.0/24")};
    rig.store.put(moved.record());
    rig.run(seconds(2));
    EXPECT_TRUE(rig.encrypted("n2"));
    EXPECT_EQ(rig.kernel.way_of(ip("10.99.0.1")), RouteType::kUnicast);
    costs.push_back(rig.dataplane.operations_tried);
  }
  EXPECT_EQ(costs[0], costs[1]);
  EXPECT_LT(costs[1], 40U);
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

// --- the report ---

TEST_F(ReconcilerTest, AChangeIsInTheStatusWithinASecond) {
  Rig rig;
  make_encrypted(rig);
  rig.store.put(node("b", 2).no_key().record());
  rig.run(milliseconds(10));
  EXPECT_EQ(rig.state("b"), State::kPlaintext);
  rig.kernel.receive(key(3), 4711);
  const std::uint64_t before = rig.peer("c").rx_bytes;
  rig.run(seconds(1));
  EXPECT_EQ(rig.peer("c").rx_bytes, before + 4711);
}

TEST_F(ReconcilerTest, AStoreThatRefusesTheOwnRecordIsReportedAndNoConflict) {
  Rig rig;
  make_encrypted(rig);
  StoreUpdate refused{true, "a.yaml cannot be written: read-only file system", false, {}};
  rig.reconciler->on_store_update(refused);
  rig.run(minutes(5));
  EXPECT_TRUE(rig.warns("read-only file system"));
  EXPECT_FALSE(rig.warns("somebody else"));
  rig.reconciler->on_store_update({true, "", false, {}});
  rig.run(seconds(1));
  EXPECT_FALSE(rig.warns("read-only file system"));
}

}  // namespace
}  // namespace mesh::test
