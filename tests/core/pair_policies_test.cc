// Which policy decides for a pair, and what that costs.
#include "core/pair_policies.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace mesh {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

EncryptionPolicy policy(const std::string& name, double order, const std::string& selector,
                        const std::string& peer_selector, PolicyAction action) {
  return {name, order, selector, peer_selector, action};
}

std::shared_ptr<const StoreEntry> record(const std::string& name, const Labels& labels) {
  NodeRecord record;
  record.name = name;
  record.labels = labels;
  return std::make_shared<const StoreEntry>(std::move(record));
}

// The policies of a store, asked by one node about its peers.
class Asked {
 public:
  explicit Asked(const Labels& own) { pairs.set_own(own); }

  void put(const EncryptionPolicy& document) {
    apply({document.name, std::make_shared<const PolicyEntry>(document)});
  }
  void put_bad(const std::string& name) {
    apply({name, std::make_shared<const PolicyEntry>(BadRecord{"nonsense"})});
  }
  void remove(const std::string& name) { apply({name, nullptr}); }
  void peer(const std::string& name, const Labels& labels) {
    pairs.set_peer(name, record(name, labels));
  }
  const PairPolicy& of(const std::string& name) {
    (void)pairs.settle();
    return pairs.of(name);
  }
  std::string decides(const std::string& name) { return of(name).policy; }

  Policies policies;
  PairPolicies pairs;

 private:
  void apply(PolicyChange change) {
    StoreUpdate update;
    update.policies.push_back(std::move(change));
    (void)policies.apply(update);
    pairs.set_policies(policies);
  }
};

TEST(PairPolicies, TheFirstInOrderThatMatchesDecidesAndTheNameBreaksTies) {
  Asked asked(Labels{{"role", "web"}});
  asked.peer("b", {{"role", "db"}});
  EXPECT_EQ(asked.of("b"), PairPolicy()) << "without policies the nodes' modes decide";
  asked.put(policy("m", 100, "all()", "role == 'db'", PolicyAction::kPrefer));
  EXPECT_EQ(asked.decides("b"), "m");
  EXPECT_EQ(asked.of("b").mode, Mode::kPrefer);
  asked.put(policy("a", 100, "all()", "all()", PolicyAction::kRequire));
  EXPECT_EQ(asked.decides("b"), "a");
  asked.put(policy("z", -1, "has(role)", "role == 'db'", PolicyAction::kPlaintext));
  EXPECT_EQ(asked.of("b").mode, Mode::kOff);
  asked.put(policy("first", -2, "role == 'other'", "all()", PolicyAction::kRequire));
  EXPECT_EQ(asked.decides("b"), "z") << "one that does not match";
  EncryptionPolicy last = policy("last", 0, "all()", "all()", PolicyAction::kRequire);
  last.order = std::numeric_limits<double>::infinity();
  asked.put(last);
  for (const char* name : {"z", "a", "m"}) {
    EXPECT_EQ(asked.decides("b"), name);
    asked.remove(name);
  }
  EXPECT_EQ(asked.decides("b"), "last") << "one without an order comes last";
}

TEST(PairPolicies, APairMatchesWithTheSidesEitherWayRound) {
  const EncryptionPolicy databases =
      policy("databases", 1, "role == 'db'", "role == 'web'", PolicyAction::kRequire);
  Asked web(Labels{{"role", "web"}});
  web.put(databases);
  web.peer("db", {{"role", "db"}});
  web.peer("web", {{"role", "web"}});
  web.peer("none", {});
  EXPECT_EQ(web.decides("db"), "databases");
  EXPECT_EQ(web.decides("web"), "");
  EXPECT_EQ(web.decides("none"), "");
  Asked db(Labels{{"role", "db"}});
  db.put(databases);
  db.peer("web", {{"role", "web"}});
  db.peer("db", {{"role", "db"}});
  EXPECT_EQ(db.decides("web"), "databases");
  EXPECT_EQ(db.decides("db"), "");
}

