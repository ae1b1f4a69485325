// Claims end alike whatever the order of events: every permutation of small histories, random ones
// beyond. The end depends on the end input and on who holds what now, and on nothing else.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "fakes/values.h"
#include "settled_claims.h"

namespace mesh {
namespace {

using test::cidr;
using test::ip;
using test::key;
using test::Settled;

// One step of a history: a record comes (or changes), or goes.
struct Event {
  std::string node;
  std::optional<NodeClaims> claims;
};

NodeClaims some_claims(std::vector<Cidr> cidrs, std::vector<IpAddress> list, int k,
                       std::vector<IpAddress> endpoints = {}) {
  NodeClaims claims;
  claims.cidrs = std::move(cidrs);
  claims.addresses = std::move(list);
  claims.endpoint_addresses = std::move(endpoints);
  if (k != 0) claims.key = key(k);
  return claims;
}

void play(Settled& mesh, const Event& event) {
  if (event.claims) {
    mesh.record(event.node, *event.claims);
  } else {
    mesh.remove(event.node);
  }
}

std::map<std::string, Accepted> without_empty(const std::map<std::string, Accepted>& all) {
  std::map<std::string, Accepted> result;
  for (const auto& [node, accepted] : all)
    if (accepted != Accepted{}) result[node] = accepted;
  return result;
}

// Events of different nodes commute; those of one node keep their order. Whatever the interleaving
// within a batch, the outcome is one.
void expect_one_outcome(const std::vector<Event>& before, std::vector<Event> batch) {
  std::vector<std::size_t> order(batch.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::optional<std::map<std::string, Accepted>> expected;
  std::map<std::string, bool> expected_duplicates;
  int permutations = 0;
  do {
    bool legal = true;
    for (std::size_t i = 0; i < order.size(); ++i)
      for (std::size_t j = i + 1; j < order.size(); ++j)
        legal = legal && (batch[order[i]].node != batch[order[j]].node || order[i] < order[j]);
    if (!legal) continue;
    ++permutations;
    Settled mesh;
    for (const Event& event : before) {
      play(mesh, event);
      ASSERT_NO_FATAL_FAILURE(mesh.settle());
    }
    for (const std::size_t i : order) play(mesh, batch[i]);
    ASSERT_NO_FATAL_FAILURE(mesh.settle());
    const auto outcome = without_empty(mesh.all());
    std::map<std::string, bool> duplicates;
    for (const Event& event : batch)
      duplicates[event.node] = mesh.claims().key_is_duplicate(event.node);
    if (!expected) {
      expected = outcome;
      expected_duplicates = duplicates;
    }
    ASSERT_EQ(outcome, *expected);
    ASSERT_EQ(duplicates, expected_duplicates);
    // Settling once more changes nothing.
    mesh.everything_is_dirty();
    ASSERT_NO_FATAL_FAILURE(mesh.settle());
    ASSERT_EQ(without_empty(mesh.all()), outcome);
  } while (std::next_permutation(order.begin(), order.end()));
  EXPECT_GT(permutations, 1);
}

const Cidr kP = cidr("10.2.0.0/24");
const Cidr kQ = cidr("10.3.0.0/24");
const Cidr kNarrow = cidr("10.2.0.128/25");
const Cidr kSix = cidr("fd00:2::/64");
const IpAddress kIn = ip("10.2.0.200");
const IpAddress kOut = ip("192.0.2.9");

TEST(ClaimOrder, EveryPermutationOfRecordKeyPrefixAndRemovalEndsAlike) {
  const std::vector<Event> batch{
      {"a", some_claims({kP}, {}, 1)},
      {"b", some_claims({kP, kQ}, {kOut}, 1)},
      {"c", some_claims({kNarrow}, {kIn}, 2)},
      {"a", some_claims({kP, kSix}, {kOut}, 2)},
      {"b", std::nullopt},
      {"d", some_claims({kQ, kSix}, {}, 3, {kIn})},
      {"b", some_claims({kQ}, {}, 3)},
  };
  expect_one_outcome({}, batch);
  expect_one_outcome({{"z", some_claims({kP}, {}, 1)}}, batch);
  expect_one_outcome({{"z", some_claims({}, {kIn, kOut}, 1)}}, batch);
  expect_one_outcome(
      {{"d", some_claims({kP, kQ}, {kOut}, 2)}, {"b", some_claims({kSix}, {kIn}, 0)}}, batch);
}

// A record that has lost a prefix, or is gone, still claims it, and yields it.
NodeClaims yielding(NodeClaims claims, std::vector<Cidr> cidrs) {
  claims.yields_all = cidrs.empty();
  claims.yielding = std::move(cidrs);
  return claims;
}

TEST(ClaimOrder, WhatIsYieldedGoesToWhoeverElseClaimsItInEveryOrder) {
  const std::vector<Event> before{{"m", some_claims({kP, kQ}, {kOut}, 1)},
                                  {"w", some_claims({cidr("10.2.0.0/15")}, {}, 4)}};
  expect_one_outcome(before, {
                                 {"m", yielding(some_claims({kP, kQ}, {kOut}, 1), {kP})},
                                 {"z", some_claims({kP}, {}, 2)},
                                 {"a", some_claims({kNarrow}, {kIn}, 3)},
                                 {"n", yielding(some_claims({kQ}, {kOut}, 5), {kQ})},
                             });
  expect_one_outcome(before, {
                                 {"m", yielding(some_claims({kP, kQ}, {kOut}, 1), {})},
                                 {"z", some_claims({kP}, {kOut}, 2)},
                                 {"n", yielding(some_claims({kQ}, {}, 5), {})},
                                 {"z", std::nullopt},
                                 {"a", some_claims({}, {kOut, kIn}, 3)},
                             });
}

TEST(ClaimOrder, ARemovalAmongNewcomersEndsAlike) {
  expect_one_outcome({{"m", some_claims({kP}, {kOut}, 1)}},
                     {{"m", std::nullopt},
                      {"z", some_claims({kP}, {kOut}, 1)},
                      {"a", some_claims({kP}, {kOut}, 1)},
                      {"c", some_claims({kNarrow}, {kIn}, 1)},
                      {"m", some_claims({kP}, {kOut}, 1)}});
}

class RandomClaims {
 public:
  explicit RandomClaims(unsigned seed) : random_(seed), yields_(seed % 2 == 0) {}
  bool yields() const { return yields_; }
  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  std::mt19937& engine() { return random_; }

  Event event() {
    static const std::vector<Cidr> kCidrs{kP,
                                          kQ,
                                          kNarrow,
                                          kSix,
                                          cidr("10.2.0.0/16"),
                                          cidr("10.2.0.200/32"),
                                          cidr("192.0.2.8/29"),
                                          cidr("fd00:2::/48"),
                                          cidr("10.1.0.0/16"),
                                          cidr("10.1.0.7/32")};
    static const std::vector<IpAddress> kAddresses{kIn, kOut, ip("10.2.9.9"), ip("fd00:2::5"),
                                                   ip("192.0.2.10")};
    const std::string node(1, static_cast<char>('a' + pick(0, 5)));
    if (pick(0, 4) == 0) return {node, std::nullopt};
    NodeClaims claims;
    for (int i = pick(0, 3); i > 0; --i) claims.cidrs.push_back(one_of(kCidrs));
    for (int i = pick(0, 2); i > 0; --i) claims.addresses.push_back(one_of(kAddresses));
    if (pick(0, 2) == 0) claims.endpoint_addresses.push_back(one_of(kAddresses));
    if (pick(0, 3) != 0) claims.key = key(pick(1, 4));
    if (yields_) {
      claims.yields_all = pick(0, 9) == 0;
      for (const Cidr& c : claims.cidrs)
        if (pick(0, 4) == 0) claims.yielding.push_back(c);
    }
    return {node, claims};
  }

 private:
  template <class T>
  const T& one_of(const std::vector<T>& list) {
    return list[static_cast<std::size_t>(pick(0, static_cast<int>(list.size()) - 1))];
  }
  std::mt19937 random_;
  bool yields_;
};

// What must be true of any outcome: a prefix and an address have one owner, and nobody's accepted
// prefix covers another's accepted address, but of what somebody yields.
void expect_consistent(const std::map<std::string, Accepted>& all, bool yields) {
  std::map<Cidr, std::string> owners;
  std::map<IpAddress, std::string> address_owners;
  for (const auto& [node, accepted] : all) {
    for (const Cidr& c : accepted.cidrs)
      ASSERT_TRUE(owners.emplace(c, node).second) << c.to_string() << " has two owners";
    for (const IpAddress& a : accepted.addresses)
      ASSERT_TRUE(address_owners.emplace(a, node).second) << a.to_string() << " has two owners";
  }
  if (yields) return;
  for (const auto& [c, owner] : owners)
    for (const auto& [a, node] : address_owners)
      ASSERT_FALSE(owner != node && c.contains(a))
          << c.to_string() << " of " << owner << " covers " << a.to_string() << " of " << node;
}

TEST(ClaimOrder, RandomHistoriesInRandomOrdersEndAlikeAndConsistent) {
  OwnClaims own;
  own.cidrs = {cidr("10.1.0.0/24")};
  own.addresses = {ip("192.0.2.1")};
  own.key = key(4);
  for (unsigned seed = 1; seed <= 120; ++seed) {
    RandomClaims random(seed);
    Settled first;
    Settled second;
    first.own(own);
    second.own(own);
    for (int batch = 0; batch < 12; ++batch) {
      std::vector<Event> events;
      for (int i = random.pick(1, 5); i > 0; --i) events.push_back(random.event());
      // Of one node only the last event of a batch is the end input.
      std::map<std::string, Event> last;
      for (const Event& event : events) {
        play(first, event);
        last[event.node] = event;
      }
      std::vector<Event> shuffled;
      for (const auto& [node, event] : last) shuffled.push_back(event);
      std::shuffle(shuffled.begin(), shuffled.end(), random.engine());
      for (const Event& event : shuffled) play(second, event);
      ASSERT_NO_FATAL_FAILURE(first.settle()) << "seed " << seed;
      ASSERT_NO_FATAL_FAILURE(second.settle()) << "seed " << seed;
      ASSERT_EQ(without_empty(first.all()), without_empty(second.all()))
          << "seed " << seed << " batch " << batch;
      ASSERT_NO_FATAL_FAILURE(expect_consistent(first.all(), random.yields())) << "seed " << seed;
      // Work on what is dirty equals work on everything.
      const auto outcome = without_empty(first.all());
      first.everything_is_dirty();
      ASSERT_NO_FATAL_FAILURE(first.settle()) << "seed " << seed;
      ASSERT_EQ(without_empty(first.all()), outcome) << "seed " << seed << " batch " << batch;
    }
  }
}

}  // namespace
}  // namespace mesh
