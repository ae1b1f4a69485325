// What is held closed before meshd has decided anything, and what of a snapshot outlives the
// store's first answer.
#include "meshd/daemon/guard.h"

#include <gmock/gmock.h>

#include "rig.h"

namespace mesh::test {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class GuardTest : public ::testing::Test {
 protected:
  // Node a with `b`, which has to be encrypted and is proven; and d, which has not. Written down.
  void write_down(const RecordOf& b) {
    rig.keeps_snapshots = true;
    rig.kernel.answer(key(2));
    rig.store.put(b.record());
    rig.add_peer("d", 4);
    rig.start();
    ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b") && rig.encrypted("d"); }));
    rig.run(seconds(10));
    ASSERT_TRUE(rig.snapshot);
  }
  GuardOutcome hold() {
    const auto outcome =
        hold_closed(rig.kernel, rig.config, *rig.snapshot, key(1), rig.clock.now());
    EXPECT_TRUE(outcome);
    EXPECT_THAT(outcome->failed, IsEmpty());
    return *outcome;
  }
  void stop() {
    rig.reconciler->finish();
    rig.reconciler.reset();
  }
  static NftElement prefix(NftSet set, int n) {
    return {set, {ip(fmt::format("10.{}.0.0", n)), ip(fmt::format("10.{}.0.255", n))}};
  }
  Rig rig;
};

class Guard : public GuardTest {
 protected:
  // Besides c, which requires encryption and is not proven.
  void SetUp() override {
    rig.store.put(node("c", 3).mode("require").record());
    write_down(node("b", 2).mode("require"));
  }
};

TEST_F(Guard, AfterABootItClosesWhatMustEncryptAndNothingElse) {
  rig.reboot();
  EXPECT_THAT(hold().closed, ElementsAre("b", "c"));
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnreachable);
  EXPECT_EQ(rig.kernel.way_of(ip("10.3.0.7")), RouteType::kUnreachable);
  EXPECT_EQ(rig.kernel.way_of(ip("10.4.0.7")), RouteType::kOther) << "d need not encrypt";
  for (const NftSet set : {NftSet::kTxRequired, NftSet::kRxRequired}) {
    EXPECT_TRUE(rig.kernel.elements().contains(prefix(set, 2)));
    EXPECT_TRUE(rig.kernel.elements().contains(prefix(set, 3)));
  }
  EXPECT_FALSE(rig.kernel.rules().empty());
  EXPECT_FALSE(rig.kernel.has_device());
}

TEST_F(Guard, ThePoliciesOfTheSnapshotSayWhatMustEncrypt) {
  rig.reboot();
  rig.snapshot->policies.push_back({"everything", 10, "all()", "all()", PolicyAction::kRequire});
  EXPECT_THAT(hold().closed, ElementsAre("b", "c", "d"));
  EXPECT_EQ(rig.kernel.way_of(ip("10.4.0.7")), RouteType::kUnreachable);
}

TEST_F(Guard, SoDoThoseThatTheStoreHasLost) {
  rig.reboot();
  rig.snapshot->policies.push_back({"everything", 10, "all()", "all()", PolicyAction::kRequire});
  rig.snapshot->lost_policies = {"everything"};
  EXPECT_THAT(hold().closed, ElementsAre("b", "c", "d"));
  EXPECT_EQ(rig.kernel.way_of(ip("10.4.0.7")), RouteType::kUnreachable);
}

TEST_F(Guard, WhereWithdrawalIsNotAllowedItClosesWhoeverWasEncrypted) {
  rig.reboot();
  rig.config.encryption.allow_withdrawal = false;
  EXPECT_THAT(hold().closed, ElementsAre("b", "c", "d"));
  EXPECT_EQ(rig.kernel.way_of(ip("10.4.0.7")), RouteType::kUnreachable);
}

TEST_F(Guard, AgainItWritesNothingAndMeshdAdoptsWhatItMade) {
  rig.reboot();
  EXPECT_GT(hold().operations, 0U);
  EXPECT_EQ(hold().operations, 0U);
  rig.kernel.after_each([&](const Operation& operation) {
    for (const char* address : {"10.2.0.7", "10.3.0.7"})
      EXPECT_NE(rig.kernel.way_of(ip(address)), RouteType::kThrow) << to_string(operation);
    EXPECT_FALSE(std::holds_alternative<InstallRuleset>(operation.act));
    EXPECT_FALSE(std::holds_alternative<PutRule>(operation.act));
  });
  rig.start();
  ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b") && rig.encrypted("d"); }));
  EXPECT_EQ(rig.state("c"), State::kPending);
}

TEST_F(Guard, WhatWasEncryptedAndNeedNotBeIsRememberedBesideWhatTheGuardClosed) {
  rig.reboot();
  (void)hold();
  rig.kernel.answer(key(4), false);
  rig.store.go_out("no such directory");
  rig.start();
  rig.store.go_out("no such directory");
  rig.run(seconds(5));
  EXPECT_EQ(rig.path("d"), Path::kWireguard) << "a boot is no reason to send it in plaintext";
}

TEST_F(Guard, BeforeTheNetworkTheSnapshotKnowsThisNodesAddresses) {
  rig.reboot();
  rig.kernel.remove_address(rig.kernel.read_links()->at(1).index, ip("192.0.2.1"));
  rig.config.node.addresses.clear();
  const NftElement own{NftSet::kOwnAddress, {ip("192.0.2.1"), ip("192.0.2.1")}};
  const GuardOutcome outcome = hold();
  EXPECT_EQ(outcome.warning, "");
  EXPECT_TRUE(rig.kernel.elements().contains(own));
  // A snapshot from before there was its line: what is not closed is said.
  rig.reboot();
  rig.snapshot->own.reset();
  EXPECT_THAT(hold().warning, testing::HasSubstr("set node.addresses"));
  EXPECT_FALSE(rig.kernel.elements().contains(own));
}

