// What a record loses while its pair is encrypted: nothing of it is sent in plaintext before
// another node has claimed it or the grace is over, whatever the order of the news.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>

#include "world.h"

namespace mesh {
namespace {

using std::chrono::seconds;
using test::cidr;
using test::ip;
using test::key;
using test::node;
using test::World;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const Cidr kMoving = cidr("10.77.0.0/24");
constexpr const char* kInside = "10.77.0.9";

class Grace : public test::MeshTest {
 protected:
  static test::RecordOf with(test::RecordOf record, std::vector<Cidr> more = {kMoving}) {
    record.cidrs.insert(record.cidrs.end(), more.begin(), more.end());
    return record;
  }
  void SetUp() override {
    encrypted_node("b", 2);
    encrypted_node("c", 3);
    world.put(with(node("b", 2)));
    world.settle();
    ASSERT_EQ(world.way_to(kInside), RouteType::kUnicast);
  }
  // Whose key would be used for it.
  std::optional<PublicKey> owner() { return world.kernel.allowed_to(kMoving); }
  bool is_own(const Cidr& prefix) {
    return world.kernel.elements().contains({NftSet::kOwn, {prefix.base(), prefix.last()}});
  }
  bool has_host_rule(const Cidr& prefix) {
    return std::any_of(world.kernel.rules().begin(), world.kernel.rules().end(),
                       [&](const Rule& rule) { return rule.source == prefix; });
  }
};

// --- prefixes ---

TEST_F(Grace, AWithdrawnPrefixStaysWithItsEncryptedPeerForAWhileAndIsReported) {
  world.kernel.forget();
  world.put(node("b", 2));
  world.pass();
  EXPECT_THAT(world.kernel.executed(), IsEmpty()) << "nothing changes for its packets";
  EXPECT_THAT(world.peer("b").warnings(), Contains(HasSubstr("10.77.0.0/24 is in its record no")));
  world.wait(seconds(9) - seconds(1));
  EXPECT_EQ(world.way_to(kInside), RouteType::kUnicast);
  world.wait(seconds(3));
  EXPECT_EQ(world.way_to(kInside), RouteType::kOther) << "the main table decides";
  EXPECT_EQ(owner(), std::nullopt);
  EXPECT_THAT(world.peer("b").warnings(), IsEmpty());
}

TEST_F(Grace, APrefixThatIsBackInTimeWasNeverAway) {
  world.kernel.forget();
  world.put(node("b", 2));
  world.wait(seconds(5));
  world.put(with(node("b", 2)));
  world.wait(seconds(20));
  EXPECT_THAT(world.kernel.executed(), IsEmpty());
  EXPECT_EQ(owner(), key(2));
}

TEST_F(Grace, ANewOwnerTakesItAtOnce) {
  world.put(node("b", 2));
  world.settle();
  world.put(with(node("c", 3)));
  world.pass();
  EXPECT_EQ(owner(), key(3));
  EXPECT_EQ(world.way_to(kInside), RouteType::kUnicast);
  EXPECT_THAT(world.peer("b").warnings(), IsEmpty()) << "it lost nothing that it claims";
}

TEST_F(Grace, ANewOwnerWithoutWireguardTakesItAsWell) {
  world.put(node("b", 2));
  world.settle();
  world.put(with(node("d", 4)).no_key());
  world.pass();
  EXPECT_EQ(world.way_to(kInside), RouteType::kThrow);
}

TEST_F(Grace, AWiderClaimTakesItOnlyWhereItsPairIsEncrypted) {
  auto wide = with(node("d", 4), {cidr("10.76.0.0/15")}).no_key();
  world.put(wide);
  world.settle();
  world.put(node("b", 2));
  world.settle();
  EXPECT_EQ(owner(), key(2)) << "what was encrypted would be so no more";
  world.kernel.answer(key(4));
  wide.key(4);
  world.put(wide);
  world.settle();
  ASSERT_EQ(world.state("d"), State::kEncrypted);
  EXPECT_EQ(owner(), std::nullopt);
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.76.0.0/15")), key(4));
  EXPECT_EQ(world.way_to(kInside), RouteType::kUnicast);
}

TEST_F(Grace, MyOwnClaimTakesItAtOnce) {
  world.put(node("b", 2));
  world.settle();
  world.local.cidrs.push_back(cidr("10.77.0.0/16"));
  world.settle();
  EXPECT_EQ(owner(), std::nullopt);
  EXPECT_EQ(world.way_to(kInside), RouteType::kThrow);
}

TEST_F(Grace, WhoWithdrawsItsKeyKeepsNothing) {
  world.put(node("b", 2).no_key());
  world.pass();
  EXPECT_EQ(world.way_to(kInside), RouteType::kOther);
  EXPECT_FALSE(world.peer("b").lingers());
}

TEST_F(Grace, WhoWithdrawsItsKeyMeanwhileKeepsNothingEither) {
  world.put(node("b", 2));
  world.settle();
  world.put(node("b", 2).no_key());
  world.pass();
  EXPECT_EQ(world.way_to(kInside), RouteType::kOther);
}

TEST_F(Grace, APrefixOfABlockedPeerStaysBlocked) {
  world.put(with(node("d", 4), {cidr("10.78.0.0/24")}).mode("require").no_key());
  world.settle();
  ASSERT_EQ(world.way_to("10.78.0.9"), RouteType::kUnreachable);
  world.put(node("d", 4).mode("require").no_key());
  world.settle();
  EXPECT_EQ(world.way_to("10.78.0.9"), RouteType::kUnreachable);
  world.wait(seconds(11));
  EXPECT_EQ(world.way_to("10.78.0.9"), RouteType::kOther);
}

TEST_F(Grace, AnAddressInsideAWithdrawnPrefixIsAcceptedElsewhere) {
  world.put(node("b", 2));
  world.settle();
  auto moved = node("d", 4);
  moved.addresses = {ip(kInside)};
  world.put(moved);
  world.settle();
  EXPECT_THAT(world.peer("d").warnings(), IsEmpty());
}

// --- records ---

TEST_F(Grace, AVanishedRecordOfAnEncryptedPeerChangesNothingAtOnce) {
  world.kernel.forget();
  world.remove("b");
  world.settle();
  EXPECT_THAT(world.kernel.executed(), IsEmpty());
  EXPECT_EQ(world.decision("b"),
            (Decision{State::kEncrypted, Reason::kNoRecord, Path::kWireguard}));
  EXPECT_THAT(world.peer("b").warnings(), Contains(HasSubstr("its record is gone")));
  world.put(with(node("b", 2)));
  world.wait(seconds(20));
  EXPECT_THAT(world.kernel.executed(), IsEmpty());
  EXPECT_EQ(world.decision("b"), (Decision{State::kEncrypted, Reason::kNone, Path::kWireguard}));
}

TEST_F(Grace, AVanishedRecordThatDoesNotReturnIsForgotten) {
  world.remove("b");
  world.wait(seconds(5));
  // A store that says so again does not prolong it.
  world.store_answers();
  world.wait(seconds(6));
  EXPECT_FALSE(world.has_peer("b"));
  EXPECT_EQ(world.way_to(kInside), RouteType::kOther);
}

TEST_F(Grace, AnOrderlyLeaveIsNotHeldBack) {
  world.put(with(node("b", 2)).no_key());
  world.settle();
  world.remove("b");
  world.pass();
  EXPECT_FALSE(world.has_peer("b"));
}

TEST_F(Grace, AnOrderlyLeaveThatIsHeardInOnePieceIsNotHeldBack) {
  world.put(with(node("b", 2)).no_key());
  world.remove("b");
  world.pass();
  EXPECT_FALSE(world.has_peer("b"));
  EXPECT_EQ(world.way_to(kInside), RouteType::kOther);
}

TEST_F(Grace, APeerThatWasNotEncryptedIsForgottenAtOnce) {
  world.put(node("d", 4));
  world.settle();
  ASSERT_EQ(world.state("d"), State::kPending);
  world.remove("d");
  world.pass();
  EXPECT_FALSE(world.has_peer("d"));
}

TEST_F(Grace, WhatAVanishedRecordHadIsAnybodysToClaim) {
  world.remove("b");
  world.settle();
  auto heir = with(node("c", 3), {kMoving, cidr("10.2.0.0/24")});
  heir.addresses.push_back(ip("192.0.2.2"));
  world.put(heir);
  world.pass();
  EXPECT_EQ(owner(), key(3));
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(3));
  EXPECT_EQ(world.kernel.allowed_to(cidr("192.0.2.2/32")), key(3));
  EXPECT_EQ(world.kernel.allowed_to(cidr("fd00:2::/64")), key(2)) << "this nobody has claimed";
  EXPECT_THAT(world.peer("c").warnings(), IsEmpty());
}

TEST_F(Grace, ANodeThatReturnsUnderAnotherNameIsThatNode) {
  world.remove("b");
  world.put(node("x", 2));
  world.pass();
  EXPECT_FALSE(world.has_peer("b"));
  EXPECT_EQ(world.reason("x"), Reason::kHandshaking);
}

TEST_F(Grace, ANodeThatHadAnotherNameBeforeItsRecordWentIsThatNode) {
  world.put(node("x", 2));
  world.settle();
  ASSERT_EQ(world.reason("x"), Reason::kDuplicatePublicKey);
  world.remove("b");
  world.pass();
  EXPECT_FALSE(world.has_peer("b"));
  EXPECT_EQ(world.reason("x"), Reason::kHandshaking);
}

TEST_F(Grace, AnUnreadableRecordInPlaceOfAVanishedOneKeepsTheLastGoodVersion) {
  world.remove("b");
  world.settle();
  world.put_bad("b");
  world.wait(seconds(30));
  EXPECT_EQ(world.decision("b"),
            (Decision{State::kEncrypted, Reason::kInvalidRecord, Path::kWireguard}));
}

TEST_F(Grace, AModeThatTurnsToRequireMeanwhileBlocksIt) {
  world.remove("b");
  world.settle();
  world.local.mode = Mode::kRequire;
  world.wait(seconds(11));
  EXPECT_EQ(world.decision("b"), (Decision{State::kBlocked, Reason::kNoRecord, Path::kDrop}));
  world.local.mode = Mode::kPrefer;
  world.settle();
}

// --- a restart ---

TEST_F(Grace, APrefixThatWasWithdrawnWhileNobodyLookedIsKeptAsWell) {
  world.kernel.forget();
  world.put(node("b", 2));
  world.restart();
  world.settle();
  EXPECT_THAT(world.kernel.executed(), IsEmpty());
  EXPECT_EQ(owner(), key(2));
  world.wait(seconds(11));
  EXPECT_EQ(world.way_to(kInside), RouteType::kOther);
}

TEST_F(Grace, ARestartInTheGraceOpensNothingBeforeTheStoreHasAnswered) {
  world.put(node("b", 2));
  world.settle();
  world.restart(true);
  world.wait(seconds(100));
  EXPECT_EQ(world.way_to(kInside), RouteType::kUnicast);
  world.store_answers();
  world.settle();
  EXPECT_EQ(world.way_to(kInside), RouteType::kUnicast) << "a new grace has begun";
  world.wait(seconds(11));
}

// --- my own ---

TEST_F(Grace, WhatComesFromAPrefixThatWasMineIsNoOutsideClientsUntilThePeersHaveHeard) {
  const Cidr mine = cidr("10.99.0.0/24");
  world.local.cidrs.push_back(mine);
  world.settle();
  ASSERT_TRUE(is_own(mine));
  world.local.cidrs.pop_back();
  world.settle();
  EXPECT_TRUE(is_own(mine));
  EXPECT_TRUE(has_host_rule(mine));
  EXPECT_EQ(world.way_to("10.99.0.9"), RouteType::kOther) << "its workloads may still be here";
  world.wait(seconds(14));
  EXPECT_TRUE(is_own(mine)) << "longer than the peers send here";
  world.wait(seconds(10));
  EXPECT_FALSE(is_own(mine));
  EXPECT_FALSE(has_host_rule(mine));
}

TEST_F(Grace, ANewOwnerOfAPrefixThatWasMineGetsItsPacketsThroughWireguard) {
  world.local.cidrs.push_back(cidr("10.99.0.0/24"));
  world.settle();
  world.local.cidrs.pop_back();
  world.put(with(node("c", 3), {cidr("10.99.0.0/24")}));
  world.settle();
  EXPECT_EQ(world.way_to("10.99.0.9"), RouteType::kUnicast);
  EXPECT_TRUE(is_own(cidr("10.99.0.0/24"))) << "what is still here sends into the mesh";
}

TEST_F(Grace, ARestartWithFewerPrefixesIsLikeAReload) {
  const Cidr mine = cidr("10.99.0.0/24");
  world.local.cidrs.push_back(mine);
  world.settle();
  world.local.cidrs.pop_back();
  world.restart();
  world.settle();
  EXPECT_TRUE(is_own(mine));
  world.wait(seconds(25));
  EXPECT_FALSE(is_own(mine));
}

TEST_F(Grace, EncryptedPeersAreNoGatewaysForWhatIsDecrypted) {
  const auto closed_hop = [&](const char* address) {
    return world.kernel.elements().contains({NftSet::kClosedHop, {ip(address), ip(address)}});
  };
  world.put(node("d", 4).no_key());
  world.put(node("e", 5).no_key().mode("require"));
  world.settle();
  EXPECT_TRUE(closed_hop("192.0.2.2"));
  EXPECT_FALSE(closed_hop("192.0.2.4"));
  EXPECT_TRUE(closed_hop("192.0.2.5")) << "nor blocked ones";
  world.put(node("c", 3).no_key());
  world.settle();
  EXPECT_FALSE(closed_hop("192.0.2.3"));
}

// --- order ---

struct News {
  std::string name;
  std::function<void(World&)> act;
};

// Every order of the news of a move, with and without a pass after each: its packets are never sent
// in plaintext, and the end is the same.
TEST(GraceOrder, EveryOrderOfTheNewsEndsAlikeAndNothingIsEverOpen) {
  const auto with = [](test::RecordOf record) {
    record.cidrs.push_back(kMoving);
    return record;
  };
  const std::array<News, 4> news{{
      {"b loses it", [](World& world) { world.put(node("b", 2)); }},
      {"c claims it", [&](World& world) { world.put(with(node("c", 3))); }},
      {"d vanishes", [](World& world) { world.remove("d"); }},
      {"d returns", [](World& world) { world.put(node("d", 4)); }},
  }};
  std::array<std::size_t, 4> order{0, 1, 2, 3};
  int histories = 0;
  do {
    const auto place = [&](std::size_t which) {
      return std::find(order.begin(), order.end(), which) - order.begin();
    };
    if (place(3) < place(2)) continue;  // of one node: in their order
    for (unsigned passes = 0; passes < 16; ++passes) {
      World world;
      for (const int n : {2, 3, 4}) world.kernel.answer(key(n));
      world.put(with(node("b", 2)));
      world.put(node("c", 3));
      world.put(node("d", 4));
      ASSERT_NO_FATAL_FAILURE(world.settle());
      ASSERT_EQ(world.way_to(kInside), RouteType::kUnicast);
      for (std::size_t i = 0; i < order.size(); ++i) {
        SCOPED_TRACE(news[order[i]].name);
        news[order[i]].act(world);
        if ((passes >> i & 1U) != 0) {
          ASSERT_NO_FATAL_FAILURE(world.settle());
        }
        ASSERT_EQ(world.way_to(kInside), RouteType::kUnicast);
        ASSERT_EQ(world.way_to("10.4.0.9"), RouteType::kUnicast);
      }
      ASSERT_NO_FATAL_FAILURE(world.settle());
      EXPECT_EQ(world.kernel.allowed_to(kMoving), key(3));
      world.wait(seconds(30));
      EXPECT_EQ(world.kernel.allowed_to(kMoving), key(3));
      EXPECT_EQ(world.kernel.allowed_to(cidr("10.4.0.0/24")), key(4));
      EXPECT_THAT(world.watcher->made(), IsEmpty());
      EXPECT_THAT(world.left_to_do(), IsEmpty());
      ++histories;
    }
  } while (std::next_permutation(order.begin(), order.end()));
  EXPECT_EQ(histories, 12 * 16);
}

}  // namespace
}  // namespace mesh
