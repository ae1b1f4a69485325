// The model, the planner and a kernel in memory, driven together: the scenarios of the contract for
// one node and its peers. After every single operation the path watcher has looked at the kernel.
#include "core/mesh_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "world.h"

namespace mesh {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using test::cidr;
using test::endpoint;
using test::key;
using test::node;
using test::World;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Mesh = test::MeshTest;

// --- finding each other ---

TEST_F(Mesh, APeerThatAnswersBecomesEncryptedWithNoTrafficNeeded) {
  encrypted_node("b", 2);
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnicast);
  EXPECT_EQ(world.way_to("fd00:2::9"), RouteType::kUnicast);
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(2));
  EXPECT_EQ(world.kernel.allowed_to(cidr("192.0.2.2/32")), key(2)) << "its address too";
  EXPECT_TRUE(world.kernel.routes().contains({test::kTableH, cidr("192.0.2.2/32"), 0}));
  EXPECT_EQ(world.kernel.peers().at(key(2)).keepalive, 0) << "a settled peer costs no keepalives";
}

TEST_F(Mesh, UntilTheHandshakeTrafficKeepsThePathItHad) {
  world.put(node("b", 2));
  world.settle();
  EXPECT_EQ(world.decision("b"),
            (Decision{State::kPending, Reason::kHandshaking, Path::kPlaintext}));
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kThrow);
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(2))
      << "accept always, send by decision";
  world.wait(seconds(20));
  EXPECT_EQ(world.reason("b"), Reason::kNoHandshake);
  world.kernel.handshake(key(2));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST_F(Mesh, APeerThatComesUpLateIsStillTried) {
  world.put(node("b", 2));
  world.wait(hours(1));
  world.kernel.answer(key(2));
  world.wait(seconds(61));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST_F(Mesh, WithoutAnnotationsAPeerIsReachedInPlaintextWithItsReason) {
  world.put(node("b", 2).no_key());
  world.settle();
  EXPECT_EQ(world.decision("b"),
            (Decision{State::kPlaintext, Reason::kNoPublicKey, Path::kPlaintext}));
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kThrow);
  EXPECT_THAT(world.kernel.peers(), IsEmpty());
}

TEST_F(Mesh, StartOrderDoesNotMatter) {
  std::vector<int> order{2, 3, 4};
  std::optional<std::map<RouteKey, Route>> routes;
  do {
    World other;
    for (const int n : order) {
      if (n == 3) {
        other.put(node("n3", 3).no_key());
      } else {
        other.kernel.answer(key(n));
        other.put(node("n" + std::to_string(n), n));
      }
      other.settle();
    }
    if (!routes) routes = other.kernel.routes();
    EXPECT_EQ(other.kernel.routes(), *routes);
    EXPECT_EQ(other.state("n2"), State::kEncrypted);
    EXPECT_EQ(other.state("n3"), State::kPlaintext);
    EXPECT_EQ(other.state("n4"), State::kEncrypted);
    EXPECT_THAT(other.watcher->made(), IsEmpty());
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_F(Mesh, MyOwnPrefixesAreDecidedByTheMainTable) {
  world.put(node("b", 2));
  world.settle();
  EXPECT_EQ(world.way_to("10.1.0.9"), RouteType::kThrow);
  EXPECT_EQ(world.way_to("fd00:1::9"), RouteType::kThrow);
}

// --- gaining and losing WireGuard ---

TEST_F(Mesh, APeerThatWithdrawsItsKeyBecomesPlaintextAndIsStillHeard) {
  encrypted_node("b", 2);
  world.put(node("b", 2).no_key());
  world.settle();
  EXPECT_EQ(world.decision("b"),
            (Decision{State::kPlaintext, Reason::kNoPublicKey, Path::kPlaintext}));
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kThrow);
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(2))
      << "what it sent before it knew must still decrypt";
}

