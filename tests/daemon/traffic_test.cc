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

TEST(Traffic, WhatIsReadOfSomeSetsLeavesTheOthers) {
  const NftElement sent = element(NftSet::kTxWireguard, "10.2.0.0/24");
  const std::map<NftElement, std::string> owners{{kB, "b"}, {sent, "b"}};
  Traffic traffic;
  traffic.update({{sent, 1, 100}, {kB, 1, 1000}}, owners);
  traffic.written();
  traffic.update({{sent, 2, 150}}, owners,
                 NftSets().set(static_cast<std::size_t>(NftSet::kTxWireguard)));
  EXPECT_EQ(traffic.bytes("b", NftSet::kTxWireguard), 150U);
  EXPECT_FALSE(traffic.meters_went());
  traffic.update({{sent, 2, 150}, {kB, 2, 1500}}, owners);
  EXPECT_EQ(traffic.bytes("b", NftSet::kTxPlaintext), 1500U);
}

TEST(Traffic, AnElementThatWentAndCameBackStartsAtZeroHoweverMuchItCountedSince) {
  Traffic traffic;
  traffic.update({{kB, 1, 1000}}, {{kB, "b"}});
  traffic.written();
  traffic.gone(kB);
  EXPECT_TRUE(traffic.meters_went());
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

TEST(Traffic, WhatIsNotOwnedYetCountsInFullWhenItIs) {
  Traffic traffic;
  traffic.update({{kB, 1, 1000}}, {});
  traffic.update({{kB, 3, 1500}}, {{kB, "b"}});
  EXPECT_EQ(traffic.count("b", NftSet::kTxPlaintext), (Traffic::Count{1500, 3}));
}

TEST(Traffic, AMeterNobodyOwnsNowCountsForWhomItDid) {
  Traffic traffic;
  traffic.update({{kB, 1, 1000}}, {{kB, "b"}});
  traffic.update({{kB, 2, 1500}}, {});
  EXPECT_EQ(traffic.bytes("b", NftSet::kTxPlaintext), 1500U);
}

Traffic restarted(const Traffic& traffic) {
  auto read = Traffic::parse(traffic.format());
  EXPECT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, traffic);
  return *std::move(read);
}

TEST(Traffic, ARestartGoesOnWhereItWasAndCountsNothingTwice) {
  Traffic traffic;
  traffic.update({{kB, 10, 1000}}, {{kB, "b"}});
  traffic.restart();
  traffic.update({{kB, 2, 200}}, {{kB, "b"}});
  Traffic again = restarted(traffic);
  EXPECT_EQ(again.count("b", NftSet::kTxPlaintext), (Traffic::Count{1200, 12}));
  again.update({{kB, 5, 500}}, {});
  again.update({{kB, 6, 600}}, {{kB, "b"}});
  EXPECT_EQ(again.count("b", NftSet::kTxPlaintext), (Traffic::Count{1600, 16}))
      << "what was counted while meshd was stopped, once";
}

TEST(Traffic, AfterAnEarlierWritingACrashLosesNothingThatTheKernelStillCounts) {
  Traffic traffic;
  traffic.update({{kB, 1, 100}}, {{kB, "b"}});
  Traffic again = restarted(traffic);
  traffic.update({{kB, 9, 900}}, {{kB, "b"}});  // and then it is killed
  again.update({{kB, 10, 1000}}, {{kB, "b"}});
  EXPECT_EQ(again.bytes("b", NftSet::kTxPlaintext), 1000U);
}

TEST(Traffic, AMeterThatWentIsToBeWrittenDown) {
  Traffic traffic;
  traffic.update({{kB, 1, 100}}, {{kB, "b"}});
  EXPECT_FALSE(traffic.meters_went());
  traffic.update({{kHalf, 0, 0}}, {{kHalf, "b"}});
  EXPECT_TRUE(traffic.meters_went());
  traffic.written();
  EXPECT_FALSE(traffic.meters_went());
}

TEST(Traffic, TheTunnelsBytesSurviveItsPeerBeingMadeAgainAndANewKey) {
  const auto with = [](std::uint64_t rx, std::uint64_t tx) {
    WgPeer peer;
    peer.rx_bytes = rx;
    peer.tx_bytes = tx;
    return peer;
  };
  Traffic traffic;
  traffic.update_tunnels({{key(2), with(100, 10)}}, {{key(2), "b"}});
  traffic.update_tunnels({{key(2), with(150, 20)}}, {{key(2), "b"}});
  traffic.update_tunnels({{key(2), with(5, 1)}}, {{key(2), "b"}});
  EXPECT_EQ(traffic.tunnel("b"), (Traffic::Tunnel{155, 21}));
  Traffic again = restarted(traffic);
  again.update_tunnels({{key(2), with(6, 1)}, {key(3), with(40, 4)}},
                       {{key(2), "b"}, {key(3), "b"}});
  EXPECT_EQ(again.tunnel("b"), (Traffic::Tunnel{196, 25}));
}

TEST(Traffic, WhatIsNoneOfItsLinesIsRefusedWithItsNumber) {
  EXPECT_TRUE(Traffic::parse("a-later-kind x y\n"));
  for (const char* line :
       {"total b tx_plaintext 1\n", "total b tx_plaintext x 1\n",
        "meter tx_plaintext 10.0.0.0 b 1 1\n", "key nonsense b 1 1\n", "tunnel b 1\n"}) {
    const auto read = Traffic::parse(std::string("\n") + line);
    if (std::string_view(line).starts_with("meter")) continue;  // one address is a range
    ASSERT_FALSE(read) << line;
    EXPECT_NE(read.error().message.find("line 2"), std::string::npos);
  }
}

}  // namespace
}  // namespace mesh::test
