// Who owns which prefix, address and key: one test a rule of design section 2, in both families,
// and the promise that the end depends on the end input and on the holders, never on the order of
// events.
#include "core/claims.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "fakes/values.h"

namespace mesh {

void PrintTo(const Accepted& accepted, std::ostream* out) {
  for (const Cidr& c : accepted.cidrs) *out << c.to_string() << " ";
  for (const IpAddress& a : accepted.addresses) *out << a.to_string() << " ";
  for (const std::string& w : accepted.warnings) *out << "[" << w << "] ";
}

namespace {

using test::cidr;
using test::ip;
using test::key;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Claims with the loop that settles them, as the model runs it: a batch has no order.
class Settled {
 public:
  void own(OwnClaims claims) { dirty_.merge(claims_.set_own(std::move(claims))); }
  void record(const std::string& node, NodeClaims claims) {
    dirty_.merge(claims_.set(node, std::move(claims)));
  }
  void remove(const std::string& node) { dirty_.merge(claims_.remove(node)); }
  void seed(const std::string& node, const Cidr& prefix) { claims_.seed(node, prefix); }
  void everything_is_dirty() {
    for (const auto& [node, accepted] : accepted_) dirty_.insert(node);
  }

  void settle() {
    int rounds = 0;
    while (!dirty_.empty()) {
      ASSERT_LE(++rounds, 6) << "the claims do not come to rest";
      std::map<std::string, Accepted> outcomes;
      for (const std::string& node : dirty_) outcomes[node] = claims_.resolve(node);
      dirty_.clear();
      for (const auto& [node, accepted] : outcomes) {
        dirty_.merge(claims_.hold(node, accepted));
        accepted_[node] = accepted;
      }
    }
  }
  const Accepted& of(const std::string& node) { return accepted_[node]; }
  const std::map<std::string, Accepted>& all() const { return accepted_; }
  Claims& claims() { return claims_; }