TEST_F(Mesh, APeerNoRecordPublishesIsRetiredAfterSixtySecondsOfSilence) {
  encrypted_node("b", 2);
  world.put(node("b", 2).no_key());
  world.settle();
  for (int i = 0; i < 5; ++i) {
    world.kernel.receive(key(2), 100);
    world.wait(seconds(40));
    ASSERT_TRUE(world.kernel.peers().contains(key(2))) << "it still sends";
  }
  world.wait(seconds(61));
  EXPECT_FALSE(world.kernel.peers().contains(key(2)));
}

TEST_F(Mesh, AWithdrawnKeyThatReturnsMustBeProvenAfresh) {
  encrypted_node("b", 2);
  world.kernel.answer(key(2), false);
  world.put(node("b", 2).no_key());
  world.wait(seconds(5));
  world.put(node("b", 2));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kPending) << "the old handshake proves nothing";
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kThrow);
  world.wait(seconds(5));
  world.kernel.handshake(key(2));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST_F(Mesh, ARecordThatWasDeletedAndReturnsWithItsKeyMustBeProvenAfresh) {
  encrypted_node("b", 2);
  world.kernel.answer(key(2), false);
  world.remove("b");
  world.wait(Peer::kGrace);
  ASSERT_FALSE(world.has_peer("b"));
  ASSERT_TRUE(world.kernel.peers().contains(key(2)));
  world.put(node("b", 2));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kPending);
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kThrow);
  world.wait(seconds(5));
  world.kernel.handshake(key(2));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST_F(Mesh, AKeyThatHasShownNothingTakesNoAllowedIpsFromOneUnderWhichThePeerMayStillSend) {
  encrypted_node("b", 2);
  world.put(
      node("b", 0));  // somebody clears the annotation, b puts it back, somebody writes another
  world.settle();
  world.kernel.answer(key(2), false);
  world.put(node("b", 2));
  world.settle();
  world.kernel.answer(key(9), false);
  world.put(node("b", 2).key(9));
  world.settle();
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(2));
  world.kernel.handshake(key(9));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(9)) << "proven, it gets them";
}

TEST_F(Mesh, WhenIWithdrewMyKeyEverybodyIsProvenAfresh) {
  encrypted_node("b", 2);
  encrypted_node("c", 3);
  world.local.mode = Mode::kOff;
  world.settle();
  EXPECT_EQ(world.decision("b"), (Decision{State::kPlaintext, Reason::kPolicy, Path::kPlaintext}));
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(2)) << "they may still send";
  world.kernel.answer(key(3), false);
  world.clock.advance(seconds(5));
  world.local.mode = Mode::kPrefer;
  world.settle();
  EXPECT_EQ(world.state("b"), State::kPending) << "nothing was heard under the old session yet";
  world.wait(seconds(4));
  EXPECT_EQ(world.state("b"), State::kPending)
      << "whoever heard the first kicks may be sending under that session by now";
  world.wait(seconds(4));
  EXPECT_EQ(world.state("b"), State::kEncrypted) << "the third kick made a new session";
  EXPECT_EQ(world.state("c"), State::kPending);
}

TEST_F(Mesh, WhatIsHeardUnderTheOldSessionProvesAKeyThatReturnsWithoutForgettingTheSession) {
  encrypted_node("b", 2);
  world.local.mode = Mode::kOff;
  world.settle();
  world.clock.advance(seconds(5));
  world.local.mode = Mode::kPrefer;
  world.settle();
  const auto before = world.kernel.peers().at(key(2)).last_handshake;
  world.kernel.receive(key(2), 96);
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_EQ(world.kernel.peers().at(key(2)).last_handshake, before);
}

