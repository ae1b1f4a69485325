// A peer that was encrypted and withdraws: told under prefer, and held where withdrawing is not
// allowed, in every way a key can go, whatever the order of the news, and across restarts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "core/mesh_model.h"
#include "world.h"

namespace mesh {
namespace {

using std::chrono::seconds;
using test::cidr;
using test::key;
using test::node;
using test::World;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A record that vanishes under a key that stands is missed for so long before it counts.
constexpr Duration kGrace = Peer::kGrace + seconds(1);

struct WayToGo {
  const char* name;
  std::function<void(World&)> go;
  Reason cause;   // as it is reported
  Reason reason;  // of a peer that is held
};

test::RecordOf without_key() { return node("b", 2).no_key(); }

const std::vector<WayToGo> kWaysToGo{
    {"AnnotationRemoved", [](World& w) { w.put(without_key()); }, Reason::kNoPublicKey,
     Reason::kNoPublicKey},
    {"ModeOffWithoutKey", [](World& w) { w.put(without_key().mode("off")); }, Reason::kPolicy,
     Reason::kNoPublicKey},
    {"SupportNone",
     [](World& w) {
       auto record = without_key();
       record.annotations[std::string(kSupportAnnotation)] = "none: no module";
       w.put(record);
     },
     Reason::kPeerUnsupported, Reason::kPeerUnsupported},
    {"KeyInvalid", [](World& w) { w.put(node("b", 2).key_text("garbage")); },
     Reason::kInvalidPublicKey, Reason::kInvalidPublicKey},
    {"RecordDeleted", [](World& w) { w.remove("b"); }, Reason::kNoRecord, Reason::kNoRecord},
    {"RecordReplacedByOneWithoutAnnotations",
     [](World& w) {
       w.remove("b");
       w.put(without_key());
     },
     Reason::kNoPublicKey, Reason::kNoPublicKey},
};

LocalNode strict_node() {
  LocalNode local = test::local_node();
  local.allow_withdrawal = false;
  return local;
}

// What the snapshot of `world` says of b.
MeshModel::Remembered remembered(const World& world) {
  const Peer& peer = world.peer("b");
  return {peer.entry(), peer.memory(), peer.gone()};
}

void encrypt(World& world) {
  world.kernel.answer(key(2));
  world.put(node("b", 2));
  world.settle();
  ASSERT_EQ(world.state("b"), State::kEncrypted);
  world.kernel.answer(key(2), false);
}

void expect_closed(World& world, Reason reason) {
  EXPECT_EQ(world.decision("b"), (Decision{State::kBlocked, reason, Path::kDrop}));
  EXPECT_EQ(world.way_to("10.2.0.9"), RouteType::kUnreachable);
  EXPECT_EQ(world.way_to("fd00:2::9"), RouteType::kUnreachable);
  for (const NftSet set : {NftSet::kTxRequired, NftSet::kRxRequired})
    EXPECT_TRUE(world.desired.elements().contains(
        {set, {cidr("10.2.0.0/24").base(), cidr("10.2.0.0/24").last()}}))
        << "sockets bound to a device pass by routes";
  EXPECT_THAT(world.watcher->made(), IsEmpty());
  EXPECT_THAT(world.left_to_do(), IsEmpty());
}

class Withdrawal : public ::testing::TestWithParam<WayToGo> {};
INSTANTIATE_TEST_SUITE_P(EveryWay, Withdrawal, ::testing::ValuesIn(kWaysToGo),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(Withdrawal, UnderPreferIsToldWithTimeAndCause) {
  World world;
  encrypt(world);
  world.clock.advance(seconds(100));
  const WallTime before = world.now().wall;
  GetParam().go(world);
  world.wait(kGrace);
  if (!world.has_peer("b")) return;  // deleted: told in the log
  EXPECT_EQ(world.path("b"), Path::kPlaintext);
  const auto& downgrade = world.peer("b").memory().downgrade;
  if (std::string(GetParam().name) == "RecordReplacedByOneWithoutAnnotations") return;
  ASSERT_TRUE(downgrade);
  EXPECT_EQ(downgrade->cause, GetParam().cause);
  EXPECT_GE(downgrade->since, before);
}

TEST_P(Withdrawal, WhereItIsNotAllowedThePeerIsBlocked) {
  World world(strict_node());
  encrypt(world);
  GetParam().go(world);
  world.wait(kGrace);
  expect_closed(world, GetParam().reason);
  world.wait(std::chrono::hours(24 * 30));
  expect_closed(world, GetParam().reason);
}

TEST_P(Withdrawal, StaysBlockedAcrossARestart) {
  World world(strict_node());
  encrypt(world);
  GetParam().go(world);
  world.wait(kGrace);
  const MeshModel::Remembered earlier = remembered(world);
  world.restart(true);
  world.model->remember({earlier});
  world.store_answers();
  world.settle();
  expect_closed(world, GetParam().reason);
  EXPECT_EQ(world.peer("b").memory(), earlier.memory) << "the time of the change too";
}

TEST_P(Withdrawal, MadeWhileNobodyLookedIsBlockedFromTheStart) {
  World world(strict_node());
  encrypt(world);
  const MeshModel::Remembered earlier = remembered(world);
  world.restart(true);
  world.model->remember({earlier});
  GetParam().go(world);
  world.store_answers();
  world.wait(kGrace);
  expect_closed(world, GetParam().reason);
}

TEST_P(Withdrawal, IsLiftedByAnOperatorForGood) {
  World world(strict_node());
  encrypt(world);
  GetParam().go(world);
  world.wait(kGrace);
  ASSERT_TRUE(world.model->allow_downgrade("b"));
  world.settle();
  if (!world.has_peer("b")) {
    EXPECT_EQ(GetParam().cause, Reason::kNoRecord) << "what is gone is forgotten";
    return;
  }
  EXPECT_EQ(world.path("b"), Path::kPlaintext);
  EXPECT_TRUE(world.peer("b").memory().downgrade->allowed) << "and still told";
  const MeshModel::Remembered earlier = remembered(world);
  world.restart(true);
  world.model->remember({earlier});
  world.store_answers();
  world.settle();
  EXPECT_EQ(world.path("b"), Path::kPlaintext);
}

TEST_P(Withdrawal, EndsWhenThePeerProvesAKeyAgainAndNotBefore) {
  World world(strict_node());
  encrypt(world);
  GetParam().go(world);
  world.wait(kGrace);
  world.put(node("b", 3));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kPending);
  EXPECT_EQ(world.path("b"), Path::kDrop) << "a key that has shown nothing opens nothing";
  world.kernel.answer(key(3));
  world.wait(seconds(61));
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_FALSE(world.peer("b").memory().downgrade);
  EXPECT_THAT(world.watcher->made(), IsEmpty());
}

TEST(Downgrade, ModeOffWithAKeyThatStandsDoesNotTurnAHeldPeerOff) {
  World world(strict_node());
  encrypt(world);
  world.put(node("b", 2).mode("off"));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST(Downgrade, MyOwnModeOffAndMyOwnDrainAreNoWithdrawalOfThePeers) {
  for (const bool drain : {false, true}) {
    World world(strict_node());
    encrypt(world);
    if (drain) {
      world.local.drained = true;
    } else {
      world.local.mode = Mode::kOff;
    }
    world.settle();
    EXPECT_EQ(world.decision("b"),
              (Decision{State::kPlaintext, Reason::kPolicy, Path::kPlaintext}));
    EXPECT_FALSE(world.peer("b").memory().downgrade);
  }
}

TEST(Downgrade, APeerThatWasNeverEncryptedHasWithdrawnNothing) {
  World world(strict_node());
  world.put(without_key());
  world.settle();
  EXPECT_EQ(world.path("b"), Path::kPlaintext);
  EXPECT_FALSE(world.peer("b").memory().downgrade);
  const auto allowed = world.model->allow_downgrade("b");
  ASSERT_FALSE(allowed);
  EXPECT_THAT(allowed.error().message, HasSubstr("withdrawn nothing"));
  EXPECT_EQ(world.model->allow_downgrade("nobody").error().code, ErrorCode::kNotFound);
}

TEST(Downgrade, TheOrderOfTheNewsDoesNotMatter) {
  const std::vector<std::function<void(World&)>> news{
      [](World& w) { w.put(without_key()); }, [](World& w) { w.put(node("c", 3).no_key()); },
      [](World& w) { w.put(node("d", 4)); }, [](World& w) { w.settle(); }};
  std::vector<std::size_t> order{0, 1, 2, 3};
  do {
    World world(strict_node());
    encrypt(world);
    for (const std::size_t i : order) news[i](world);
    world.settle();
    expect_closed(world, Reason::kNoPublicKey);
    EXPECT_EQ(world.path("c"), Path::kPlaintext);
    EXPECT_EQ(world.path("d"), Path::kPlaintext);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(Downgrade, TurningTheOptionOnHoldsWhatWasEncryptedAndOffReleasesIt) {
  World world;
  encrypt(world);
  world.put(without_key());
  world.settle();
  EXPECT_EQ(world.path("b"), Path::kPlaintext);
  world.local.allow_withdrawal = false;
  world.settle();
  expect_closed(world, Reason::kNoPublicKey);
  world.local.allow_withdrawal = true;
  world.settle();
  EXPECT_EQ(world.path("b"), Path::kPlaintext);
}

}  // namespace
}  // namespace mesh