TEST(PairPolicies, OnlyPairsOfWhichSomethingElseIsSaidAreReported) {
  Asked asked(Labels{{"role", "web"}});
  for (const char* name : {"b", "c", "d"}) asked.peer(name, {{"role", name}});
  EXPECT_THAT(asked.pairs.settle(), IsEmpty());
  asked.put(policy("p", 1, "role == 'b'", "role == 'web'", PolicyAction::kRequire));
  EXPECT_THAT(asked.pairs.settle(), UnorderedElementsAre("b"));
  asked.put(policy("p", 1, "role in {'b', 'c'}", "role == 'web'", PolicyAction::kRequire));
  EXPECT_THAT(asked.pairs.settle(), UnorderedElementsAre("c"));
  asked.put(policy("p", 1, "role in {'c', 'b'}", "role == 'web'", PolicyAction::kRequire));
  EXPECT_THAT(asked.pairs.settle(), IsEmpty());
  asked.peer("d", {{"role", "c"}});
  EXPECT_THAT(asked.pairs.settle(), UnorderedElementsAre("d"));
  asked.pairs.set_own({});
  EXPECT_THAT(asked.pairs.settle(), UnorderedElementsAre("b", "c", "d"));
}

TEST(PairPolicies, ALabelChangeCostsTheOnePairAndAPolicyOfOthersCostsNone) {
  Asked asked(Labels{{"role", "web"}});
  for (int i = 0; i < 100; ++i) asked.peer(fmt::format("n{}", i), {{"role", "db"}});
  asked.put(policy("p", 1, "role == 'web'", "role == 'db'", PolicyAction::kRequire));
  (void)asked.pairs.settle();
  const std::uint64_t before = asked.pairs.walks();
  asked.peer("n7", {{"role", "cache"}});
  (void)asked.pairs.settle();
  EXPECT_EQ(asked.pairs.walks(), before + 1);
  asked.peer("n8", {{"role", "db"}});
  (void)asked.pairs.settle();
  EXPECT_EQ(asked.pairs.walks(), before + 1) << "a record that changed elsewhere";
  asked.put(policy("q", 0, "role == 'db'", "role == 'cache'", PolicyAction::kPlaintext));
  (void)asked.pairs.settle();
  EXPECT_EQ(asked.pairs.walks(), before + 1) << "neither side of it can be this node";
}

TEST(PairPolicies, ABadVersionLeavesTheLastGoodOneInForce) {
  Asked asked(Labels{});
  asked.peer("b", {});
  asked.put(policy("p", 1, "all()", "all()", PolicyAction::kRequire));
  asked.put(policy("p", 1, "role = 'x'", "all()", PolicyAction::kPlaintext));
  EXPECT_EQ(asked.of("b"), (PairPolicy{"p", Mode::kRequire, ""}));
  ASSERT_EQ(asked.policies.refused().size(), 1U);
  EXPECT_THAT(asked.policies.refused().at("p").message,
              HasSubstr("spec.selector: column 6: expected ==, !="));
  EXPECT_TRUE(asked.policies.refused().at("p").earlier_in_force);
  asked.put_bad("p");
  EXPECT_EQ(asked.decides("b"), "p");
  asked.put(policy("p", 1, "all()", "all()", PolicyAction::kRequire));
  EXPECT_TRUE(asked.policies.refused().empty()) << "the same good version is back";
  asked.put_bad("p");
  asked.remove("p");
  EXPECT_EQ(asked.of("b"), PairPolicy());
  EXPECT_TRUE(asked.policies.refused().empty());
}

TEST(PairPolicies, OneThatNeverCouldBeReadIsNamedForThePairsItMightConcern) {
  Asked asked(Labels{{"role", "web"}});
  asked.peer("b", {{"role", "db"}});
  asked.peer("c", {{"role", "cache"}});
  asked.put(policy("first", 1, "all()", "role == 'cache'", PolicyAction::kPrefer));
  asked.put(policy("broken", 2, "role == 'db'", "role =", PolicyAction::kRequire));
  EXPECT_EQ(asked.of("b"), (PairPolicy{"", std::nullopt, "broken"}));
  EXPECT_EQ(asked.of("c"), (PairPolicy{"first", Mode::kPrefer, ""})) << "decided before it";
  asked.put(policy("broken", 0, "role == 'db'", "role =", PolicyAction::kRequire));
  EXPECT_EQ(asked.of("c").unreadable, "") << "neither side is a database";
  asked.put(policy("last", 3, "all()", "all()", PolicyAction::kPlaintext));
  EXPECT_EQ(asked.of("b"), (PairPolicy{"last", Mode::kOff, "broken"}));
  asked.put_bad("worse");
  EXPECT_EQ(asked.of("c"), (PairPolicy{"first", Mode::kPrefer, "worse"}))
      << "of which nothing is known";
}