TEST_F(Mesh, WhoHeardThePeerUnderTheOldSessionAnswersSoThatThePeerKnowsToo) {
  encrypted_node("b", 2);
  world.put(node("b", 2).no_key());
  world.settle();
  world.kernel.answer(key(2), false);
  world.clock.advance(seconds(5));
  world.put(node("b", 2));
  world.settle();
  ASSERT_EQ(world.state("b"), State::kPending);
  world.kernel.receive(key(2), 32);
  world.kernel.forget();
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  const auto kicks = [&] {
    return std::count_if(world.kernel.executed().begin(), world.kernel.executed().end(),
                         [](const Operation& operation) {
                           const auto* change = std::get_if<ChangePeer>(&operation.act);
                           return change != nullptr && change->change.kick;
                         });
  };
  EXPECT_EQ(kicks(), 1);
  EXPECT_EQ(world.kernel.peers().at(key(2)).keepalive, 0);
  world.kernel.receive(key(2), 32);
  world.wait(seconds(60));
  EXPECT_EQ(kicks(), 1) << "an answer is not answered";
}

TEST_F(Mesh, WhoWithdrewItsKeySendsNothingThroughTheTunnel) {
  encrypted_node("b", 2);
  world.put(node("c", 3));
  world.settle();
  ASSERT_EQ(world.state("c"), State::kPending);
  world.local.mode = Mode::kOff;
  world.settle();
  world.kernel.forget();
  world.wait(seconds(120));
  EXPECT_EQ(world.kernel.peers().at(key(2)).keepalive, 0);
  EXPECT_EQ(world.kernel.peers().at(key(3)).keepalive, 0);
  EXPECT_THAT(world.kernel.executed(), IsEmpty());
}

TEST_F(Mesh, WithoutWireguardOfMyOwnEveryPeerIsPlaintextAndGainingItEncrypts) {
  world.local.backend = Backend::kNone;
  world.local.key = PublicKey();
  world.kernel.answer(key(2));
  world.put(node("b", 2));
  world.settle();
  EXPECT_EQ(world.decision("b"),
            (Decision{State::kPlaintext, Reason::kLocalUnsupported, Path::kPlaintext}));
  EXPECT_FALSE(world.kernel.has_device());
  world.local.backend = Backend::kKernel;
  world.local.key = key(1);
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

// --- healing ---

TEST_F(Mesh, APeerThatDoesNotAnswerIsHealedInStages) {
  encrypted_node("b", 2);
  world.kernel.roam(key(2), *Endpoint::parse("198.51.100.9:4000"));
  world.settle();
  world.kernel.answer(key(2), false);
  world.inner_tx["b"] += 100;
  world.settle();
  world.wait(seconds(26));
  ASSERT_EQ(world.decision("b"),
            (Decision{State::kDegraded, Reason::kNoHandshake, Path::kWireguard}));
  world.kernel.forget();
  std::vector<std::string> stages;
  for (int i = 0; i < 20; ++i) {
    world.inner_tx["b"] += 100;
    world.wait(seconds(1));
  }
  for (const Operation& operation : world.kernel.executed()) {
    const auto* peer = std::get_if<ChangePeer>(&operation.act);
    if (peer == nullptr) continue;
    if (peer->change.anew) stages.emplace_back("peer");
    if (peer->change.update_only && peer->change.endpoint) stages.emplace_back("endpoint");
    if (peer->change.kick) stages.emplace_back("kick");
  }
  ASSERT_GE(stages.size(), 4U);
  stages.resize(4);
  EXPECT_THAT(stages, ElementsAre("endpoint", "kick", "peer", "kick"));
  EXPECT_EQ(world.path("b"), Path::kWireguard) << "never plaintext for packets that are lost";
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnicast);
  world.kernel.answer(key(2));
  world.kernel.handshake(key(2));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

// --- health ---

TEST_F(Mesh, AProvenPeerThatStopsAnsweringIsDegradedNeverPlaintext) {
  encrypted_node("b", 2);
  world.kernel.answer(key(2), false);
  world.inner_tx["b"] += 100;
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  world.wait(seconds(26));
  EXPECT_EQ(world.decision("b"),
            (Decision{State::kDegraded, Reason::kNoHandshake, Path::kWireguard}));
  world.wait(hours(10));
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnicast);
  world.kernel.receive(key(2), 32);
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST_F(Mesh, FallbackAfterReturnsToPlaintextUntilANewHandshake) {
  world.local.fallback_after = seconds(60);
  encrypted_node("b", 2);
  world.kernel.answer(key(2), false);
  world.inner_tx["b"] += 100;
  world.settle();
  world.wait(seconds(50));
  EXPECT_EQ(world.state("b"), State::kDegraded);
  world.wait(seconds(20));
  EXPECT_EQ(world.decision("b"),
            (Decision{State::kPlaintext, Reason::kFallback, Path::kPlaintext}));
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kThrow);
  world.wait(hours(1));
  EXPECT_EQ(world.reason("b"), Reason::kFallback);
  world.kernel.handshake(key(2));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST_F(Mesh, APeerThatFellBackIsPendingWhenThePolicyChangesAndStaysSo) {
  world.local.fallback_after = seconds(60);
  encrypted_node("b", 2);
  world.kernel.answer(key(2), false);
  world.inner_tx["b"] += 100;
  world.settle();
  world.wait(seconds(70));
  ASSERT_EQ(world.reason("b"), Reason::kFallback);
  world.put(node("b", 2).mode("require"));
  for (int i = 0; i < 3; ++i) {
    world.settle();
    EXPECT_EQ(world.state("b"), State::kPending);
    EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnreachable);
  }
}

