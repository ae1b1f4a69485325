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

// --- keys ---

TEST_F(Mesh, ANewKeyIsProvenWithoutAllowedIpsThenTheyMoveInOneMessage) {
  encrypted_node("b", 2);
  world.put(node("b", 2).key(12));
  world.settle();
  EXPECT_EQ(world.path("b"), Path::kWireguard) << "the old key carries on";
  EXPECT_EQ(world.decision("b"),
            (Decision{State::kDegraded, Reason::kHandshaking, Path::kWireguard}));
  EXPECT_THAT(world.kernel.peers().at(key(12)).allowed_ips, IsEmpty());
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(2));

  world.kernel.forget();
  world.kernel.handshake(key(12));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(12));
  EXPECT_EQ(world.kernel.allowed_to(cidr("fd00:2::/64")), key(12));
  int moving = 0;
  for (const Operation& operation : world.kernel.executed())
    if (const auto* change = std::get_if<ChangePeer>(&operation.act)) {
      EXPECT_THAT(change->change.remove_allowed_ips, IsEmpty());
      moving += change->change.add_allowed_ips.empty() ? 0 : 1;
    }
  EXPECT_EQ(moving, 1);
  EXPECT_TRUE(world.kernel.peers().contains(key(2))) << "what it sent under the old key";
  world.wait(seconds(61));
  EXPECT_FALSE(world.kernel.peers().contains(key(2)));
}

TEST_F(Mesh, APeerThatGoesBackToAnOldKeyProvesItAfresh) {
  encrypted_node("b", 2);
  world.kernel.answer(key(12));
  world.put(node("b", 2).key(12));
  world.settle();
  ASSERT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(12));
  world.kernel.answer(key(2), false);
  world.put(node("b", 2));
  world.settle();
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(12));
  world.kernel.handshake(key(2));
  world.settle();
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(2));
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST_F(Mesh, ANewcomerWithAProvenPeersKeyIsRefusedAndTheVictimSeesNothing) {
  encrypted_node("b", 2);
  world.kernel.forget();
  world.put(node("imposter", 9).key(2));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_THAT(world.peer("b").warnings(), IsEmpty());
  EXPECT_EQ(world.decision("imposter"),
            (Decision{State::kPlaintext, Reason::kDuplicatePublicKey, Path::kPlaintext}));
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.9.0.0/24")), std::nullopt);
  for (const Operation& operation : world.kernel.executed())
    EXPECT_NE(operation.node, "b") << to_string(operation);
}

TEST_F(Mesh, AKeyStillInUseIsNotGivenToANewcomerWhileItsOwnerChangesKeys) {
  encrypted_node("b", 2);
  world.put(node("b", 2).key(12));
  world.settle();
  world.put(node("imposter", 9).key(2));
  world.settle();
  EXPECT_EQ(world.reason("imposter"), Reason::kDuplicatePublicKey);
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(2));
  EXPECT_EQ(world.path("b"), Path::kWireguard);
  // The old key is free once nobody uses it; what it proved was b's.
  world.kernel.answer(key(2), false);
  world.kernel.handshake(key(12));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_EQ(world.state("imposter"), State::kPending);
}

TEST_F(Mesh, AKeyThatMovesToAnotherNodeInOneBatchIsProvenAfreshWhateverTheNames) {
  for (const std::string other : {"aa", "z"}) {
    World here;
    here.kernel.answer(key(2));
    here.put(node("m", 2));
    here.settle();
    ASSERT_EQ(here.state("m"), State::kEncrypted);
    here.kernel.answer(key(2), false);
    here.put(node("m", 2).no_key());
    here.put(node(other, 7).key(2));
    here.settle();
    EXPECT_EQ(here.state("m"), State::kPlaintext) << other;
    EXPECT_EQ(here.state(other), State::kPending) << other;
    EXPECT_THAT(here.watcher->made(), IsEmpty());
  }
}

