// A start while the store is away, from the records of an earlier run; and when those are written.
#include <gmock/gmock.h>

#include "rig.h"

namespace mesh::test {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr char kNothing[] = "nothing to do: the kernel is as it should be\n";

class SnapshotBoot : public ::testing::Test {
 protected:
  // Node a with the encrypted peers b and c and the plaintext peer d, written down, and stopped.
  void SetUp() override {
    rig.keeps_snapshots = true;
    rig.add_peer("b", 2);
    rig.add_peer("c", 3);
    rig.store.put(node("d", 4).no_key().record());
    rig.start();
    ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b") && rig.encrypted("c"); }));
    rig.run(seconds(10));
    ASSERT_TRUE(rig.snapshot);
    published = rig.published;
    record = *rig.store.record("a");
  }

  void boot_without_the_store() {
    rig.reboot();
    rig.store.go_out("no such directory");
    rig.start();
    rig.store.go_out("no such directory");
  }

  Rig rig;
  int published = 0;
  NodeRecord record;
};

// --- who was encrypted ---

TEST_F(SnapshotBoot, ARebootSendsNobodyInPlaintextWhoWasEncryptedWhetherOrNotTheStoreAnswers) {
  rig.kernel.answer(key(2), false);
  rig.reboot();
  rig.start();
  rig.run(seconds(5));
  EXPECT_EQ(rig.state("b"), State::kDegraded);
  EXPECT_EQ(rig.path("b"), Path::kWireguard);
  EXPECT_EQ(rig.path("d"), Path::kPlaintext) << "it never was";
  EXPECT_TRUE(rig.encrypted("c")) << "it answered";
  // Another key is another node's until it is proven.
  rig.reboot();
  rig.store.put(node("b", 2).key(22).record());
  rig.start();
  rig.run(seconds(5));
  EXPECT_EQ(rig.path("b"), Path::kPlaintext);
}

TEST_F(SnapshotBoot, APeerThatWithdrewIsToldAcrossRestartsWithTheTimeOfTheChange) {
  rig.store.put(node("b", 2).no_key().record());
  rig.run(seconds(10));
  ASSERT_EQ(rig.state("b"), State::kPlaintext);
  ASSERT_TRUE(rig.peer("b").downgrade);
  const Downgrade told = *rig.peer("b").downgrade;
  EXPECT_EQ(told.cause, Reason::kNoPublicKey);
  EXPECT_THAT(rig.metrics.render(), HasSubstr("meshd_peer_downgraded{node=\"b\"} 1"));
  EXPECT_THAT(rig.metrics.render(),
              HasSubstr("meshd_peer_downgrades_total{cause=\"no-public-key\"} 1"));
  rig.start();
  rig.run(hours(1));
  ASSERT_TRUE(rig.peer("b").downgrade);
  EXPECT_EQ(format_time(rig.peer("b").downgrade->since), format_time(told.since));
  rig.store.put(node("b", 2).record());
  ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
  EXPECT_FALSE(rig.peer("b").downgrade);
}

TEST_F(SnapshotBoot, WhereItMayNotWithdrawNeitherARestartNorARebootOpensIt) {
  rig.config.encryption.allow_withdrawal = false;
  rig.start();
  rig.run(seconds(10));
  rig.store.put(node("b", 2).no_key().record());
  rig.run(seconds(10));
  ASSERT_EQ(rig.state("b"), State::kBlocked);
  EXPECT_THAT(rig.peer("b").detail, HasSubstr("meshctl allow-plaintext"));
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnreachable);
  rig.start();
  rig.run(seconds(10));
  EXPECT_EQ(rig.state("b"), State::kBlocked);
  rig.reboot();
  rig.start();
  rig.run(seconds(10));
  EXPECT_EQ(rig.state("b"), State::kBlocked);
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnreachable);
  boot_without_the_store();
  rig.run(seconds(10));
  EXPECT_EQ(rig.state("b"), State::kBlocked) << "nor the store's absence";
  rig.store.come_back();
  rig.run(seconds(1));
  ASSERT_TRUE(rig.reconciler->allow_downgrade("b"));
  rig.run(seconds(10));
  EXPECT_EQ(rig.state("b"), State::kPlaintext);
  rig.start();
  rig.run(seconds(10));
  EXPECT_EQ(rig.state("b"), State::kPlaintext) << "until it is encrypted again";
  EXPECT_TRUE(rig.peer("b").downgrade->allowed);
}

