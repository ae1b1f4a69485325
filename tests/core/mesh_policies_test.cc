// Policies over a whole mesh: what they make of pairs under traffic, and when they may not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "world.h"

namespace mesh::test {
namespace {

using std::chrono::seconds;

EncryptionPolicy policy(const std::string& name, double order, PolicyAction action,
                        const std::string& peer_selector = "all()") {
  return {name, order, "all()", peer_selector, action};
}

class MeshPolicies : public MeshTest {};

TEST_F(MeshPolicies, RequireAndBackOfAProvenPairSendsEverythingThroughWireGuard) {
  encrypted_node("b", 2);
  for (const PolicyAction action : {PolicyAction::kRequire, PolicyAction::kPrefer}) {
    world.put_policy(policy("p", 1, action));
    world.settle();
    EXPECT_EQ(world.state("b"), State::kEncrypted);
    EXPECT_EQ(world.peer("b").policy().policy, "p");
  }
}

TEST_F(MeshPolicies, PlaintextTakesTheRouteAndLeavesThePeerAndTheKey) {
  encrypted_node("b", 2);
  world.put_policy(policy("p", 1, PolicyAction::kPlaintext));
  world.settle();
  EXPECT_EQ(world.decision("b"), (Decision{State::kPlaintext, Reason::kPolicy, Path::kPlaintext}));
  ASSERT_EQ(world.kernel.read_device().value().peers.size(), 1U);
  EXPECT_FALSE(world.kernel.read_device().value().peers.front().allowed_ips.empty())
      << "what b sends still decrypts";
  EXPECT_FALSE(world.local.withdrawn());
  world.wait(seconds(300));
  EXPECT_EQ(world.state("b"), State::kPlaintext);
  // The tunnel stayed ready: at once, without another handshake.
  world.put_policy(policy("p", 1, PolicyAction::kRequire));
  world.pass();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
}

TEST_F(MeshPolicies, RequireBlocksAPeerWithoutAKeyAndDeletionRestoresIt) {
  world.put(node("b", 2).no_key());
  world.settle();
  EXPECT_EQ(world.state("b"), State::kPlaintext);
  world.put_policy(policy("p", 1, PolicyAction::kRequire));
  world.settle();
  EXPECT_EQ(world.decision("b"), (Decision{State::kBlocked, Reason::kNoPublicKey, Path::kDrop}));
  EXPECT_EQ(world.way_to("10.2.0.7"), RouteType::kUnreachable);
  world.remove_policy("p");
  world.settle();
  EXPECT_EQ(world.state("b"), State::kPlaintext);
}

TEST_F(MeshPolicies, OutranksTheModesOfBothNodes) {
  world.kernel.answer(key(2));
  world.put(node("b", 2).mode("require"));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  world.put_policy(policy("p", 1, PolicyAction::kPlaintext));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kPlaintext);
  world.put(node("c", 3).no_key().mode("off"));
  world.put_policy(policy("p", 1, PolicyAction::kRequire));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_EQ(world.state("c"), State::kBlocked);
}

TEST_F(MeshPolicies, GoByTheLabelsOfTheRecords) {
  world.put(node("b", 2).no_key().label("role", "db"));
  world.put(node("c", 3).no_key());
  world.put_policy({"p", 1, "role == 'db'", "zone == 'z1'", PolicyAction::kRequire});
  world.settle();
  EXPECT_EQ(world.state("b"), State::kPlaintext);
  world.local.labels = {{"zone", "z1"}};  // as configured: the store has no record of mine
  world.settle();
  EXPECT_EQ(world.state("b"), State::kBlocked);
  EXPECT_EQ(world.state("c"), State::kPlaintext);
  RecordOf own = node("a", 1);
  world.put(own.label("zone", "z2"));  // what the peers go by, too
  world.settle();
  EXPECT_EQ(world.state("b"), State::kPlaintext);
  world.put(own.label("zone", "z1"));
  world.put(node("c", 3).no_key().label("role", "db"));
  world.settle();
  EXPECT_EQ(world.state("c"), State::kBlocked);
  world.put_bad("a");
  world.settle();
  EXPECT_EQ(world.state("c"), State::kBlocked) << "of a bad record the last good labels stay";
}

TEST_F(MeshPolicies, WhileOneCannotBeReadNoPairItMightConcernBecomesWeaker) {
  world.put(node("b", 2).no_key());
  world.put_policy(policy("require", 1, PolicyAction::kRequire));
  world.settle();
  ASSERT_EQ(world.state("b"), State::kBlocked);
  // Somebody replaces it by one with a mistake.
  world.deliver({true,
                 "",
                 false,
                 {},
                 {{"require", nullptr},
                  {"new", std::make_shared<const PolicyEntry>(BadRecord{"nonsense"})}}});
  world.settle();
  EXPECT_EQ(world.state("b"), State::kBlocked);
  EXPECT_EQ(world.peer("b").policy().unreadable, "new");
  world.put_policy(policy("open", 5, PolicyAction::kPlaintext));
  world.settle();
  EXPECT_EQ(world.state("b"), State::kBlocked) << "it might come before that one";
  world.put_policy(policy("stricter", 6, PolicyAction::kRequire));
  world.put(node("c", 3).no_key());
  world.settle();
  EXPECT_EQ(world.state("c"), State::kPlaintext) << "a new pair has no before";
  world.deliver({true, "", false, {}, {{"new", nullptr}}});
  world.settle();
  EXPECT_EQ(world.state("b"), State::kPlaintext) << "and now the operator's word counts";
}

TEST_F(MeshPolicies, ABadOneAloneChangesNothing) {
  encrypted_node("b", 2);
  world.put(node("c", 3).no_key());
  world.settle();
  world.put_bad_policy("p");
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_EQ(world.state("c"), State::kPlaintext);
}

TEST_F(MeshPolicies, WhoeverVanishesBeforeOrWithAPolicyStaysBlockedUntilItIsForgotten) {
  world.put(node("b", 2).no_key());
  world.put(node("c", 3).no_key());
  world.put(node("d", 4).no_key());
  world.put_policy(policy("p", 1, PolicyAction::kRequire));
  world.settle();
  world.remove("b");
  world.settle();
  EXPECT_EQ(world.decision("b"), (Decision{State::kBlocked, Reason::kNoRecord, Path::kDrop}));
  world.deliver({true, "", false, {{"c", nullptr}}, {{"p", nullptr}}});
  world.settle();
  for (const char* gone : {"b", "c"})
    EXPECT_EQ(world.decision(gone), (Decision{State::kBlocked, Reason::kNoRecord, Path::kDrop}));
  EXPECT_EQ(world.state("d"), State::kPlaintext) << "its record is there";
  ASSERT_TRUE(world.model->forget_gone("b"));
  world.settle();
  EXPECT_FALSE(world.has_peer("b"));
  EXPECT_EQ(world.way_to("10.3.0.7"), RouteType::kUnreachable);
}

TEST_F(MeshPolicies, AStoreThatIsEmptiedAtOnceOpensNothing) {
  encrypted_node("b", 2);
  world.put(node("c", 3).no_key());
  world.put_policy(policy("p", 1, PolicyAction::kRequire));
  world.settle();
  world.deliver({true, "", true, {}, {}});
  world.settle();
  for (const char* gone : {"10.2.0.7", "10.3.0.7"})
    EXPECT_EQ(world.way_to(gone), RouteType::kUnreachable) << gone;
}

TEST_F(MeshPolicies, OfAStoreThatWentBackTheyStayInForceUntilToldOtherwise) {
  world.put(node("b", 2).no_key());
  world.put_policy(policy("p", 1, PolicyAction::kRequire));
  world.put_policy(policy("q", 2, PolicyAction::kPlaintext));
  world.settle();
  const auto b = std::make_shared<const StoreEntry>(node("b", 2).no_key().record());
  // As one that is read anew, and as one that tells the difference.
  world.deliver({true, "", true, {{"b", b}}, {}, {}, "it was restored from a backup"});
  world.deliver({true, "", false, {}, {{"q", nullptr}}, {}, "and again"});
  world.settle();
  EXPECT_EQ(world.state("b"), State::kBlocked);
  EXPECT_EQ(world.model->policies().size(), 2U);
  ASSERT_TRUE(world.model->policies().refused().contains("p"));
  EXPECT_THAT(world.model->policies().refused().at("p").message,
              ::testing::HasSubstr("meshctl apply"));
  // The next whole answer has no more to say about them.
  world.deliver({true, "", true, {{"b", b}}, {}});
  world.settle();
  EXPECT_EQ(world.state("b"), State::kBlocked);
  // An operator applies it again, and then deletes it.
  world.put_policy(policy("p", 1, PolicyAction::kRequire));
  world.settle();
  EXPECT_FALSE(world.model->policies().refused().contains("p"));
  world.remove_policy("p");
  world.settle();
  EXPECT_EQ(world.state("b"), State::kPlaintext);
}

TEST_F(MeshPolicies, AnOutageOfTheStoreTakesNoneAway) {
  world.put(node("b", 2).no_key());
  world.put_policy(policy("p", 1, PolicyAction::kRequire));
  world.settle();
  world.deliver({false, "out", false, {}, {}});
  world.settle();
  EXPECT_EQ(world.state("b"), State::kBlocked);
}

TEST_F(MeshPolicies, ARestartSendsNothingInPlaintextThatAPolicyForbids) {
  world.kernel.answer(key(2));
  world.put(node("b", 2));
  world.put(node("c", 3).no_key());
  world.put_policy(policy("p", 1, PolicyAction::kRequire));
  world.settle();
  world.restart(/*store_is_out=*/true);
  world.settle();
  EXPECT_EQ(world.way_to("10.3.0.7"), RouteType::kUnreachable);
  world.store_answers();
  world.settle();
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_EQ(world.state("c"), State::kBlocked);
}

TEST_F(MeshPolicies, WhoeverIsForgottenIsForgottenByThePoliciesToo) {
  world.put(node("b", 2).no_key());
  world.put_policy(policy("p", 1, PolicyAction::kRequire));
  world.settle();
  world.remove("b");
  world.settle();
  ASSERT_EQ(world.decision("b").reason, Reason::kNoRecord);
  ASSERT_TRUE(world.model->forget_gone("b"));
  world.settle();
  // Another answer about a node that nobody knows any more concerns nobody.
  world.put_policy(policy("p", 1, PolicyAction::kPrefer));
  world.settle();
  world.put_policy(policy("p", 1, PolicyAction::kRequire));
  world.settle();
  // And one that comes back, unchanged, is asked about again.
  world.put(node("b", 2).no_key());
  world.settle();
  EXPECT_EQ(world.decision("b"), (Decision{State::kBlocked, Reason::kNoPublicKey, Path::kDrop}));
}

}  // namespace
}  // namespace mesh::test