TEST_F(Mesh, HandshakesThatNobodyAnswersAreTriedLessAndLessOften) {
  world.put(node("b", 2));
  world.settle();
  const auto kicks_within = [&](Duration duration) {
    world.kernel.forget();
    const MonotonicTime end = world.now().monotonic + duration;
    while (world.now().monotonic < end) {
      world.pass();
      world.clock.advance(std::chrono::milliseconds(500));
    }
    return std::count_if(world.kernel.executed().begin(), world.kernel.executed().end(),
                         [](const Operation& op) {
                           const auto* change = std::get_if<ChangePeer>(&op.act);
                           return change != nullptr && change->change.kick;
                         });
  };
  const auto early = kicks_within(std::chrono::minutes(1));
  const auto late = kicks_within(std::chrono::minutes(10));
  EXPECT_GE(early, 3);
  EXPECT_GE(late, 9);
  EXPECT_LE(late, 11) << "once a minute";
}

TEST_F(Mesh, WithoutADeviceNothingIsDueAtOnce) {
  world.put(node("b", 2));
  world.settle();
  world.kernel.delete_device();
  world.kernel.fail("ensure-device", 0, test::FakeDataplane::kForEver);
  world.pass();
  world.clock.advance(seconds(100));
  world.pass();
  const auto deadline = world.model->deadline(world.now().monotonic);
  EXPECT_TRUE(!deadline || *deadline > world.now().monotonic + seconds(1))
      << "the loop would turn without end";
  world.kernel.stop_failing();
  world.settle();
}

// --- the device goes and comes ---

// When a peer that does not answer a fresh device is kicked and made anew, in tenths of a second.
struct Attempts {
  std::vector<int> kicked;
  std::vector<int> made_anew;
};
Attempts attempts_of(test::World& world, int tenths, std::optional<int> half_a_handshake = {}) {
  Attempts attempts;
  world.kernel.delete_device();
  for (int now = 0; now < tenths; ++now, world.clock.advance(milliseconds(100))) {
    if (now == half_a_handshake) world.kernel.receive(key(2), 148);
    world.kernel.forget();
    world.pass();
    for (const Operation& operation : world.kernel.executed()) {
      const auto* act = std::get_if<ChangePeer>(&operation.act);
      if (act != nullptr && act->change.kick) attempts.kicked.push_back(now);
      if (act != nullptr && act->change.anew) attempts.made_anew.push_back(now);
    }
  }
  return attempts;
}

TEST_F(Mesh, HalfAHandshakeIsNotThrownAwayWhileItsOtherHalfMayBeOnItsWayAndNoLonger) {
  encrypted_node("b", 2);
  world.kernel.answer(key(2), false);
  EXPECT_EQ(attempts_of(world, 12, 5).made_anew, std::vector<int>{10}) << "two crossed, at 0.5 s";
  world.kernel.handshake(key(2));
  world.settle();
  world.kernel.answer(key(2), false);
  EXPECT_TRUE(attempts_of(world, 12, 10).made_anew.empty()) << "it came just now";
}

