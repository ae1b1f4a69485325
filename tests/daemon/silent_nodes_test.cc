// Who is forgotten, and who is not: a node that the store has not heard of for long.
#include "meshd/daemon/silent_nodes.h"

#include <gmock/gmock.h>

#include "rig.h"

namespace mesh::test {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class SilentNodesTest : public ::testing::Test {
 protected:
  static Config forgetful(Duration after) {
    Config config = config_of_a();
    config.store.forget_after = after;
    return config;
  }
  WallTime ago(Rig& rig, Duration duration) { return rig.clock.now().wall - duration; }
};

TEST_F(SilentNodesTest, ANodeThatNeitherStoreNorTunnelHasHeardOfIsForgottenAfterItWasAsked) {
  Rig rig(forgetful(minutes(30)));
  rig.store.put(node("b", 2).record());
  rig.start();
  rig.run(seconds(5));
  rig.store.say_silent("b", ago(rig, minutes(20)));
  rig.run(minutes(9));
  EXPECT_THAT(rig.store.forgotten(), IsEmpty()) << "not yet";
  rig.run(minutes(5));
  EXPECT_THAT(rig.store.forgotten(), Contains("b"));
}

TEST_F(SilentNodesTest, ANodeWhoseTunnelAnswersIsNeverForgotten) {
  Rig rig(forgetful(minutes(30)));
  rig.add_peer("b", 2);
  rig.start();
  ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
  rig.store.say_silent("b", ago(rig, hours(48)));
  rig.run(minutes(75));
  EXPECT_THAT(rig.store.forgotten(), IsEmpty()) << "idle for long, it answered when asked";
  EXPECT_TRUE(rig.encrypted("b")) << "silence in the store never changes a data path";
}

TEST_F(SilentNodesTest, ASignOfLifeOrAnOutageOrNoForgettingKeepsIt) {
  for (const int variant : {0, 1, 2, 3}) {
    Rig rig(forgetful(variant == 2 ? Duration::zero() : Duration(minutes(30))));
    rig.store.put(node("b", 2).record());
    rig.start();
    rig.run(seconds(5));
    rig.store.say_silent("b", ago(rig, hours(1)));
    if (variant == 0) rig.store.say_silent("b", std::nullopt);
    if (variant == 1) rig.store.go_out("away");
    if (variant == 3) rig.store.say_silent("b", ago(rig, -hours(24 * 365)));  // its clock is wrong
    rig.run(minutes(10));
    EXPECT_THAT(rig.store.forgotten(), IsEmpty()) << variant;
  }
}

TEST_F(SilentNodesTest, AnOperatorIsToldThatANodeLives) {
  Rig rig;
  rig.add_peer("b", 2);
  rig.store.put(node("c", 3).record());
  rig.start();
  ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
  EXPECT_THAT(rig.reconciler->may_delete("b").error().message,
              ::testing::AllOf(HasSubstr("the tunnel to b answered"), HasSubstr("--force")));
  EXPECT_TRUE(rig.reconciler->may_delete("c")) << "nothing says that it lives";
  rig.store.say_silent("c", std::nullopt);
  rig.run(seconds(1));
  EXPECT_THAT(rig.reconciler->may_delete("c").error().message, HasSubstr("in the store"));
  EXPECT_THAT(rig.reconciler->may_delete("a").error().message, HasSubstr("this node itself"));
}

}  // namespace
}  // namespace mesh::test