TEST_F(Mesh, WithNoneProvenAllClaimantsOfAKeyAreRefusedUntilOneIsLeft) {
  world.put(node("b", 2));
  world.put(node("c", 3).key(2));
  world.settle();
  EXPECT_EQ(world.reason("b"), Reason::kDuplicatePublicKey);
  EXPECT_EQ(world.reason("c"), Reason::kDuplicatePublicKey);
  world.kernel.answer(key(2));
  world.put(node("c", 3));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST_F(Mesh, MyOwnKeyFromAnotherNodeIsADuplicate) {
  world.put(node("b", 2).key(1));
  world.settle();
  EXPECT_EQ(world.reason("b"), Reason::kDuplicatePublicKey);
  EXPECT_THAT(world.kernel.peers(), IsEmpty());
}

TEST_F(Mesh, TheAllZeroKeyAndAnInvalidOneCostThatKeyOnly) {
  encrypted_node("c", 3);
  world.put(node("b", 2).key_text(PublicKey().to_base64()));
  world.put(node("d", 4).key_text("not base64"));
  world.settle();
  EXPECT_EQ(world.reason("b"), Reason::kInvalidPublicKey);
  EXPECT_EQ(world.reason("d"), Reason::kInvalidPublicKey);
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kThrow);
  EXPECT_EQ(world.state("c"), State::kEncrypted);
}

// --- prefixes ---

TEST_F(Mesh, AnEqualPrefixOfANewcomerIsRefusedAndBothKeepTheirStates) {
  encrypted_node("b", 2);
  encrypted_node("c", 3);
  world.kernel.forget();
  auto greedy = node("c", 3);
  greedy.cidrs.push_back(cidr("10.2.0.0/24"));
  world.put(greedy);
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_EQ(world.state("c"), State::kEncrypted);
  EXPECT_THAT(world.peer("b").warnings(), IsEmpty());
  EXPECT_THAT(world.peer("c").warnings(), ElementsAre(HasSubstr("prefix 10.2.0.0/24 refused")));
  EXPECT_THAT(world.kernel.executed(), IsEmpty());
}

TEST_F(Mesh, AMoreSpecificPrefixThatLivesElsewhereWins) {
  encrypted_node("b", 2);
  auto other = node("c", 3);
  other.cidrs.push_back(cidr("10.2.0.200/32"));
  world.kernel.answer(key(3));
  world.put(other);
  world.settle();
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.200/32")), key(3));
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(2));
  EXPECT_EQ(world.way_to("10.2.0.200"), RouteType::kUnicast);
}

TEST_F(Mesh, APrefixOverAnotherNodesAddressIsRefusedAndTheOtherSeesNothing) {
  encrypted_node("b", 2);
  world.kernel.forget();
  auto thief = node("thief", 9);
  thief.cidrs = {cidr("192.0.2.0/30"), cidr("10.9.0.0/24")};
  world.put(thief);
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_FALSE(world.kernel.routes().contains({test::kTableW, cidr("192.0.2.0/30"), 0}));
  EXPECT_THAT(world.peer("thief").accepted().cidrs, ElementsAre(cidr("10.9.0.0/24")));
  for (const Operation& operation : world.kernel.executed())
    EXPECT_NE(operation.node, "b") << to_string(operation);
}

TEST_F(Mesh, AnEndpointInsideTheMeshIsRefusedAndTheIncumbentSeesNothing) {
  encrypted_node("b", 2);
  world.put(node("c", 3).endpoint("10.2.0.7:51820"));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_EQ(world.reason("c"), Reason::kNoEndpoint);
  EXPECT_THAT(world.peer("c").warnings(), Contains(HasSubstr("inside the mesh")));
}

TEST_F(Mesh, AnEndpointOfThisHostIsRefused) {
  world.put(node("c", 3).endpoint("10.1.0.1:51820"));
  world.settle();
  EXPECT_EQ(world.reason("c"), Reason::kNoEndpoint);
}

TEST_F(Mesh, AnEndpointOfAFamilyIDoNotHaveIsPassedOver) {
  world.put(node("c", 3).endpoint("[2001:db8::3]:51820,192.0.2.3:51821"));
  world.settle();
  EXPECT_EQ(world.kernel.peers().at(key(3)).endpoint, endpoint("192.0.2.3:51821"));
  world.put(node("c", 3).endpoint("[2001:db8::3]:51820"));
  world.settle();
  EXPECT_EQ(world.reason("c"), Reason::kNoEndpoint);
}

TEST_F(Mesh, MyOwnUnderlayAddressThatFlapsTakesNothingFromAProvenPeer) {
  encrypted_node("b", 2);
  world.local.addresses = {ip("2001:db8::1")};
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_EQ(world.kernel.peers().at(key(2)).endpoint, endpoint("192.0.2.2:51820"));
}