TEST(PairPolicies, AnEarlierRunsVersionStandsInForOneThatCannotBeRead) {
  Policies policies;
  policies.remember({policy("p", 1, "all()", "all()", PolicyAction::kRequire),
                     policy("gone", 1, "all()", "all()", PolicyAction::kRequire)});
  EXPECT_EQ(policies.size(), 0U) << "the store decides which there are";
  StoreUpdate update;
  update.in_sync = update.complete = true;
  update.policies.push_back({"p", std::make_shared<const PolicyEntry>(BadRecord{"nonsense"})});
  (void)policies.apply(update);
  ASSERT_NE(policies.find("p"), nullptr);
  EXPECT_TRUE(policies.refused().at("p").earlier_in_force);
  EXPECT_EQ(policies.find("gone"), nullptr);
}

TEST(PairPolicies, ACompleteUpdateIsAllThereIs) {
  Policies policies;
  StoreUpdate update;
  update.in_sync = update.complete = true;
  for (const char* name : {"a", "b"})
    update.policies.push_back({name, std::make_shared<const PolicyEntry>(policy(
                                         name, 1, "all()", "all()", PolicyAction::kPrefer))});
  EXPECT_EQ(policies.apply(update), 2U);
  EXPECT_EQ(policies.apply(update), 0U);
  update.policies.pop_back();
  EXPECT_EQ(policies.apply(update), 1U);
  EXPECT_EQ(policies.find("b"), nullptr);
}

// What is remembered of the selectors' answers is never wrong: compared with asking everything
// afresh, over changes of every kind.
TEST(PairPolicies, WhatIsRememberedIsAsIfAskedAfresh) {
  std::mt19937 random(7);
  const auto below = [&](int limit) {
    return std::uniform_int_distribution<int>(0, limit - 1)(random);
  };
  const std::vector<std::string> selectors = {"all()",    "!all()",   "x == '0'",
                                              "x != '1'", "has(y)",   "x in {'1','2'}",
                                              "!has(x)",  "y == '2'", "x == '0' && has(y)"};
  const auto any_labels = [&] {
    Labels labels;
    if (below(4) != 0) labels["x"] = std::to_string(below(3));
    if (below(2) != 0) labels["y"] = std::to_string(below(3));
    return labels;
  };
  const auto any = [&] { return selectors[static_cast<std::size_t>(below(9))]; };
  Labels own = any_labels();
  std::map<std::string, Labels> peers;
  std::map<std::string, EncryptionPolicy> documents;
  Asked asked(own);
  for (int round = 0; round < 2000; ++round) {
    const std::string name = std::to_string(below(6));
    switch (below(6)) {
      case 0:
        own = any_labels();
        asked.pairs.set_own(own);
        break;
      case 1:
        documents.erase(name);
        asked.remove(name);
        break;
      case 2:
      case 3:
        documents[name] = policy(name, below(3), any(), any(), static_cast<PolicyAction>(below(3)));
        asked.put(documents[name]);
        break;
      case 4:
        peers.erase(name);
        asked.pairs.remove_peer(name);
        break;
      default:
        peers[name] = any_labels();
        asked.peer(name, peers[name]);
    }
    if (below(3) == 0) continue;
    Asked fresh(own);
    for (const auto& [peer, labels] : peers) fresh.peer(peer, labels);
    for (const auto& [key, document] : documents) fresh.put(document);
    for (const auto& [peer, labels] : peers) ASSERT_EQ(asked.of(peer), fresh.of(peer)) << round;
  }
}

}  // namespace
}  // namespace mesh
