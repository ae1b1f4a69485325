// What failed waits, everything else goes on.
#include "meshd/daemon/held_back.h"

#include <gmock/gmock.h>

#include "core/world.h"

namespace mesh::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Operation peer_of(const std::string& name, int n, bool kick = false) {
  WgPeerChange change;
  change.key = key(n);
  change.kick = kick;
  return {name, ChangePeer{change}};
}

Operation route_of(const std::string& name, const char* prefix) {
  Route route;
  route.key = {kTableW, cidr(prefix), 0};
  return {name, PutRoute{route}};
}

const Operation kDevice{"", ConfigureDevice{{true, std::nullopt, std::nullopt}}};
const Operation kLink{"", ConfigureLink{0, true}};
const Operation kRuleset{"inet meshd", InstallRuleset{}};

class HeldBackTest : public ::testing::Test {
 protected:
  // One pass; whatever is of `failing` fails. Returns what was tried.
  Plan pass(const Plan& plan, const Plan& failing, ErrorCode code = ErrorCode::kIo) {
    const Plan released = held.release(plan, now);
    std::vector<Result<void>> results;
    for (const Operation& operation : released) {
      const bool fails = std::find(failing.begin(), failing.end(), operation) != failing.end();
      results.push_back(fails ? Result<void>(Error{code, "it failed"}) : Result<void>());
    }
    tried_and_failed = held.note(released, results, now).size();
    return released;
  }

  HeldBack held;
  MonotonicTime now{std::chrono::hours(1)};
  std::size_t tried_and_failed = 0;
};

TEST_F(HeldBackTest, HoldsNothingAtFirst) {
  const Plan plan{peer_of("b", 2), route_of("b", "10.2.0.0/24")};
  EXPECT_EQ(pass(plan, {}), plan);
  EXPECT_FALSE(held.next());
  EXPECT_TRUE(held.touched().empty());
  EXPECT_TRUE(held.only_counting());
}

TEST_F(HeldBackTest, AFailedOperationWaitsWithWhatFollowsForItsNodeAndTheOthersGoOn) {
  const Plan plan{peer_of("b", 2), peer_of("c", 3), route_of("b", "10.2.0.0/24"),
                  route_of("c", "10.3.0.0/24")};
  (void)pass(plan, {plan[0]});
  EXPECT_THAT(pass(plan, {}), ElementsAre(plan[1], plan[3]));
  EXPECT_TRUE(held.touched().peers.contains(key(2)));
  EXPECT_TRUE(held.touched().routes.contains(std::get<PutRoute>(plan[2].act).route.key))
      << "or the next plan would not have it";
  now = *held.next();
  EXPECT_EQ(pass(plan, {}), plan);
  EXPECT_THAT(held.problems(), IsEmpty());
}

TEST_F(HeldBackTest, WhatComesBeforeTheFailedOneOfItsNodeGoesOn) {
  const Plan plan{route_of("b", "10.2.0.0/24"), peer_of("b", 2)};
  (void)pass(plan, {plan[1]});
  EXPECT_THAT(pass(plan, {}), ElementsAre(plan[0]));
}

TEST_F(HeldBackTest, AHandshakeDoesNotOvertakeThePeerItIsFor) {
  const Plan plan{peer_of("b", 2), peer_of("b", 2, true)};
  (void)pass(plan, {plan[0]});
  EXPECT_THAT(pass(plan, {}), IsEmpty());
}

TEST_F(HeldBackTest, ANewOperationIsTriedAtOnce) {
  (void)pass({peer_of("b", 2)}, {peer_of("b", 2)});
  EXPECT_THAT(pass({peer_of("b", 22)}, {}), SizeIs(1));
  EXPECT_THAT(held.problems(), IsEmpty());
}

TEST_F(HeldBackTest, WhatIsNotWantedAnyMoreIsNoProblemAnyMore) {
  (void)pass({peer_of("b", 2)}, {peer_of("b", 2)});
  EXPECT_THAT(held.problems(), SizeIs(1));
  (void)pass({}, {});
  EXPECT_THAT(held.problems(), IsEmpty());
  EXPECT_FALSE(held.next());
}

TEST_F(HeldBackTest, ThePausesGrowToHalfAMinute) {
  const Plan plan{peer_of("b", 2)};
  std::vector<Duration> pauses;
  for (int i = 0; i < 12; ++i) {
    (void)pass(plan, plan);
    pauses.push_back(*held.next() - now);
    now = *held.next();
  }
  EXPECT_EQ(pauses.front(), milliseconds(200));
  EXPECT_EQ(pauses[1], milliseconds(400));
  EXPECT_EQ(pauses.back(), seconds(30));
}

TEST_F(HeldBackTest, WhatWasNotTriedIsNoFailureOfItsOwn) {
  const Plan plan{peer_of("b", 2), route_of("b", "10.2.0.0/24")};
  (void)pass(plan, plan, ErrorCode::kUnavailable);
  EXPECT_EQ(tried_and_failed, 1U);
  EXPECT_THAT(held.problems(), SizeIs(1));
  EXPECT_TRUE(held.problems().contains("change-peer b"));
}

TEST_F(HeldBackTest, TheDevicesOperationsWaitEachForItself) {
  const Plan plan{kDevice, kLink};
  (void)pass(plan, {kDevice});
  EXPECT_EQ(held.device_problem(), "it failed");
  EXPECT_THAT(pass(plan, {}), ElementsAre(kLink));
  now = *held.next();
  (void)pass(plan, {});
  EXPECT_EQ(held.device_problem(), "");
}

TEST_F(HeldBackTest, NftablesWaitAsAWholeWhenTheTableCannotBeMade) {
  (void)pass({kRuleset, peer_of("b", 2)}, {kRuleset});
  EXPECT_TRUE(held.nftables_wait(now));
  EXPECT_TRUE(held.only_counting());
  (void)pass({peer_of("b", 2)}, {});
  EXPECT_TRUE(held.problems().contains("nftables")) << "it was not even planned";
  now = *held.next();
  EXPECT_FALSE(held.nftables_wait(now));
  (void)pass({kRuleset}, {});
  EXPECT_THAT(held.problems(), IsEmpty());
}

TEST_F(HeldBackTest, AfterRulesThatCouldNotBeReplacedNothingOfTheTableWaits) {
  const Operation rules{"inet meshd", InstallRuleset{{}, true}};
  const Operation element{"inet meshd",
                          PutElement{{NftSet::kOwn, {ip("10.0.0.1"), ip("10.0.0.1")}}}};
  (void)pass({rules, element}, {rules, element}, ErrorCode::kUnavailable);
  EXPECT_EQ(tried_and_failed, 0U);
  EXPECT_THAT(held.problems(), IsEmpty());
  EXPECT_THAT(pass({kRuleset, element}, {}), ElementsAre(kRuleset, element))
      << "the table is made anew, with all of its elements";
}

TEST_F(HeldBackTest, OneElementThatFailsHoldsUpNoOther) {
  const auto element = [](const char* address) {
    return Operation{"inet meshd", PutElement{{NftSet::kOwn, {ip(address), ip(address)}}}};
  };
  const Plan plan{element("10.0.0.1"), element("10.0.0.2")};
  (void)pass(plan, {plan[0]});
  EXPECT_THAT(pass(plan, {}), ElementsAre(plan[1]));
  EXPECT_TRUE(held.touched().elements.contains(std::get<PutElement>(plan[0].act).element));
}

}  // namespace
}  // namespace mesh::test
