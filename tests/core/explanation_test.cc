// What is said of a pair: which policy decides, why, and what would be without it.
#include "core/explanation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace mesh {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Policies policies_of(std::vector<PolicyChange> changes) {
  StoreUpdate update;
  update.policies = std::move(changes);
  Policies policies;
  (void)policies.apply(update);
  return policies;
}

PolicyChange good(const std::string& name, double order, const std::string& selector,
                  const std::string& peer_selector, PolicyAction action) {
  return {name, std::make_shared<const PolicyEntry>(
                    EncryptionPolicy{name, order, selector, peer_selector, action})};
}

const PairSide kWeb{"node-a", {{"role", "web"}}, Mode::kPrefer};
const PairSide kDatabase{"node-b", {{"role", "db"}}, Mode::kOff};

TEST(Explanation, NamesThePolicyBothSidesAndWhatMatchedLater) {
  const Policies policies =
      policies_of({good("databases", 100, "role == 'db'", "all()", PolicyAction::kRequire),
                   good("all", std::numeric_limits<double>::infinity(), "all()", "all()",
                        PolicyAction::kPrefer),
                   good("others", 1, "role == 'cache'", "all()", PolicyAction::kPlaintext)});
  const Explanation it = explain_pair(policies, kWeb, kDatabase);
  EXPECT_EQ(it.mode, Mode::kRequire);
  EXPECT_EQ(it.without, Mode::kPrefer);
  EXPECT_EQ(it.nodes_mode, Mode::kOff);
  ASSERT_NE(it.decides(), nullptr);
  EXPECT_EQ(it.decides()->policy, "databases");
  EXPECT_EQ(render_explanation(it),
            "node-a and node-b: require, by the policy databases (order 100, Require)\n"
            "  node-b is meant by its selector: role == 'db'\n"
            "  node-a is meant by its peerSelector: all()\n"
            "  labels of node-a: role=web\n"
            "  labels of node-b: role=db\n"
            "  matches later and does not count: all (without an order, Prefer)\n"
            "  without databases it would be prefer, by the policy all\n");
  const auto json = to_json(it);
  EXPECT_EQ(json["policy"], "databases");
  EXPECT_EQ(json["mode"], "require");
  EXPECT_EQ(json["matches"].size(), 2U);
  EXPECT_EQ(json["matches"][1]["order"], nullptr);
}

TEST(Explanation, WithoutAMatchTheNodesModesAreNamed) {
  Explanation it = explain_pair(Policies(), kWeb, kDatabase);
  EXPECT_EQ(it.mode, Mode::kOff);
  EXPECT_EQ(it.decides(), nullptr);
  it.state = State::kPlaintext;
  it.reason = "encryption is off";
  EXPECT_THAT(render_explanation(it),
              AllOf(HasSubstr("no policy matches"),
                    HasSubstr("(node-a: prefer, node-b: off): require if either requires, else "
                              "off if either is off, else prefer"),
                    HasSubstr("state: plaintext (encryption is off)"), Not(HasSubstr("without"))));
}

TEST(Explanation, TheOnlyOneIsFollowedByTheNodesOwnModes) {
  const Policies policies = policies_of({good("p", 1, "all()", "all()", PolicyAction::kPlaintext)});
  EXPECT_THAT(render_explanation(explain_pair(policies, kWeb, {"c", {}, Mode::kRequire})),
              HasSubstr("without p it would be require, by the nodes' own modes"));
}

TEST(Explanation, OneThatCannotBeReadIsNamedWhereItMightMatch) {
  const Policies policies =
      policies_of({good("p", 1, "all()", "all()", PolicyAction::kPlaintext),
                   good("broken", 0, "role == 'db'", "role", PolicyAction::kRequire)});
  Explanation it = explain_pair(policies, kWeb, kDatabase);
  it.in_force = Mode::kRequire;
  EXPECT_THAT(render_explanation(it),
              AllOf(HasSubstr("off, by the policy p"),
                    HasSubstr("the policy broken cannot be read and might match: "
                              "spec.peerSelector: column 5: expected"),
                    HasSubstr("in force is require")));
  EXPECT_THAT(render_explanation(explain_pair(policies, kWeb, kWeb)), Not(HasSubstr("broken")));
}

}  // namespace
}  // namespace mesh