 private:
  Claims claims_;
  NodeSet dirty_;
  std::map<std::string, Accepted> accepted_;
};

NodeClaims prefixes(std::vector<Cidr> cidrs) {
  NodeClaims claims;
  claims.cidrs = std::move(cidrs);
  return claims;
}
NodeClaims addresses(std::vector<IpAddress> list) {
  NodeClaims claims;
  claims.addresses = std::move(list);
  return claims;
}
NodeClaims with_key(int n) {
  NodeClaims claims;
  claims.key = key(n);
  return claims;
}

// The same rules hold in both families.
struct Plan {
  const char* name;
  Cidr prefix;
  Cidr narrow;          // inside prefix
  Cidr wide;            // around prefix
  IpAddress inside;     // an address in prefix, outside narrow
  IpAddress elsewhere;  // in none of them
  Cidr mine;
  Cidr inside_mine;
  IpAddress my_workload_address;  // in mine, outside inside_mine
};
const Plan kPlans[] = {
    {"IPv4", cidr("10.2.0.0/24"), cidr("10.2.0.9/32"), cidr("10.2.0.0/16"), ip("10.2.0.77"),
     ip("192.0.2.2"), cidr("10.1.0.0/24"), cidr("10.1.0.9/32"), ip("10.1.0.1")},
    {"IPv6", cidr("fd00:2::/64"), cidr("fd00:2::9/128"), cidr("fd00:2::/48"), ip("fd00:2::77"),
     ip("2001:db8::2"), cidr("fd00:1::/64"), cidr("fd00:1::9/128"), ip("fd00:1::1")},
};

class ClaimRules : public ::testing::TestWithParam<Plan> {
 protected:
  void SetUp() override {
    OwnClaims own;
    own.cidrs = {p.mine};
    own.addresses = {p.my_workload_address};
    mesh_.own(own);
  }
  const Plan p = GetParam();
  Settled mesh_;
};

TEST_P(ClaimRules, AClaimThatNobodyDisputesIsAccepted) {
  NodeClaims claims = prefixes({p.prefix});
  claims.addresses = {p.elsewhere};
  mesh_.record("b", claims);
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").cidrs, ElementsAre(p.prefix));
  EXPECT_THAT(mesh_.of("b").addresses, ElementsAre(p.elsewhere));
  EXPECT_THAT(mesh_.of("b").warnings, IsEmpty());
}

TEST_P(ClaimRules, OfEqualPrefixesTheIncumbentKeepsIts) {
  mesh_.record("z", prefixes({p.prefix}));
  mesh_.settle();
  mesh_.record("a", prefixes({p.prefix}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("z").cidrs, ElementsAre(p.prefix));
  EXPECT_THAT(mesh_.of("z").warnings, IsEmpty());
  EXPECT_THAT(mesh_.of("a").cidrs, IsEmpty());
  EXPECT_THAT(mesh_.of("a").warnings, ElementsAre(HasSubstr("z claims it too and keeps it")));
}

TEST_P(ClaimRules, OfEqualPrefixesWithoutAnIncumbentTheSmallerNameGetsIt) {
  mesh_.record("z", prefixes({p.prefix}));
  mesh_.record("a", prefixes({p.prefix}));
  mesh_.record("m", prefixes({p.prefix}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("a").cidrs, ElementsAre(p.prefix));
  EXPECT_THAT(mesh_.of("m").cidrs, IsEmpty());
  EXPECT_THAT(mesh_.of("z").cidrs, IsEmpty());
}

TEST_P(ClaimRules, WhatTheIncumbentGivesUpGoesToTheNext) {
  mesh_.record("z", prefixes({p.prefix}));
  mesh_.settle();
  mesh_.record("a", prefixes({p.prefix}));
  mesh_.record("m", prefixes({p.prefix}));
  mesh_.settle();
  mesh_.record("z", prefixes({}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("a").cidrs, ElementsAre(p.prefix));
  mesh_.remove("a");
  mesh_.settle();
  EXPECT_THAT(mesh_.of("m").cidrs, ElementsAre(p.prefix));
}

TEST_P(ClaimRules, APrefixThatMovesInOneBatchHasNoMomentWithoutAnOwner) {
  mesh_.record("a", prefixes({p.prefix}));
  mesh_.settle();
  mesh_.record("a", prefixes({}));
  mesh_.record("b", prefixes({p.prefix}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").cidrs, ElementsAre(p.prefix));
  EXPECT_THAT(mesh_.of("a").cidrs, IsEmpty());
}

TEST_P(ClaimRules, AMoreSpecificPrefixIsLegal) {
  mesh_.record("b", prefixes({p.prefix}));
  mesh_.record("c", prefixes({p.narrow}));
  mesh_.record("d", prefixes({p.wide}));
  mesh_.settle();
  for (const char* node : {"b", "c", "d"}) EXPECT_THAT(mesh_.of(node).warnings, IsEmpty()) << node;
}

TEST_P(ClaimRules, AMoreSpecificPrefixInsideMineIsLegal) {
  mesh_.record("b", prefixes({p.inside_mine}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").cidrs, ElementsAre(p.inside_mine));
}

TEST_P(ClaimRules, APrefixInsideMineThatIsLocalToThisHostIsRefused) {
  mesh_.record("b", prefixes({Cidr::host(p.my_workload_address)}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").cidrs, IsEmpty());
  EXPECT_THAT(mesh_.of("b").warnings, ElementsAre(HasSubstr("this host's own address")));
}

TEST_P(ClaimRules, APrefixEqualToMineIsRefused) {
  mesh_.record("b", prefixes({p.mine}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").warnings, ElementsAre(HasSubstr("this node's own prefix")));
}

TEST_P(ClaimRules, APrefixThatCoversMineIsRefused) {
  mesh_.record("b", prefixes({Cidr(p.mine.base(), p.mine.length() - 1)}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").cidrs, IsEmpty());
  EXPECT_THAT(mesh_.of("b").warnings, ElementsAre(HasSubstr("this node's own prefix")));
}

TEST_P(ClaimRules, MineBeatsAnIncumbent) {
  mesh_.record("b", prefixes({p.prefix}));
  mesh_.settle();
  OwnClaims own;
  own.cidrs = {p.mine, p.prefix};
  mesh_.own(own);
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").cidrs, IsEmpty());
}

TEST_P(ClaimRules, AnAddressOfThisHostIsNobodyElses) {
  mesh_.record("b", addresses({p.my_workload_address}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").addresses, IsEmpty());
  EXPECT_THAT(mesh_.of("b").warnings, ElementsAre(HasSubstr("an address of this host")));
}

TEST_P(ClaimRules, APrefixOverAnotherNodesUnderlayAddressIsRefused) {
  mesh_.record("b", addresses({p.inside}));
  mesh_.settle();
  mesh_.record("a", prefixes({p.prefix}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").addresses, ElementsAre(p.inside));
  EXPECT_THAT(mesh_.of("b").warnings, IsEmpty());
  EXPECT_THAT(mesh_.of("a").cidrs, IsEmpty());
  EXPECT_THAT(mesh_.of("a").warnings, ElementsAre(HasSubstr("an underlay address of b")));
}

TEST_P(ClaimRules, APrefixOverAnotherNodesUnderlayAddressIsRefusedAlsoWhenBothAreNew) {
  mesh_.record("a", prefixes({p.prefix}));
  mesh_.record("b", addresses({p.inside}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("a").cidrs, IsEmpty());
  EXPECT_THAT(mesh_.of("b").addresses, ElementsAre(p.inside));
}

TEST_P(ClaimRules, ANewUnderlayAddressInsideAnIncumbentsPrefixIsRefusedItself) {
  mesh_.record("b", prefixes({p.prefix}));
  mesh_.settle();
  mesh_.record("a", addresses({p.inside}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").cidrs, ElementsAre(p.prefix));
  EXPECT_THAT(mesh_.of("b").warnings, IsEmpty());
  EXPECT_THAT(mesh_.of("a").addresses, IsEmpty());
  EXPECT_THAT(mesh_.of("a").warnings, ElementsAre(HasSubstr("which b holds")));
}

TEST_P(ClaimRules, AnEndpointInsideAnIncumbentsPrefixCostsTheIncumbentNothing) {
  mesh_.record("b", prefixes({p.prefix}));
  mesh_.settle();
  NodeClaims claims;
  claims.endpoint_addresses = {p.inside};
  mesh_.record("a", claims);
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").cidrs, ElementsAre(p.prefix));
  EXPECT_EQ(mesh_.claims().accepted_prefix_over(p.inside), p.prefix);
}

TEST_P(ClaimRules, AnEndpointInsideAPrefixCostsItsOwnerNothingAlsoWhenBothAreNew) {
  NodeClaims claims;
  claims.endpoint_addresses = {p.inside};
  mesh_.record("a", claims);
  mesh_.record("b", prefixes({p.prefix}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").cidrs, ElementsAre(p.prefix));
  EXPECT_THAT(mesh_.of("b").warnings, IsEmpty());
}

TEST_P(ClaimRules, ANewPrefixOverAProvenNodesEndpointIsRefused) {
  NodeClaims claims = with_key(1);
  claims.endpoint_addresses = {p.inside};
  mesh_.record("b", claims);
  mesh_.settle();
  mesh_.claims().prove_key("b", key(1));
  mesh_.record("a", prefixes({p.prefix}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("a").cidrs, IsEmpty());
  EXPECT_THAT(mesh_.claims().keep_keys("b", {}), Contains("a")) << "until b uses it no more";
}

TEST_P(ClaimRules, ANodesOwnAddressInsideItsOwnPrefixIsItsOwnAffair) {
  NodeClaims claims = prefixes({p.prefix});
  claims.addresses = {p.inside};
  mesh_.record("b", claims);
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").warnings, IsEmpty());
}

TEST_P(ClaimRules, OfEqualAddressesTheIncumbentElseTheSmallerNameKeepsIt) {
  mesh_.record("b", addresses({p.elsewhere}));
  mesh_.settle();
  mesh_.record("a", addresses({p.elsewhere}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").addresses, ElementsAre(p.elsewhere));
  EXPECT_THAT(mesh_.of("a").addresses, IsEmpty());
  mesh_.remove("a");
  mesh_.remove("b");
  mesh_.settle();
  mesh_.record("b", addresses({p.elsewhere}));
  mesh_.record("a", addresses({p.elsewhere}));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("a").addresses, ElementsAre(p.elsewhere));
  EXPECT_THAT(mesh_.of("b").addresses, IsEmpty());
}

TEST_P(ClaimRules, AnAddressIsNotLostToAClaimantThatIsRefusedItself) {
  mesh_.record("b", prefixes({p.prefix}));
  mesh_.settle();
  NodeClaims more = prefixes({p.prefix});
  more.addresses = {p.inside};
  mesh_.record("b", more);
  mesh_.record("a", addresses({p.inside}));  // the smaller name, but inside b's prefix
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").addresses, ElementsAre(p.inside));
  EXPECT_THAT(mesh_.of("a").addresses, IsEmpty());
}

TEST_P(ClaimRules, ARefusedClaimCostsThatClaimOnly) {
  NodeClaims claims = prefixes({p.mine, p.prefix});
  claims.addresses = {p.elsewhere, p.my_workload_address};
  mesh_.record("b", claims);
  mesh_.settle();
  EXPECT_THAT(mesh_.of("b").cidrs, ElementsAre(p.prefix));
  EXPECT_THAT(mesh_.of("b").addresses, ElementsAre(p.elsewhere));
  EXPECT_EQ(mesh_.of("b").warnings.size(), 2U);
}

TEST_P(ClaimRules, HoldingsFoundInARunningDataPathMakeAnIncumbent) {
  mesh_.record("z", prefixes({p.prefix}));
  mesh_.record("a", prefixes({p.prefix}));
  mesh_.seed("z", p.prefix);
  mesh_.settle();
  EXPECT_THAT(mesh_.of("z").cidrs, ElementsAre(p.prefix));
  EXPECT_THAT(mesh_.of("a").cidrs, IsEmpty());
}

TEST_P(ClaimRules, AHoldingThatNoRecordClaimsAnyMoreCountsForNobody) {
  mesh_.record("a", prefixes({p.prefix}));
  mesh_.seed("z", p.prefix);
  mesh_.settle();
  EXPECT_THAT(mesh_.of("a").cidrs, ElementsAre(p.prefix));
}

TEST_P(ClaimRules, ASeededHostPrefixIsHeldAsPrefixAndAsAddress) {
  NodeClaims both = prefixes({Cidr::host(p.elsewhere)});
  both.addresses = {p.elsewhere};
  mesh_.record("z", both);
  mesh_.record("a", addresses({p.elsewhere}));
  mesh_.seed("z", Cidr::host(p.elsewhere));
  mesh_.settle();
  EXPECT_THAT(mesh_.of("z").addresses, ElementsAre(p.elsewhere));
  EXPECT_THAT(mesh_.of("z").cidrs, ElementsAre(Cidr::host(p.elsewhere)));
  EXPECT_THAT(mesh_.of("a").addresses, IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Families, ClaimRules, ::testing::ValuesIn(kPlans),
                         [](const auto& test) { return test.param.name; });

class UnusablePrefix : public ::testing::TestWithParam<const char*> {};

TEST_P(UnusablePrefix, IsRefusedAlwaysWithItsCause) {
  EXPECT_NE(why_prefix_unusable(cidr(GetParam())), "");
  Settled mesh;
  mesh.record("b", prefixes({cidr(GetParam()), cidr("10.9.0.0/24")}));
  mesh.settle();
  EXPECT_THAT(mesh.of("b").cidrs, ElementsAre(cidr("10.9.0.0/24")));
  EXPECT_EQ(mesh.of("b").warnings.size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(EachKind, UnusablePrefix,
                         ::testing::Values("0.0.0.0/0", "::/0", "127.0.0.0/8", "127.3.0.0/16",
                                           "126.0.0.0/7", "169.254.1.0/24", "224.0.0.0/4",
                                           "239.1.2.3/32", "255.255.255.255/32", "0.0.0.0/32",
                                           "::1/128", "::/128", "fe80::/64", "ff02::/16",
                                           "::ffff:10.2.0.0/112", "::ffff:0:0/96"));

TEST(UsablePrefix, OrdinaryPrefixesAreUsable) {
  for (const char* text :
       {"10.0.0.0/8", "192.0.2.2/32", "100.64.0.0/10", "fd00::/8", "2001:db8::/32", "64:ff9b::/96"})
    EXPECT_EQ(why_prefix_unusable(cidr(text)), "") << text;
}

TEST(UnusableAddress, IsRefusedWithItsCause) {
  for (const char* text : {"127.0.0.1", "0.0.0.0", "169.254.0.1", "224.0.0.1", "255.255.255.255",
                           "::", "::1", "fe80::1", "ff02::1", "::ffff:192.0.2.1"}) {
    Settled mesh;
    mesh.record("b", addresses({ip(text)}));
    mesh.settle();
    EXPECT_THAT(mesh.of("b").addresses, IsEmpty()) << text;
    EXPECT_EQ(mesh.of("b").warnings.size(), 1U) << text;
  }
}

// --- keys ---

class KeyClaims : public ::testing::Test {
 protected:
  bool duplicate(const std::string& node) const { return claims_.key_is_duplicate(node); }
  Claims claims_;
};

TEST_F(KeyClaims, AKeyOfOneNodeIsNoDuplicate) {
  claims_.set("a", with_key(1));
  claims_.set("b", with_key(2));
  EXPECT_FALSE(duplicate("a"));
  EXPECT_FALSE(duplicate("b"));
  EXPECT_FALSE(duplicate("nobody"));
}

TEST_F(KeyClaims, WithNoneProvenAllClaimantsOfAKeyAreRefused) {
  claims_.set("a", with_key(1));
  EXPECT_THAT(claims_.set("b", with_key(1)), ElementsAre("a", "b"));
  EXPECT_TRUE(duplicate("a"));
  EXPECT_TRUE(duplicate("b"));
}

TEST_F(KeyClaims, TheClaimantAlreadyProvenKeepsItAndTheNewcomerIsRefused) {
  claims_.set("z", with_key(1));
  claims_.prove_key("z", key(1));
  claims_.set("a", with_key(1));
  EXPECT_FALSE(duplicate("z"));
  EXPECT_TRUE(duplicate("a"));
}

TEST_F(KeyClaims, ANewcomerCannotProveAKeyThatIsHeld) {
  claims_.set("z", with_key(1));
  claims_.prove_key("z", key(1));
  claims_.set("a", with_key(1));
  EXPECT_THAT(claims_.prove_key("a", key(1)), IsEmpty());
  EXPECT_TRUE(duplicate("a"));
  EXPECT_FALSE(duplicate("z"));
}

TEST_F(KeyClaims, WhenTheOtherClaimantGoesTheKeyIsNoDuplicateAnyMore) {
  claims_.set("a", with_key(1));
  claims_.set("b", with_key(1));
  EXPECT_THAT(claims_.remove("a"), ElementsAre("a", "b"));
  EXPECT_FALSE(duplicate("b"));
}

TEST_F(KeyClaims, AKeyStillInUseIsNotTakenByANewcomerAlthoughTheRecordPublishesTheNext) {
  claims_.set("b", with_key(1));
  claims_.prove_key("b", key(1));
  claims_.set("b", with_key(2));
  claims_.set("a", with_key(1));
  claims_.keep_keys("b", {key(1), key(2)});
  EXPECT_TRUE(duplicate("a"));
  EXPECT_THAT(claims_.keep_keys("b", {key(2)}), ElementsAre("a"));
  EXPECT_FALSE(duplicate("a"));
}

TEST_F(KeyClaims, MyOwnKeyFromAnotherNodeIsADuplicateEvenIfProven) {
  OwnClaims own;
  own.key = key(9);
  claims_.set("a", with_key(9));
  claims_.prove_key("a", key(9));
  EXPECT_FALSE(duplicate("a"));
  EXPECT_THAT(claims_.set_own(own), ElementsAre("a"));
  EXPECT_TRUE(duplicate("a"));
}

// --- order ---

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
  explicit RandomClaims(unsigned seed) : random_(seed) {}
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
    return {node, claims};
  }

 private:
  template <class T>
  const T& one_of(const std::vector<T>& list) {
    return list[static_cast<std::size_t>(pick(0, static_cast<int>(list.size()) - 1))];
  }
  std::mt19937 random_;
};

// What must be true of any outcome: a prefix and an address have one owner, and nobody's accepted
// prefix covers another's accepted address.
void expect_consistent(const std::map<std::string, Accepted>& all) {
  std::map<Cidr, std::string> owners;
  std::map<IpAddress, std::string> address_owners;
  for (const auto& [node, accepted] : all) {
    for (const Cidr& c : accepted.cidrs)
      ASSERT_TRUE(owners.emplace(c, node).second) << c.to_string() << " has two owners";
    for (const IpAddress& a : accepted.addresses)
      ASSERT_TRUE(address_owners.emplace(a, node).second) << a.to_string() << " has two owners";
  }
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
      ASSERT_NO_FATAL_FAILURE(expect_consistent(first.all())) << "seed " << seed;
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
