// A new process over a running data path, and prefixes that move between peers of every kind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "world.h"

namespace mesh {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using test::cidr;
using test::ip;
using test::key;
using test::node;
using test::World;
using ::testing::IsEmpty;

// --- restart ---

class Restart : public test::MeshTest {
 protected:
  void SetUp() override {
    encrypted_node("b", 2);
    encrypted_node("c", 3);
    world.put(node("d", 4).no_key());
    world.put(node("e", 5).no_key().mode("require"));
    auto no_prefixes = node("f", 6);
    no_prefixes.cidrs.clear();
    world.kernel.answer(key(6));
    world.put(no_prefixes);
    world.settle();
    ASSERT_EQ(world.state("f"), State::kEncrypted);
  }
};

TEST_F(Restart, AnAdoptedCorrectDataPathSeesNoWriteAtAll) {
  world.wait(seconds(30));
  world.kernel.forget();
  world.restart();
  world.settle();
  EXPECT_THAT(world.kernel.executed(), IsEmpty());
  for (const char* name : {"b", "c", "f"}) EXPECT_EQ(world.state(name), State::kEncrypted) << name;
}

TEST_F(Restart, AlsoAfterDaysWithoutTraffic) {
  world.clock.advance(hours(72));
  world.kernel.forget();
  world.restart();
  world.settle();
  EXPECT_THAT(world.kernel.executed(), IsEmpty());
}

TEST_F(Restart, TheHandshakeOfAPeerThatNothingWasSentToIsNoProofAnyMore) {
  // Under `off` the peers threw my key away, and the device keeps what it had.
  world.local.mode = Mode::kOff;
  world.settle();
  ASSERT_EQ(world.path("b"), Path::kPlaintext);
  world.clock.advance(seconds(90));
  world.kernel.answer(key(2), false);
  world.local.mode = Mode::kPrefer;
  world.restart();
  world.wait(seconds(1));
  EXPECT_EQ(world.state("b"), State::kPending);
  EXPECT_EQ(world.path("b"), Path::kPlaintext);
  world.kernel.answer(key(2));
  world.wait(seconds(60));
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST_F(Restart, WhileTheStoreIsOutNothingIsRemovedOrReplaced) {
  world.kernel.forget();
  const auto routes = world.kernel.routes();
  const auto peers = world.kernel.peers();
  const auto elements = world.kernel.elements();
  world.restart(true);
  world.wait(hours(1));
  EXPECT_EQ(world.kernel.routes(), routes);
  EXPECT_EQ(world.kernel.peers(), peers);
  EXPECT_EQ(world.kernel.elements(), elements);
  EXPECT_THAT(world.kernel.executed(), IsEmpty());
  world.store_answers();
  world.settle();
  EXPECT_THAT(world.kernel.executed(), IsEmpty());
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST_F(Restart, BeforeTheStoreHasAnsweredChangedOwnFactsAddButDoNotRemove) {
  world.local.cidrs = {cidr("10.1.0.0/25"), cidr("fd00:1::/64")};
  world.restart(true);
  world.settle();
  EXPECT_TRUE(world.kernel.elements().contains({NftSet::kOwn, {ip("10.1.0.0"), ip("10.1.0.127")}}));
  EXPECT_TRUE(world.kernel.routes().contains({test::kTableW, cidr("10.1.0.0/24"), 0}))
      << "nothing is removed yet";
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnicast);
  world.store_answers();
  world.settle();
  EXPECT_FALSE(world.kernel.routes().contains({test::kTableW, cidr("10.1.0.0/24"), 0}));
}

TEST_F(Restart, WithTheDeviceGoneAndTheGuardsStandingTheyStayOnWireguard) {
  world.kernel.answer(key(2), false);
  world.kernel.delete_device();
  world.restart();
  world.settle();
  EXPECT_EQ(world.path("b"), Path::kWireguard);
  EXPECT_EQ(world.state("b"), State::kDegraded);
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnicast);
  EXPECT_EQ(world.state("c"), State::kEncrypted) << "it answered again";
  EXPECT_EQ(world.state("d"), State::kPlaintext);
  world.kernel.handshake(key(2));
  world.settle();
}

TEST_F(Restart, APrefixThatMovedMeanwhileToAnUnprovenNodeIsNotTakenForProven) {
  auto b = node("b", 2);
  b.cidrs = {};
  auto g = node("g", 7);
  g.cidrs = {cidr("10.2.0.0/24")};
  world.put(b);
  world.put(g);
  world.restart();
  world.settle();
  EXPECT_EQ(world.state("g"), State::kPending);
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kThrow);
}