TEST_F(SnapshotBoot, ARecordDeletedWhileMeshdWasStoppedStaysBlockedWhereItMayNotWithdraw) {
  rig.config.encryption.allow_withdrawal = false;
  rig.start();
  rig.run(seconds(10));
  rig.reboot();
  rig.store.remove("b");
  rig.start();
  rig.run(seconds(10));
  ASSERT_EQ(rig.state("b"), State::kBlocked);
  EXPECT_EQ(rig.peer("b").reason, Reason::kNoRecord);
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnreachable);
  ASSERT_TRUE(rig.reconciler->allow_downgrade("b"));
  rig.run(seconds(10));
  EXPECT_EQ(find_peer(*rig.status, "b"), nullptr);
}

// --- away at the start ---

TEST_F(SnapshotBoot, ANodeThatBootsWhileTheStoreIsAwayHasItsEncryptedPeersAtOnce) {
  boot_without_the_store();
  rig.run(seconds(2));
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_TRUE(rig.encrypted("c"));
  EXPECT_EQ(rig.state("d"), State::kPlaintext);
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnicast);
  EXPECT_EQ(rig.kernel.way_of(ip("10.4.0.7")), RouteType::kThrow);
  EXPECT_EQ(rig.kernel.allowed_to(cidr("10.2.0.0/24")), key(2));
}

TEST_F(SnapshotBoot, ItSaysWhoseRecordsTheseAreAndThatTheStoreIsOut) {
  const WallTime written = rig.snapshot->written;
  boot_without_the_store();
  rig.run(hours(3));
  EXPECT_FALSE(rig.status->store.in_sync);
  EXPECT_EQ(rig.status->store.snapshot, written);
  EXPECT_TRUE(rig.warns("the records are those of the snapshot written at"));
  EXPECT_TRUE(rig.warns("3h0m ago"));
  EXPECT_THAT(rig.reconciler->not_ready(), HasSubstr("store"));
  rig.store.come_back();
  rig.run(seconds(1));
  EXPECT_TRUE(rig.status->store.in_sync);
  EXPECT_FALSE(rig.status->store.snapshot);
  EXPECT_FALSE(rig.warns("snapshot"));
  EXPECT_EQ(rig.reconciler->not_ready(), "");
}

TEST_F(SnapshotBoot, WhileTheStoreIsAwayNothingIsPublishedRemovedOrWrittenDown) {
  const int saves = rig.saves;
  boot_without_the_store();
  rig.run(seconds(10));
  rig.kernel.forget();
  rig.dataplane.operations_tried = 0;
  rig.run(hours(6));
  EXPECT_EQ(rig.published, published);
  EXPECT_EQ(rig.saves, saves);
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
  EXPECT_TRUE(rig.encrypted("b"));
}

TEST_F(SnapshotBoot, WhatWasEncryptedIsNotSentInPlaintextForAMoment) {
  rig.kernel.answer(key(2), false);
  rig.reboot();
  bool decided = false;
  rig.kernel.after_each([&](const Operation& operation) {
    const RouteType way = rig.kernel.way_of(ip("10.2.0.7"));
    EXPECT_NE(way, RouteType::kThrow) << to_string(operation);
    decided = decided || way == RouteType::kUnicast;
  });
  rig.store.go_out("no such directory");
  rig.start();
  rig.store.go_out("no such directory");
  rig.run(minutes(1));
  EXPECT_TRUE(decided);
  EXPECT_EQ(rig.state("b"), State::kDegraded);
  EXPECT_EQ(rig.path("b"), Path::kWireguard);
  rig.kernel.answer(key(2));
  EXPECT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
}

TEST_F(SnapshotBoot, APeerThatHadNotProvenItselfIsProvenFirst) {
  rig.store.put(node("e", 5).record());
  rig.run(seconds(20));
  ASSERT_EQ(rig.state("e"), State::kPending);
  boot_without_the_store();
  rig.run(seconds(5));
  EXPECT_EQ(rig.state("e"), State::kPending);
  EXPECT_EQ(rig.kernel.way_of(ip("10.5.0.7")), RouteType::kThrow);
}

