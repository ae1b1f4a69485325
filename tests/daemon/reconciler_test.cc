// The one pass: from nothing to encrypted, and what the device, the store and the peers do
// meanwhile.
#include <gmock/gmock.h>

#include "reconciler_fixture.h"

namespace mesh::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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
  // Of the same priority whichever was put first counts.
  rival.priority = static_cast<std::uint32_t>(rig.config.wireguard.rule_priority);
  rig.kernel.put_rule(rival);
  rig.run(milliseconds(100));
  EXPECT_TRUE(rig.encrypted("b")) << "it stands behind ours, and the kernel was asked";
  rig.kernel.remove_rule(rival);
  rig.run(milliseconds(100));
  EXPECT_EQ(rig.status->repairs, 0U);
}

TEST_F(ReconcilerTest, WhatLeavesUnencryptedForAnEncryptedPeerIsSaidWhateverLeadsItThere) {
  Rig rig;
  make_encrypted(rig);
  const NftElement plaintext{NftSet::kTxPlaintext, {ip("10.2.0.0"), ip("10.2.0.255")}};
  rig.run(seconds(10));
  const auto warned = [&] {
    const auto& warnings = rig.peer("b").warnings;
    return std::any_of(warnings.begin(), warnings.end(), [](const std::string& warning) {
      return warning.find("left unencrypted") != std::string::npos;
    });
  };
  EXPECT_FALSE(warned());
  rig.kernel.count(plaintext, 1500);
  rig.run(seconds(2));
  EXPECT_TRUE(warned());
  EXPECT_TRUE(rig.encrypted("b")) << "some packets are not all";
  rig.run(seconds(10));
  EXPECT_FALSE(warned()) << "it is over";
  // Bytes that were on their way when the path changed are none.
  rig.add_peer("d", 4);
  ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("d"); }));
  rig.kernel.count({NftSet::kTxPlaintext, {ip("10.4.0.0"), ip("10.4.0.255")}}, 1500);
  rig.run(seconds(3));
  EXPECT_THAT(rig.peer("d").warnings, IsEmpty());
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

// --- health ---

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