TEST_F(Restart, AKeyChangedMeanwhileIsProvenBesideTheOneThatRuns) {
  world.put(node("b", 2).key(12));
  world.restart();
  world.settle();
  EXPECT_EQ(world.path("b"), Path::kWireguard);
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(2));
  world.kernel.handshake(key(12));
  world.settle();
  EXPECT_EQ(world.kernel.allowed_to(cidr("10.2.0.0/24")), key(12));
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST_F(Restart, WhoHeldAPrefixOrAKeyBeforeKeepsIt) {
  auto rival = node("aa", 8);
  rival.cidrs = {cidr("10.2.0.0/24")};
  world.put(rival.key(3));
  world.settle();
  ASSERT_EQ(world.reason("aa"), Reason::kDuplicatePublicKey);
  world.kernel.forget();
  world.restart();
  world.settle();
  EXPECT_THAT(world.kernel.executed(), IsEmpty());
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_EQ(world.state("c"), State::kEncrypted);
  EXPECT_EQ(world.reason("aa"), Reason::kDuplicatePublicKey);
}

TEST_F(Restart, WhatLeftMeanwhileIsTakenDown) {
  world.remove("b");
  world.restart();
  world.settle();
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kOther);
  EXPECT_TRUE(world.kernel.peers().contains(key(2))) << "it may not know yet";
  world.wait(seconds(61));
  EXPECT_FALSE(world.kernel.peers().contains(key(2)));
}

// --- moved prefixes ---

// How a node is when a prefix leaves it, or comes to it.
enum class Kind { kProven, kPending, kNoKey, kProvenRequired, kPendingRequired, kBlocked };
const Kind kKinds[] = {Kind::kProven,         Kind::kPending,         Kind::kNoKey,
                       Kind::kProvenRequired, Kind::kPendingRequired, Kind::kBlocked};

RouteType way_of(Kind kind) {
  switch (kind) {
    case Kind::kProven:
    case Kind::kProvenRequired:
      return RouteType::kUnicast;
    case Kind::kPending:
    case Kind::kNoKey:
      return RouteType::kThrow;
    default:
      return RouteType::kUnreachable;
  }
}

test::RecordOf record_of(const std::string& name, int n, Kind kind, World& world) {
  auto record = node(name, n);
  world.kernel.answer(key(n), kind == Kind::kProven || kind == Kind::kProvenRequired);
  if (kind == Kind::kNoKey || kind == Kind::kBlocked) record.no_key();
  if (kind == Kind::kProvenRequired || kind == Kind::kPendingRequired || kind == Kind::kBlocked)
    record.mode("require");
  return record;
}

TEST(MovedPrefix, BetweenPeersOfEveryKindIsNeverInNobodysHandsAndNeverInClearBeforeItMay) {
  const Cidr moving = cidr("10.99.0.0/24");
  for (const Kind from : kKinds)
    for (const Kind to : kKinds)
      for (const bool forwards : {true, false})
        for (const bool one_batch : {true, false}) {
          SCOPED_TRACE(testing::Message()
                       << static_cast<int>(from) << " to " << static_cast<int>(to)
                       << (forwards ? "" : ", names reversed")
                       << (one_batch ? "" : ", in two batches"));
          World world;
          auto old_owner = record_of(forwards ? "b" : "c", 2, from, world);
          auto new_owner = record_of(forwards ? "c" : "b", 3, to, world);
          old_owner.cidrs.push_back(moving);
          world.put(old_owner);
          world.put(new_owner);
          world.settle();
          ASSERT_EQ(world.way_to("10.99.0.1"), way_of(from));
          std::erase(old_owner.cidrs, moving);
          new_owner.cidrs.push_back(moving);
          world.put(new_owner);
          if (!one_batch) {
            world.settle();
            ASSERT_EQ(world.way_to("10.99.0.1"), way_of(from)) << "the incumbent keeps it";
          }
          world.put(old_owner);
          world.settle();
          EXPECT_EQ(world.way_to("10.99.0.1"), way_of(to));
          const bool has_key = to != Kind::kNoKey && to != Kind::kBlocked;
          EXPECT_EQ(world.kernel.allowed_to(moving),
                    has_key ? std::optional(key(3)) : std::nullopt);
          EXPECT_THAT(world.watcher->made(), IsEmpty());
          EXPECT_THAT(world.left_to_do(), IsEmpty());
        }
}

}  // namespace
}  // namespace mesh