TEST_F(SnapshotBoot, AStoreThatNeverSaysAnythingIsAwayAfterAMoment) {
  rig.reboot();
  rig.store.go_out("hangs");
  rig.start();
  rig.run(SnapshotKeeper::kPatience - milliseconds(100));
  EXPECT_TRUE(rig.status->peers.empty());
  EXPECT_TRUE(rig.run_until([&] { return !rig.status->peers.empty() && rig.encrypted("b"); }));
}

TEST_F(SnapshotBoot, ARunningDataPathSeesNoWrite) {
  rig.store.go_out("no such directory");
  rig.dataplane.operations_tried = 0;
  rig.start();
  rig.store.go_out("no such directory");
  rig.run(minutes(10));
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
  EXPECT_TRUE(rig.encrypted("b"));
  rig.store.come_back();
  rig.run(minutes(2));
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
  EXPECT_EQ(rig.status->repairs, 0U);
}

// What was decided since the snapshot was written is in the kernel, and newer.
TEST_F(SnapshotBoot, ARunningDataPathIsBelievedBeforeTheSnapshot) {
  for (SnapshotNode& known : rig.snapshot->nodes) known.proven = key(4);
  rig.store.go_out("no such directory");
  rig.start();
  rig.store.go_out("no such directory");
  rig.run(seconds(10));
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_EQ(rig.state("d"), State::kPlaintext);
}

TEST_F(SnapshotBoot, WhoWasBlockedForWantOfARecordStaysSo) {
  auto required = node("e", 5).mode("require");
  rig.kernel.answer(key(5));
  rig.store.put(required.record());
  ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("e"); }));
  rig.store.remove("e");
  rig.run(seconds(20));
  ASSERT_EQ(rig.state("e"), State::kBlocked);
  boot_without_the_store();
  rig.run(seconds(5));
  EXPECT_EQ(rig.state("e"), State::kBlocked);
  EXPECT_EQ(rig.peer("e").reason, Reason::kNoRecord);
  EXPECT_EQ(rig.kernel.way_of(ip("10.5.0.7")), RouteType::kUnreachable);
}

// --- the store is back ---

TEST_F(SnapshotBoot, WhenTheStoreIsBackUnchangedNothingChanges) {
  boot_without_the_store();
  rig.run(minutes(1));
  const auto routes = rig.kernel.routes();
  const auto peers = rig.kernel.peers();
  rig.dataplane.operations_tried = 0;
  rig.store.come_back();
  rig.run(minutes(3));
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
  EXPECT_EQ(rig.kernel.routes(), routes);
  EXPECT_EQ(rig.kernel.peers().size(), peers.size());
  EXPECT_EQ(*rig.store.record("a"), record);
}

TEST_F(SnapshotBoot, APeerThatLeftMeanwhileGoesWhenTheStoreSaysSo) {
  boot_without_the_store();
  rig.store.remove("b");
  rig.run(minutes(5));
  ASSERT_TRUE(rig.encrypted("b"));
  rig.store.come_back();
  rig.run(seconds(1));
  EXPECT_EQ(rig.peer("b").reason, Reason::kNoRecord);
  rig.run(Peer::kGrace);
  EXPECT_EQ(find_peer(*rig.status, "b"), nullptr);
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kOther);
  EXPECT_TRUE(rig.encrypted("c"));
  rig.run(minutes(2));
  EXPECT_FALSE(rig.kernel.peers().contains(key(2))) << "it was silent for a minute";
  EXPECT_EQ(rig.left_to_do(), kNothing);
  ASSERT_EQ(rig.snapshot->nodes.size(), 2U);
}

TEST_F(SnapshotBoot, APeerThatChangedItsKeyMeanwhileIsEncryptedUnderTheNewOneWithoutALeak) {
  boot_without_the_store();
  rig.kernel.answer(key(2), false);
  rig.kernel.answer(key(22));
  rig.store.put(node("b", 2).key(22).record());
  rig.run(minutes(1));
  EXPECT_EQ(rig.path("b"), Path::kWireguard);
  rig.kernel.after_each([&](const Operation& operation) {
    EXPECT_NE(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kThrow) << to_string(operation);
  });
  rig.store.come_back();
  EXPECT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
  EXPECT_EQ(rig.peer("b").public_key, key(22));
  EXPECT_TRUE(rig.encrypted("c"));
}

