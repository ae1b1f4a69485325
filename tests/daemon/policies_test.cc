// Policies in a whole daemon: what is reported of them, and what holds without the store.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "rig.h"

namespace mesh::test {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

EncryptionPolicy require_all(const std::string& name = "p") {
  return {name, 1, "all()", "all()", PolicyAction::kRequire};
}

class DaemonPolicies : public ::testing::Test {
 protected:
  void start() {
    rig.add_peer("b", 2);
    rig.store.put(node("d", 4).no_key().label("role", "db").record());
    rig.start();
    ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
  }
  Rig rig;
};

TEST_F(DaemonPolicies, ThePeersSayWhichPolicyDecides) {
  start();
  EXPECT_EQ(rig.peer("d").policy, "");
  rig.store.put_policy({"p", 1, "role == 'db'", "all()", PolicyAction::kRequire});
  rig.run(seconds(1));
  EXPECT_EQ(rig.state("d"), State::kBlocked);
  EXPECT_EQ(rig.peer("d").policy, "p");
  EXPECT_EQ(rig.peer("d").mode, Mode::kRequire);
  EXPECT_EQ(rig.peer("d").detail, "it publishes no key (the policy p requires encryption)");
  EXPECT_EQ(rig.peer("b").policy, "");
  EXPECT_EQ(rig.status->policies, 1U);
  rig.store.put_policy({"p", 1, "role == 'db'", "all()", PolicyAction::kPlaintext});
  rig.run(seconds(1));
  EXPECT_EQ(rig.peer("d").detail, "the policy p asks for plaintext");
  EXPECT_THAT(rig.metrics.render(), HasSubstr("meshd_policies 1"));
}

TEST_F(DaemonPolicies, OneThatCannotBeReadIsReported) {
  start();
  rig.store.put_bad_policy("broken", "policies/broken.yaml:3:1: nonsense");
  rig.store.put_policy({"selector", 1, "role = 'db'", "all()", PolicyAction::kRequire});
  rig.run(seconds(1));
  ASSERT_EQ(rig.status->refused_policies.size(), 2U);
  EXPECT_EQ(rig.status->refused_policies[0].policy, "broken");
  EXPECT_EQ(rig.status->refused_policies[0].message, "policies/broken.yaml:3:1: nonsense");
  EXPECT_FALSE(rig.status->refused_policies[0].earlier_in_force);
  EXPECT_THAT(rig.status->refused_policies[1].message, HasSubstr("column 6"));
  EXPECT_EQ(rig.peer("b").unreadable_policy, "broken");
  EXPECT_EQ(rig.state("b"), State::kEncrypted);
  EXPECT_THAT(rig.metrics.render(), HasSubstr("meshd_refused_policies 2"));
  const auto read = status_from_json(to_json_text(*rig.status));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->refused_policies, rig.status->refused_policies);
  EXPECT_EQ(find_peer(*read, "b")->unreadable_policy, "broken");
}

TEST_F(DaemonPolicies, ThoseOfTheSnapshotHoldUntilTheStoreAnswers) {
  rig.keeps_snapshots = true;
  start();
  rig.store.put_policy(require_all());
  rig.run(seconds(20));
  ASSERT_TRUE(rig.snapshot);
  EXPECT_EQ(rig.snapshot->policies, (std::vector<EncryptionPolicy>{require_all()}));
  rig.reboot();
  rig.store.go_out("no such directory");
  rig.start();
  rig.store.go_out("no such directory");
  rig.run(seconds(5));
  EXPECT_EQ(rig.state("d"), State::kBlocked);
  EXPECT_EQ(rig.peer("d").policy, "p");
  rig.store.remove_policy("p");
  rig.store.come_back();
  rig.run(seconds(5));
  EXPECT_EQ(rig.state("d"), State::kPlaintext);
}

TEST_F(DaemonPolicies, OneThatTurnedBadWhileMeshdWasDownHoldsAsItWas) {
  rig.keeps_snapshots = true;
  start();
  rig.store.put_policy(require_all());
  rig.run(seconds(20));
  rig.store.put_bad_policy("p", "nonsense");
  rig.start();
  rig.run(seconds(5));
  EXPECT_EQ(rig.state("d"), State::kBlocked);
  ASSERT_EQ(rig.status->refused_policies.size(), 1U);
  EXPECT_TRUE(rig.status->refused_policies[0].earlier_in_force);
  rig.run(seconds(20));
  EXPECT_EQ(rig.snapshot->policies, (std::vector<EncryptionPolicy>{require_all()}));
}

TEST_F(DaemonPolicies, ExplainsAPairByWhatThisNodeKnows) {
  start();
  rig.store.put_policy(require_all());
  rig.run(seconds(1));
  const auto own = rig.reconciler->explain("d", "a");
  ASSERT_TRUE(own) << own.error().message;
  const auto json = nlohmann::json::parse(*own);
  EXPECT_EQ(json["policy"], "p");
  EXPECT_EQ(json["state"], "blocked");
  EXPECT_EQ(json["inForce"], "require");
  EXPECT_THAT(json["text"].get<std::string>(), HasSubstr("labels of d: role=db"));
  const auto others = rig.reconciler->explain("b", "d");
  ASSERT_TRUE(others) << others.error().message;
  EXPECT_EQ(nlohmann::json::parse(*others)["state"], "");
  EXPECT_EQ(rig.reconciler->explain("x", "a").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(rig.reconciler->explain("a", "a").error().code, ErrorCode::kInvalid);
}

}  // namespace
}  // namespace mesh::test