TEST_F(Guard, WhereTheStoreGivesThePrefixesTheSnapshotKnowsThem) {
  rig.reboot();
  rig.config.store.type = StoreType::kKubernetes;
  rig.config.node.cidrs.clear();
  (void)hold();
  EXPECT_TRUE(rig.kernel.elements().contains(prefix(NftSet::kOwn, 1)));
}

TEST_F(Guard, ARunningDataPathIsLeftAlone) {
  stop();
  const auto routes = rig.kernel.routes();
  EXPECT_EQ(hold().operations, 0U);
  EXPECT_EQ(rig.kernel.routes(), routes);
}

TEST_F(Guard, WhereNobodyMustEncryptItDoesNothing) {
  rig.reboot();
  std::erase_if(rig.snapshot->nodes, [](const SnapshotNode& node) {
    return std::get<NodeRecord>(*node.record).name != "d";
  });
  EXPECT_EQ(hold().operations, 0U);
  EXPECT_TRUE(rig.kernel.rules().empty());
}

// --- records that are gone ---

TEST_F(Guard, ARequiredPeerThatVanishedWhileMeshdWasStoppedIsBlocked) {
  stop();
  rig.store.remove("b");
  rig.store.remove("d");
  rig.start();
  rig.run(seconds(5));
  EXPECT_EQ(rig.state("b"), State::kBlocked);
  EXPECT_EQ(rig.peer("b").reason, Reason::kNoRecord);
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnreachable);
  EXPECT_EQ(rig.reconciler->not_ready(), "");
  for (const PeerStatus& peer : rig.status->peers) EXPECT_NE(peer.node, "d");
}

TEST_F(Guard, WhatIsBlockedStaysSoOverRestartsAndRebootsUntilItIsForgotten) {
  rig.store.remove("b");
  rig.run(seconds(10));
  ASSERT_EQ(rig.peer("b").reason, Reason::kNoRecord);
  for (const bool reboot : {false, true}) {
    if (reboot)
      rig.reboot();
    else
      stop();
    rig.start();
    rig.run(seconds(10));
    EXPECT_EQ(rig.peer("b").reason, Reason::kNoRecord);
    EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnreachable);
  }
  EXPECT_EQ(rig.reconciler->forget("nobody").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(rig.reconciler->forget("c").error().code, ErrorCode::kInvalid) << "its record is there";
  ASSERT_TRUE(rig.reconciler->forget("b"));
  rig.run(seconds(10));
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kOther);
  stop();
  rig.start();
  rig.run(seconds(10));
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kOther) << "also after a restart";
}

// --- the same where no node, but a policy requires it ---

class GuardByPolicy : public GuardTest {
 protected:
  // A policy demands it of b by its label, of d none does.
  void SetUp() override {
    rig.config.node.labels = {{"zone", "z1"}};
    rig.store.put_policy({"p", 1, "role == 'db'", "zone == 'z1'", PolicyAction::kRequire});
    write_down(node("b", 2).label("role", "db"));
  }
  void expect_blocked(const std::string& when) {
    EXPECT_EQ(rig.peer("b").reason, Reason::kNoRecord) << when;
    EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnreachable) << when;
  }
};

TEST_F(GuardByPolicy, APeerThatVanishedWhileMeshdWasStoppedIsBlocked) {
  stop();
  rig.store.remove("b");
  rig.store.remove("d");
  rig.start();
  rig.run(seconds(5));
  expect_blocked("after the start");
  for (const PeerStatus& peer : rig.status->peers) EXPECT_NE(peer.node, "d");
}

TEST_F(GuardByPolicy, WhatIsBlockedStaysSoOverRestartsAndReboots) {
  rig.store.remove("b");
  rig.run(seconds(10));
  expect_blocked("at once");
  stop();
  rig.start();
  rig.run(seconds(10));
  expect_blocked("after a restart");
  rig.reboot();
  rig.start();
  rig.run(seconds(10));
  expect_blocked("after a reboot");
}

TEST_F(GuardByPolicy, WhatIsBlockedStaysSoWhereTheStoreIsOutAtBoot) {
  rig.store.remove("b");
  rig.run(seconds(10));
  stop();
  rig.reboot();
  EXPECT_THAT(hold().closed, ElementsAre("b"));
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kUnreachable);
  rig.store.go_out("no such directory");
  rig.start();
  rig.store.go_out("no such directory");
  rig.run(seconds(5));
  expect_blocked("by the snapshot alone");
}

TEST_F(GuardByPolicy, WhatIsBlockedStaysSoWhenThePolicyGoesUntilItIsForgotten) {
  rig.store.remove("b");
  rig.run(seconds(10));
  expect_blocked("at first");
  rig.store.remove_policy("p");
  rig.run(seconds(10));
  expect_blocked("without the policy");
  stop();
  rig.start();
  rig.run(seconds(10));
  expect_blocked("after a restart");
  stop();
  rig.reboot();
  EXPECT_THAT(hold().closed, ElementsAre("b")) << "by the guard at boot";
  rig.start();
  rig.run(seconds(10));
  expect_blocked("after a reboot");
  ASSERT_TRUE(rig.reconciler->forget("b"));
  rig.run(seconds(1));
  EXPECT_EQ(rig.kernel.way_of(ip("10.2.0.7")), RouteType::kOther);
}

}  // namespace
}  // namespace mesh::test