TEST_F(SnapshotBoot, APeerThatJoinedMeanwhileIsEncryptedWhenTheStoreIsBack) {
  boot_without_the_store();
  rig.run(minutes(1));
  rig.add_peer("e", 5);
  rig.store.come_back();
  EXPECT_TRUE(rig.run_until([&] { return rig.encrypted("e"); }));
}

TEST_F(SnapshotBoot, AnEmptyStoreIsAnAnswer) {
  boot_without_the_store();
  rig.run(minutes(1));
  for (const char* name : {"b", "c", "d"}) rig.store.remove(name);
  rig.store.come_back();
  rig.run(Peer::kGrace + seconds(10));
  EXPECT_TRUE(rig.status->peers.empty());
  EXPECT_TRUE(rig.snapshot->nodes.empty());
}

TEST_F(SnapshotBoot, TheStoreIsAskedFirst) {
  rig.store.remove("b");
  rig.run(milliseconds(100));
  rig.reboot();
  ASSERT_EQ(rig.snapshot->nodes.size(), 3U) << "it was killed before it wrote that down";
  rig.start();
  rig.run(seconds(10));
  EXPECT_EQ(find_peer(*rig.status, "b"), nullptr);
  EXPECT_FALSE(rig.kernel.peers().contains(key(2)));
}

// --- damage ---

TEST_F(SnapshotBoot, ADamagedSnapshotIsReportedAndIgnoredAndReplacedByAWholeAnswer) {
  rig.snapshot_damage = "/x/a.snapshot: it is damaged: its checksum does not match";
  const int saves = rig.saves;
  testing::internal::CaptureStderr();
  boot_without_the_store();
  rig.run(hours(1));
  EXPECT_TRUE(rig.status->peers.empty());
  EXPECT_TRUE(rig.warns("/x/a.snapshot"));
  EXPECT_EQ(rig.saves, saves) << "it may be all there is";
  rig.store.come_back();
  rig.run(seconds(10));
  EXPECT_EQ(rig.saves, saves + 1);
  EXPECT_FALSE(rig.warns("/x/a.snapshot"));
  EXPECT_TRUE(rig.encrypted("b"));
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(log.find("checksum"), log.rfind("checksum")) << log;
}

TEST_F(SnapshotBoot, ALostPolicyThatMakesPairsWeakerIsNotKeptOverARestart) {
  rig.store.put_policy({"p", 1, "all()", "all()", PolicyAction::kPlaintext});
  rig.run(seconds(10));
  ASSERT_EQ(rig.state("b"), State::kPlaintext);
  rig.store.go_back("it was restored from a backup");
  rig.add_peer("b", 2);
  rig.run(seconds(10));
  EXPECT_EQ(rig.state("b"), State::kPlaintext);
  rig.reboot();
  rig.start();
  rig.run(seconds(10));
  EXPECT_TRUE(rig.encrypted("b"));
}

TEST_F(SnapshotBoot, APolicyThatTheStoreLostStaysInForceOverRestartsUntilItIsToldOtherwise) {
  const EncryptionPolicy policy{"p", 1, "all()", "all()", PolicyAction::kRequire};
  rig.store.put_policy(policy);
  rig.run(seconds(10));
  ASSERT_EQ(rig.state("d"), State::kBlocked);
  rig.store.go_back("it was restored from a backup");
  rig.store.put(node("d", 4).no_key().record());
  rig.run(seconds(10));
  ASSERT_EQ(rig.state("d"), State::kBlocked);
  EXPECT_EQ(rig.snapshot->lost_policies, std::set<std::string>{"p"});
  rig.reboot();
  rig.start();
  rig.run(seconds(10));
  EXPECT_EQ(rig.state("d"), State::kBlocked) << "the store answers, and has it no more";
  boot_without_the_store();
  rig.run(seconds(10));
  EXPECT_EQ(rig.state("d"), State::kBlocked);
  rig.store.come_back();
  rig.run(seconds(10));
  EXPECT_EQ(rig.state("d"), State::kBlocked);
  EXPECT_EQ(rig.snapshot->lost_policies, std::set<std::string>{"p"});
  rig.store.put_policy(policy);
  rig.store.remove_policy("p");
  rig.run(seconds(10));
  EXPECT_EQ(rig.state("d"), State::kPlaintext);
  EXPECT_TRUE(rig.snapshot->lost_policies.empty());
}

