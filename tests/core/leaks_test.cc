// Who sends how much unencrypted: rates from two samples, highest first, with the reason.
#include "core/leaks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "sample_status.h"

namespace mesh {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Status later() {
  Status status = test::sample_status();
  status.peers[1].plaintext_tx_bytes += 4096;
  status.peers[1].plaintext_tx_packets += 4;
  status.peers.push_back(test::plaintext_peer("node-e"));
  status.peers[3].plaintext_rx_bytes = 100'000;
  return status;
}

TEST(Leaks, AreTheDifferenceOfTwoSamplesOverTheTimeBetween) {
  const LeakReport report = find_leaks(test::sample_status(), later(), 2.0);
  EXPECT_TRUE(report.leaking());
  ASSERT_EQ(report.leaks.size(), 2U) << "encrypted peers that never leaked are no leaks";
  EXPECT_EQ(report.leaks[0].node, "node-c");
  EXPECT_DOUBLE_EQ(report.leaks[0].tx_rate, 2048);
  EXPECT_DOUBLE_EQ(report.leaks[0].tx_packet_rate, 2);
  EXPECT_EQ(report.leaks[0].tx_bytes, 1024U + 4096U);
  EXPECT_EQ(report.leaks[0].reason, "it has no WireGuard: no /dev/net/tun");
  EXPECT_EQ(report.leaks[1].node, "node-e") << "seen once: no rate yet";
  EXPECT_EQ(report.leaks[1].rate(), 0);
}

TEST(Leaks, TheHighestRateComesFirstThenTheMostBytesThenTheName) {
  Status before = test::sample_status();
  before.peers = {test::plaintext_peer("a"), test::plaintext_peer("b"), test::plaintext_peer("c"),
                  test::plaintext_peer("d")};
  Status after = before;
  after.peers[3].plaintext_rx_bytes += 10;
  before.peers[2].plaintext_rx_bytes += 500;
  after.peers[2].plaintext_rx_bytes += 500;
  const LeakReport report = find_leaks(before, after, 1.0);
  std::string order;
  for (const Leak& leak : report.leaks) order += leak.node;
  EXPECT_EQ(order, "dcab");
}

TEST(Leaks, OfAMeshOfManyAreFoundInOneWalkOverEitherSample) {
  constexpr int kPeers = 20'000;
  Status before = test::sample_status();
  before.peers.clear();
  for (int n = 0; n < kPeers; ++n) before.peers.push_back(test::plaintext_peer(std::to_string(n)));
  Status after = before;
  std::ranges::reverse(after.peers);  // whatever their order
  for (PeerStatus& peer : after.peers) peer.plaintext_tx_bytes += 1000;
  const std::clock_t start = std::clock();
  const LeakReport report = find_leaks(before, after, 1.0);
  ASSERT_EQ(report.leaks.size(), kPeers);
  for (const Leak& leak : report.leaks) ASSERT_EQ(leak.tx_rate, 1000) << leak.node;
  // A search per peer takes four hundred million comparisons, many seconds of them.
  EXPECT_LT(std::clock() - start, 2 * CLOCKS_PER_SEC);
}

TEST(Leaks, WithoutNewBytesNothingLeaksAndCountsThatShrankAreNoRate) {
  Status before = later();
  EXPECT_FALSE(find_leaks(later(), later(), 2.0).leaking());
  EXPECT_FALSE(find_leaks(later(), test::sample_status(), 2.0).leaking());
  EXPECT_FALSE(find_leaks(test::sample_status(), later(), 0).leaking());
}

TEST(Leaks, AnEncryptedPeerWithForeignSourcesSaysSo) {
  const Status before = test::sample_status();
  Status after = before;
  after.peers[0].foreign_source_bytes = 1500;
  const LeakReport report = find_leaks(before, after, 1.0);
  EXPECT_EQ(report.leaks.at(0).node, "node-b");
  EXPECT_THAT(report.leaks[0].reason, HasSubstr("in no record"));
}

TEST(Leaks, TheTableSaysWhoHowMuchAndWhyAndEscapesWhatOthersWrote) {
  Status after = later();
  after.peers[1].detail = "evil\x1b[2J";
  const LeakReport report = find_leaks(test::sample_status(), after, 2.0);
  const std::string table = render_leaks(report, {});
  EXPECT_THAT(table, HasSubstr("node-a: 2.0 KiB/s unencrypted with 1 peer now, 106 KiB in all"));
  EXPECT_THAT(table, HasSubstr("NODE    STATE      RATE"));
  EXPECT_THAT(table, HasSubstr("evil\\x1b[2J"));
  EXPECT_THAT(table, Not(HasSubstr("FOREIGN/S")));
  EXPECT_THAT(render_leaks(report, {.wide = true}), HasSubstr("FOREIGN/S"));
  EXPECT_THAT(render_leaks(report, {.color = true}), HasSubstr("\x1b[31mnode-c"));
}

TEST(Leaks, TheDocumentHasItsSchema) {
  const auto json = to_json(find_leaks(test::sample_status(), later(), 2.0));
  EXPECT_EQ(json["schema"], "meshd.leaks/v1");
  EXPECT_EQ(json["leaking"], true);
  EXPECT_EQ(json["leaks"][0]["node"], "node-c");
  EXPECT_EQ(json["leaks"][0]["txBytesPerSecond"], 2048.0);
}

}  // namespace
}  // namespace mesh
