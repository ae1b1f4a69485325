// Bytes per node: they only grow, whatever becomes of the elements that counted them.
#include "meshd/daemon/traffic.h"

#include <gtest/gtest.h>

#include "fakes/values.h"

namespace mesh::test {
namespace {

NftElement element(NftSet set, const char* prefix) {
  const Cidr range = cidr(prefix);
  return {set, {range.base(), range.last()}};
}

const NftElement kB = element(NftSet::kTxPlaintext, "10.2.0.0/24");
const NftElement kHalf = element(NftSet::kTxPlaintext, "10.2.0.0/25");

TEST(Traffic, WhatTheKernelCountedBeforeBelongsToTheTotal) {
  Traffic traffic;
  traffic.update({{kB, 1, 1000}}, {{kB, "b"}});
  EXPECT_EQ(traffic.bytes("b", NftSet::kTxPlaintext), 1000U);
  EXPECT_EQ(traffic.bytes("b", NftSet::kRxPlaintext), 0U);
}

TEST(Traffic, OnlyTheDifferenceIsAdded) {
  Traffic traffic;
  traffic.update({{kB, 1, 1000}}, {{kB, "b"}});
  traffic.update({{kB, 1, 1000}}, {{kB, "b"}});
  traffic.update({{kB, 2, 1500}}, {{kB, "b"}});
  EXPECT_EQ(traffic.bytes("b", NftSet::kTxPlaintext), 1500U);
}

TEST(Traffic, ANodesTotalSurvivesTheSplittingOfItsPrefix) {
  Traffic traffic;
  traffic.update({{kB, 1, 1000}}, {{kB, "b"}});
  traffic.update({{kHalf, 1, 10}}, {{kHalf, "b"}});
  EXPECT_EQ(traffic.bytes("b", NftSet::kTxPlaintext), 1010U);
}

TEST(Traffic, AnElementMadeAnewStartsAtZero) {
  Traffic traffic;
  traffic.update({{kB, 1, 1000}}, {{kB, "b"}});
  traffic.update({{kB, 1, 30}}, {{kB, "b"}});
  EXPECT_EQ(traffic.bytes("b", NftSet::kTxPlaintext), 1030U);
}

TEST(Traffic, ARulesetMadeAnewStartsAtZeroEvenWhenItCountedMoreSince) {
  Traffic traffic;
  traffic.update({{kB, 1, 1000}}, {{kB, "b"}});
  traffic.restart();
  traffic.update({{kB, 1, 1200}}, {{kB, "b"}});
  EXPECT_EQ(traffic.bytes("b", NftSet::kTxPlaintext), 2200U);
}

TEST(Traffic, APrefixThatMovesCountsForItsNewOwnerFromThenOn) {
  Traffic traffic;
  traffic.update({{kB, 1, 1000}}, {{kB, "b"}});
  traffic.update({{kB, 1, 1100}}, {{kB, "c"}});
  EXPECT_EQ(traffic.bytes("b", NftSet::kTxPlaintext), 1000U);
  EXPECT_EQ(traffic.bytes("c", NftSet::kTxPlaintext), 100U);
}

TEST(Traffic, ElementsOfNobodyAndMyOwnCountForNobody) {
  Traffic traffic;
  traffic.update({{kB, 1, 1000}, {kHalf, 1, 5}}, {{kB, ""}});
  EXPECT_TRUE(traffic.all(NftSet::kTxPlaintext).empty());
}

TEST(Traffic, ANodeThatLeftIsForgotten) {
  Traffic traffic;
  traffic.update({{kB, 1, 1000}}, {{kB, "b"}});
  traffic.keep_only({"c"});
  EXPECT_EQ(traffic.bytes("b", NftSet::kTxPlaintext), 0U);
}

}  // namespace
}  // namespace mesh::test