// --- writing ---

TEST_F(SnapshotBoot, IsWrittenTwiceAtMostForManyChangesAndNotAtAllForNone) {
  const int saves = rig.saves;
  rig.run(hours(1));
  rig.store.deliver_all();
  rig.run(minutes(1));
  EXPECT_EQ(rig.saves, saves);
  for (int n = 10; n < 60; ++n) {
    rig.store.put(node(fmt::format("n{}", n), n).no_key().record());
    rig.run(milliseconds(10));
  }
  rig.run(seconds(1));
  EXPECT_LE(rig.saves, saves + 2) << "soon after the first, and for all others";
  EXPECT_EQ(rig.snapshot->nodes.size(), 53U);
}

TEST_F(SnapshotBoot, WhoWasProvenIsWrittenDownBeforeAHostCouldReboot) {
  rig.run(minutes(1));
  rig.add_peer("e", 5);
  rig.run(milliseconds(10));
  for (int i = 0; i < 300 && !rig.encrypted("e"); ++i) rig.run(milliseconds(10));
  ASSERT_TRUE(rig.encrypted("e"));
  rig.run(milliseconds(700));
  const auto& nodes = rig.snapshot->nodes;
  EXPECT_TRUE(std::any_of(nodes.begin(), nodes.end(), [](const SnapshotNode& node) {
    return std::get<NodeRecord>(*node.record).name == "e" && node.proven;
  }));
}

TEST_F(SnapshotBoot, IsNotWrittenMoreOftenThanEveryFewSeconds) {
  const int saves = rig.saves;
  for (int i = 0; i < 600; ++i) {
    rig.store.put(node("e", 5 + i % 200).no_key().record());
    rig.run(milliseconds(100));
  }
  EXPECT_LE(rig.saves, saves + 16) << "after 0.2, 0.7, 1.7, 3.7 and 7.7 s, then every 5 s";
  EXPECT_GE(rig.saves, saves + 9);
}

TEST_F(SnapshotBoot, AnOrderlyStopWritesWhatIsNotYetWritten) {
  rig.store.remove("d");
  rig.run(milliseconds(50));
  const int saves = rig.saves;
  rig.reconciler->finish();
  EXPECT_EQ(rig.saves, saves + 1);
  EXPECT_EQ(rig.snapshot->nodes.size(), 2U);
  rig.reconciler->finish();
  EXPECT_EQ(rig.saves, saves + 1);
}

TEST_F(SnapshotBoot, ARestartWritesNothingAnew) {
  const int saves = rig.saves;
  rig.start();
  rig.run(minutes(1));
  rig.reconciler->finish();
  EXPECT_EQ(rig.saves, saves);
}

TEST_F(SnapshotBoot, AnUnreadableRecordLeavesItsLastGoodVersionInTheSnapshot) {
  rig.store.put_bad("b", "cannot be read");
  rig.store.remove("d");
  rig.run(seconds(10));
  ASSERT_EQ(rig.snapshot->nodes.size(), 2U);
  EXPECT_EQ(std::get<NodeRecord>(*rig.snapshot->nodes[0].record).name, "b");
}

TEST_F(SnapshotBoot, AFailureToWriteIsReportedUntilItIsOver) {
  rig.save_problem = "/x/a.snapshot: cannot be written: No space left on device";
  rig.store.remove("d");
  rig.run(seconds(10));
  EXPECT_TRUE(rig.warns("No space left"));
  EXPECT_TRUE(rig.warns("store.snapshot.path"));
  rig.save_problem.clear();
  rig.run(seconds(2));
  EXPECT_FALSE(rig.warns("No space left"));
}

TEST(NoSnapshot, WithoutOneANodeThatBootsWhileTheStoreIsAwayHasNoPeers) {
  Rig rig;
  rig.add_peer("b", 2);
  rig.store.go_out("no such directory");
  rig.start();
  rig.run(minutes(1));
  EXPECT_TRUE(rig.status->peers.empty());
  EXPECT_EQ(rig.kernel.routes().size(), 0U);
  EXPECT_EQ(rig.store.publications(), 0);
}

}  // namespace
}  // namespace mesh::test
