// Keys, prefixes and records that conflict, are wrong or go away, as one node decides on them: the
// scenarios of the contract. After every operation the path watcher has looked at the kernel.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/mesh_model.h"
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

using MeshClaims = test::MeshTest;

// --- keys ---

TEST_F(MeshClaims, ANewKeyIsProvenWithoutAllowedIpsThenTheyMoveInOneMessage) {
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

TEST_F(MeshClaims, APeerThatGoesBackToAnOldKeyProvesItAfresh) {
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

TEST_F(MeshClaims, ANewcomerWithAProvenPeersKeyIsRefusedAndTheVictimSeesNothing) {
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

TEST_F(MeshClaims, AKeyStillInUseIsNotGivenToANewcomerWhileItsOwnerChangesKeys) {
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

TEST_F(MeshClaims, AKeyThatMovesToAnotherNodeInOneBatchIsProvenAfreshWhateverTheNames) {
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

TEST_F(MeshClaims, WithNoneProvenAllClaimantsOfAKeyAreRefusedUntilOneIsLeft) {
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

TEST_F(MeshClaims, MyOwnKeyFromAnotherNodeIsADuplicate) {
  world.put(node("b", 2).key(1));
  world.settle();
  EXPECT_EQ(world.reason("b"), Reason::kDuplicatePublicKey);
  EXPECT_THAT(world.kernel.peers(), IsEmpty());
}

TEST_F(MeshClaims, TheAllZeroKeyAndAnInvalidOneCostThatKeyOnly) {
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

TEST_F(MeshClaims, AnEqualPrefixOfANewcomerIsRefusedAndBothKeepTheirStates) {
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

TEST_F(MeshClaims, AMoreSpecificPrefixThatLivesElsewhereWins) {
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

TEST_F(MeshClaims, APrefixOverAnotherNodesAddressIsRefusedAndTheOtherSeesNothing) {
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

TEST_F(MeshClaims, AnEndpointInsideTheMeshIsRefusedAndTheIncumbentSeesNothing) {
  encrypted_node("b", 2);
  world.put(node("c", 3).endpoint("10.2.0.7:51820"));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_EQ(world.reason("c"), Reason::kNoEndpoint);
  EXPECT_THAT(world.peer("c").warnings(), Contains(HasSubstr("inside the mesh")));
}

TEST_F(MeshClaims, AnEndpointOfThisHostIsRefused) {
  world.put(node("c", 3).endpoint("10.1.0.1:51820"));
  world.settle();
  EXPECT_EQ(world.reason("c"), Reason::kNoEndpoint);
}

TEST_F(MeshClaims,
       AnAddressOfThisHostThatComesAndGoesConcernsOnlyWhoClaimsItOrHasItsEndpointThere) {
  world.kernel.answer(key(2));
  world.put(node("b", 2));
  world.put(node("c", 3).endpoint("198.51.100.3:51820"));
  world.put(node("d", 4));
  world.settle();
  ASSERT_EQ(world.model->to_decide(), 0U);
  const auto here = [&](const char* address, bool there) {
    if (there)
      world.local.host_addresses.insert(ip(address));
    else
      world.local.host_addresses.erase(ip(address));
    world.model->set_local(world.local, world.now());
    const std::size_t looked_at = world.model->to_decide();
    world.settle();
    EXPECT_THAT(world.left_to_do(), IsEmpty());
    return looked_at;
  };
  const auto refused = [&](const std::string& name) {
    return !world.peer(name).warnings().empty();
  };
  EXPECT_EQ(here("10.96.0.10", true), 0U) << "a service's address that means nobody here";
  EXPECT_EQ(here("10.96.0.10", false), 0U);
  EXPECT_EQ(here("198.51.100.3", true), 1U);
  EXPECT_EQ(world.reason("c"), Reason::kNoEndpoint);
  EXPECT_EQ(here("198.51.100.3", false), 1U);
  EXPECT_EQ(world.state("c"), State::kPending);
  EXPECT_EQ(here("10.4.0.10", true), 1U);
  EXPECT_TRUE(refused("d") && !refused("b")) << "its prefix covers an address of this host";
  EXPECT_EQ(here("10.4.0.10", false), 1U);
  EXPECT_FALSE(refused("d"));
  EXPECT_EQ(here("192.0.2.4", true), 1U);
  EXPECT_TRUE(refused("d")) << "its address is this host's";
  EXPECT_EQ(here("192.0.2.4", false), 1U);
  EXPECT_EQ(here("10.1.0.0", true), 3U) << "the first address in my prefix is the routes' source";
  EXPECT_EQ(here("192.0.2.1", false), 3U) << "my own underlay address is, too";
  world.local.host_addresses.insert(ip("192.0.2.1"));
}

TEST_F(MeshClaims, AnEndpointOfAFamilyIDoNotHaveIsPassedOver) {
  world.put(node("c", 3).endpoint("[2001:db8::3]:51820,192.0.2.3:51821"));
  world.settle();
  EXPECT_EQ(world.kernel.peers().at(key(3)).endpoint, endpoint("192.0.2.3:51821"));
  world.put(node("c", 3).endpoint("[2001:db8::3]:51820"));
  world.settle();
  EXPECT_EQ(world.reason("c"), Reason::kNoEndpoint);
}

TEST_F(MeshClaims, MyOwnUnderlayAddressThatFlapsTakesNothingFromAProvenPeer) {
  encrypted_node("b", 2);
  world.local.addresses = {ip("2001:db8::1")};
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_EQ(world.kernel.peers().at(key(2)).endpoint, endpoint("192.0.2.2:51820"));
}

TEST_F(MeshClaims, WithoutIpv6InTheKernelIpv6PrefixesAreLeftAlone) {
  world.local.ipv6 = false;
  encrypted_node("b", 2);
  for (const auto& [key, route] : world.kernel.routes())
    EXPECT_EQ(key.destination.family(), Family::kIpv4) << key.destination.to_string();
  for (const Rule& rule : world.kernel.rules()) EXPECT_EQ(rule.family, Family::kIpv4);
}

// --- records ---

TEST_F(MeshClaims, AnUnreadableRecordOfAKnownNodeKeepsItsLastGoodVersion) {
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

TEST_F(MeshClaims, AnUnreadableRecordOfAnUnknownNodeIsNoPeer) {
  world.put_bad("b");
  world.settle();
  EXPECT_FALSE(world.has_peer("b"));
  EXPECT_TRUE(world.model->refused().contains("b"));
  world.remove("b");
  EXPECT_FALSE(world.model->refused().contains("b"));
}

TEST_F(MeshClaims, AnUnreadableRecordInACompleteListDoesNotThrowAKnownNodeOut) {
  encrypted_node("b", 2);
  world.put_bad("b");
  world.store_answers();
  world.settle();
  EXPECT_EQ(world.path("b"), Path::kWireguard);
}

TEST_F(MeshClaims, MyOwnRecordIsNoPeer) {
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

TEST_F(MeshClaims, ADeletedRecordUnderPreferLeavesTheMesh) {
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

TEST_F(MeshClaims, ADeletedRecordUnderRequireStaysBlockedUntilClaimedAgain) {
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

TEST_F(MeshClaims, WhatIsBlockedGoesToTheNextNodeThatClaimsIt) {
  for (const char* name : {"b", "c"}) {
    world.put(node(name, name[0] - 'a' + 1).no_key().mode("require"));
    world.settle();
    world.remove(name);
  }
  world.settle();
  ASSERT_EQ(world.reason("b"), Reason::kNoRecord);
  // The next machine gets the prefix and the address, under a key of its own.
  auto next = node("d", 4);
  next.cidrs = node("b", 2).cidrs;
  next.addresses = node("b", 2).addresses;
  world.kernel.answer(key(4));
  world.put(next);
  world.settle();
  EXPECT_EQ(world.state("d"), State::kEncrypted);
  EXPECT_THAT(world.peer("d").warnings(), IsEmpty());
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnicast);
  // A wider claim is not meant for what is blocked, proven or not.
  auto wide = node("e", 5);
  wide.cidrs = {cidr("10.0.0.0/8")};
  wide.addresses = {ip("198.51.100.5")};
  world.kernel.answer(key(5));
  world.put(wide);
  world.settle();
  EXPECT_EQ(world.way_to("10.3.0.9"), RouteType::kUnreachable);
}

TEST_F(MeshClaims, ABlockedNodeUnderAnotherNameKeepsItsKey) {
  world.kernel.answer(key(2));
  world.put(node("b", 2).mode("require"));
  world.settle();
  world.remove("b");
  world.settle();
  ASSERT_EQ(world.reason("b"), Reason::kNoRecord);
  auto renamed = node("b2", 2);
  world.put(renamed.mode("require"));
  world.settle();
  EXPECT_EQ(world.path("b2"), Path::kDrop) << "sessions from before its withdrawal are no proof";
  for (int i = 0; i < 30; ++i) world.wait(seconds(1));
  EXPECT_EQ(world.state("b2"), State::kEncrypted) << to_string(world.reason("b2"));
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnicast);
}

TEST_F(MeshClaims, AnUnreadableRecordAfterARestartLeavesWhatTheEarlierRunKnew) {
  world.put(node("b", 2).no_key().mode("require"));
  world.settle();
  const MeshModel::Remembered earlier{world.peer("b").entry(), {}, false, {}};
  world.put_bad("b");
  world.restart(true);
  world.model->remember({earlier});
  world.store_answers();
  world.settle();
  ASSERT_TRUE(world.has_peer("b"));
  EXPECT_EQ(world.path("b"), Path::kDrop);
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnreachable);
  EXPECT_FALSE(world.peer("b").bad_record().empty());
  EXPECT_TRUE(world.model->refused().empty());
}

TEST_F(MeshClaims, WhatWasBlockedOnlyByMyOwnRequireIsReleasedWithIt) {
  world.local.mode = Mode::kRequire;
  encrypted_node("b", 2);
  world.remove("b");
  world.settle();
  ASSERT_EQ(world.reason("b"), Reason::kNoRecord);
  world.local.mode = Mode::kPrefer;
  world.settle();
  EXPECT_FALSE(world.has_peer("b"));
}

TEST_F(MeshClaims, UnderRequireAPeerWithoutAKeyIsBlockedAndAPendingOneDropped) {
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

}  // namespace
}  // namespace mesh
