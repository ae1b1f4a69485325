// Who owns which prefix, address and key: one test a rule of design section 2, in both families.
#include "core/claims.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes/values.h"
#include "settled_claims.h"

namespace mesh {

namespace {

using test::cidr;
using test::ip;
using test::key;
using test::Settled;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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

// A mesh made from one template: what one of many does with what another has concerns nobody else.
TEST(ClaimCosts, OfManyThatClaimTheSameOnlyTheHoldersChangesTouchTheOthers) {
  constexpr int kNodes = 200;
  const auto name = [](int n) { return fmt::format("n{:03}", n); };
  const auto claims_of = [](int n) {
    NodeClaims claims = prefixes({cidr("10.2.0.0/16"), cidr("fd00:2::/64")});
    // One address of its own inside the prefix, another that is everybody's, and one key for all.
    claims.addresses = {IpAddress::v4(0x0A020000U + static_cast<std::uint32_t>(n)),
                        ip("192.0.2.2")};
    claims.key = key(7);
    return claims;
  };
  Claims claims;
  std::size_t touched = 0;
  for (int n = 0; n < kNodes; ++n) touched += claims.set(name(n), claims_of(n)).size();
  EXPECT_LE(touched, 10U * kNodes);
  for (int n = 0; n < kNodes; ++n) (void)claims.hold(name(n), claims.resolve(name(n)));
  (void)claims.prove_key(name(0), key(7));
  ASSERT_THAT(claims.resolve(name(0)).cidrs, ElementsAre(cidr("fd00:2::/64")));

  NodeClaims less = claims_of(150);
  less.cidrs.pop_back();
  less.addresses.pop_back();
  less.key.reset();
  EXPECT_LE(claims.set(name(150), less).size(), 3U);
  EXPECT_LE(claims.remove(name(150)).size(), 3U);
  EXPECT_LE(claims.set(name(150), claims_of(150)).size(), 3U);
  // The holder's own affairs are its own, until it gives up what the others want.
  NodeClaims more = claims_of(0);
  more.cidrs.push_back(cidr("10.9.0.0/24"));
  EXPECT_LE(claims.set(name(0), more).size(), 3U);
  more.cidrs.erase(more.cidrs.begin() + 1);
  EXPECT_EQ(claims.set(name(0), more).size(), kNodes);
}

TEST(ClaimCosts, AnAddressOfThisHostTouchesOnlyWhoClaimsItOrAPrefixOverIt) {
  Claims claims;
  OwnClaims own;
  own.cidrs = {cidr("10.1.0.0/24")};
  (void)claims.set_own(own);
  NodeClaims around = prefixes({cidr("10.2.0.0/24")});
  NodeClaims at = addresses({ip("192.0.2.3")});
  NodeClaims endpoint;
  endpoint.endpoint_addresses = {ip("192.0.2.4")};
  (void)claims.set("around", around);
  (void)claims.set("at", at);
  (void)claims.set("endpoint", endpoint);
  const auto with = [&](const char* address) {
    OwnClaims more = own;
    more.addresses.insert(ip(address));
    const NodeSet touched = claims.set_own(more);
    EXPECT_EQ(claims.set_own(own), touched) << "as it came, so it goes";
    return touched;
  };
  EXPECT_THAT(with("10.96.0.1"), IsEmpty());
  EXPECT_THAT(with("10.2.0.200"), ElementsAre("around"));
  EXPECT_THAT(with("192.0.2.3"), ElementsAre("at"));
  EXPECT_THAT(with("192.0.2.4"), ElementsAre("endpoint"));
  own.key = key(1);
  EXPECT_EQ(claims.set_own(own).size(), 3U);
}

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

}  // namespace
}  // namespace mesh