TEST_F(Mesh, AnInitiationThatIsLostWhileAHostComesUpIsNotWaitedForAsLongAsWireGuardWould) {
  // Not at the same time on both sides: mine is the smaller key, then the greater.
  for (const auto& [mine, first_pause] : {std::pair(1, 10), std::pair(9, 15)}) {
    test::World other;
    other.local.key = key(mine);
    other.kernel.set_own_key(key(mine));
    other.kernel.answer(key(2));
    other.put(node("b", 2));
    other.settle();
    other.wait(seconds(2));  // the greater key gives the other a head start
    ASSERT_EQ(other.state("b"), State::kEncrypted);
    other.kernel.answer(key(2), false);
    const auto [kicked, made_anew] = attempts_of(other, 300);
    ASSERT_GE(kicked.size(), 4U);
    ASSERT_EQ(made_anew.size(), 2U) << "WireGuard's own pace from then on";
    EXPECT_EQ(made_anew[0], kicked[1]);
    EXPECT_EQ(kicked[1] - kicked[0], first_pause) << "not sooner: an answer may be on its way";
    EXPECT_EQ(made_anew[1], kicked[2]);
    EXPECT_EQ(kicked[2] - kicked[1], 20);
  }
}

TEST_F(Mesh, OfManyPeersThatDoNotAnswerAFreshDeviceFewAreMadeAnew) {
  for (int n = 2; n < 102; ++n) encrypted_node(fmt::format("n{}", n), n);
  for (int n = 2; n < 102; ++n) world.kernel.answer(key(n), false);
  const auto [kicked, made_anew] = attempts_of(world, 20);
  EXPECT_GE(kicked.size(), 100U);
  EXPECT_GE(made_anew.size(), 10U);
  EXPECT_LT(made_anew.size(), 100U) << "one look at them all";
}

TEST_F(Mesh, APeerThatWasNeverProvenIsNotMadeAnewForAnAnswerThatMayBeOnItsWay) {
  world.kernel.answer(key(2), false);
  world.put(node("b", 2));
  for (int i = 0; i < 20; ++i) world.wait(seconds(1));
  for (const Operation& operation : world.kernel.executed()) {
    const auto* act = std::get_if<ChangePeer>(&operation.act);
    EXPECT_FALSE(act != nullptr && act->change.anew) << to_string(operation);
  }
}

TEST_F(Mesh, ADeletedDeviceDropsWhatWasEncryptedAndItsSuccessorIsDegradedUntilAHandshake) {
  encrypted_node("b", 2);
  world.kernel.answer(key(2), false);
  world.kernel.delete_device();
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnreachable) << "the guard";
  world.settle();
  EXPECT_EQ(world.kernel.devices_made(), 2);
  EXPECT_EQ(world.decision("b"),
            (Decision{State::kDegraded, Reason::kHandshaking, Path::kWireguard}));
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnicast);
  EXPECT_TRUE(world.kernel.routes().contains({test::kTableH, cidr("192.0.2.2/32"), 0}));
  world.kernel.handshake(key(2));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST_F(Mesh, WhileTheDeviceCannotBeMadeAgainTheGuardStands) {
  encrypted_node("b", 2);
  world.kernel.delete_device();
  world.kernel.fail("ensure-device", 0, 5);
  for (int i = 0; i < 4; ++i) {
    world.pass();
    EXPECT_EQ(world.path("b"), Path::kWireguard);
    EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnreachable);
    world.clock.advance(seconds(1));
  }
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST_F(Mesh, ADeviceSetDownIsSetUpAndItsRoutesReturn) {
  encrypted_node("b", 2);
  world.kernel.set_device_up(false);
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnreachable);
  world.settle();
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnicast);
  EXPECT_EQ(world.way_to("fd00:2::9"), RouteType::kUnicast);
}

}  // namespace
}  // namespace mesh