TEST_F(Mesh, WithoutIpv6InTheKernelIpv6PrefixesAreLeftAlone) {
  world.local.ipv6 = false;
  encrypted_node("b", 2);
  for (const auto& [key, route] : world.kernel.routes())
    EXPECT_EQ(key.destination.family(), Family::kIpv4) << key.destination.to_string();
  for (const Rule& rule : world.kernel.rules()) EXPECT_EQ(rule.family, Family::kIpv4);
}

// --- records ---

TEST_F(Mesh, AnUnreadableRecordOfAKnownNodeKeepsItsLastGoodVersion) {
  encrypted_node("b", 2);
  world.kernel.forget();
  world.put_bad("b");
  world.settle();
  EXPECT_EQ(world.decision("b"),
            (Decision{State::kEncrypted, Reason::kInvalidRecord, Path::kWireguard}));
  EXPECT_THAT(world.peer("b").warnings(), ElementsAre(HasSubstr("line 1, column 1")));
  EXPECT_THAT(world.kernel.executed(), IsEmpty());
  world.put(node("b", 2));
  world.settle();
  EXPECT_EQ(world.reason("b"), Reason::kNone);
}

TEST_F(Mesh, AnUnreadableRecordOfAnUnknownNodeIsNoPeer) {
  world.put_bad("b");
  world.settle();
  EXPECT_FALSE(world.has_peer("b"));
  EXPECT_TRUE(world.model->refused().contains("b"));
  world.remove("b");
  EXPECT_FALSE(world.model->refused().contains("b"));
}

TEST_F(Mesh, AnUnreadableRecordInACompleteListDoesNotThrowAKnownNodeOut) {
  encrypted_node("b", 2);
  world.put_bad("b");
  world.store_answers();
  world.settle();
  EXPECT_EQ(world.path("b"), Path::kWireguard);
}

TEST_F(Mesh, MyOwnRecordIsNoPeer) {
  world.put(node("a", 1));
  world.settle();
  EXPECT_FALSE(world.has_peer("a"));
  ASSERT_NE(world.model->own_record(), nullptr);
  world.put_bad("a");
  EXPECT_TRUE(world.model->own_record_unreadable());
  world.remove("a");
  world.put_bad("a");
  world.deliver({true, "", true, {}});
  EXPECT_FALSE(world.model->own_record_unreadable()) << "a file that is gone is not unreadable";
}

TEST_F(Mesh, ADeletedRecordUnderPreferLeavesTheMesh) {
  encrypted_node("b", 2);
  world.remove("b");
  world.wait(Peer::kGrace);
  EXPECT_FALSE(world.has_peer("b"));
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kOther) << "the main table decides";
  EXPECT_TRUE(world.kernel.peers().contains(key(2)));
  world.wait(seconds(61));
  EXPECT_THAT(world.kernel.peers(), IsEmpty());
  for (const NftElement& element : world.kernel.elements())
    EXPECT_TRUE(element.set == NftSet::kOwn || element.set == NftSet::kOwnAddress);
}

TEST_F(Mesh, ADeletedRecordUnderRequireStaysBlockedUntilClaimedAgain) {
  world.kernel.answer(key(2));
  world.put(node("b", 2).mode("require"));
  world.settle();
  ASSERT_EQ(world.state("b"), State::kEncrypted);
  world.remove("b");
  world.settle();
  EXPECT_EQ(world.decision("b"), (Decision{State::kBlocked, Reason::kNoRecord, Path::kDrop}));
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnreachable);
  world.wait(seconds(100));
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnreachable);
  world.put(node("b", 2).mode("require"));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST_F(Mesh, WhatWasBlockedOnlyByMyOwnRequireIsReleasedWithIt) {
  world.local.mode = Mode::kRequire;
  encrypted_node("b", 2);
  world.remove("b");
  world.settle();
  ASSERT_EQ(world.reason("b"), Reason::kNoRecord);
  world.local.mode = Mode::kPrefer;
  world.settle();
  EXPECT_FALSE(world.has_peer("b"));
}

TEST_F(Mesh, UnderRequireAPeerWithoutAKeyIsBlockedAndAPendingOneDropped) {
  world.put(node("b", 2).no_key().mode("require"));
  world.put(node("c", 3).mode("require"));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kBlocked);
  EXPECT_EQ(world.state("c"), State::kPending);
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnreachable);
  EXPECT_EQ(world.way_to("10.3.0.9"), RouteType::kUnreachable);
  EXPECT_FALSE(world.kernel.routes().contains({test::kTableH, cidr("192.0.2.3/32"), 0}))
      << "never a reject route among the hosts";
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
