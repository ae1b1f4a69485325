// What table "inet meshd" does with packets: what it counts, guards and leaves alone.
#include "dataplane/packets_node.h"

namespace mesh {
namespace {

using test::Addresses;
using test::eventually;
using test::ip;
using test::kDatagram4;
using test::kDatagram6;
using test::PacketsTest;
using testing::Contains;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;
using testing::UnorderedElementsAre;

INSTANTIATE_TEST_SUITE_P(BothFamilies, PacketsTest, testing::Values(Family::kIpv4, Family::kIpv6),
                         [](const auto& instance) {
                           return instance.param == Family::kIpv4 ? "IPv4" : "IPv6";
                         });

// Counting

TEST_P(PacketsTest, AForwardedPacketThroughTheMeshCountsOnceAsSentThroughWireguard) {
  route_peer(RouteType::kUnicast);
  ASSERT_EQ(send_from(work_ns(), workload(), peer_workload()), 0);
  ASSERT_TRUE(tun().wait_for({workload(), peer_workload()}));
  EXPECT_THAT(counts(), UnorderedElementsAre(Pair(NftSet::kTxWireguard, one_packet())));
}

TEST_P(PacketsTest, ALocallyMadePacketThroughTheMeshCountsOnce) {
  route_peer(RouteType::kUnicast);
  ASSERT_EQ(test::send_udp(ip(v4() ? "10.1.0.1" : "fd01::1"), peer_workload()), 0);
  ASSERT_TRUE(tun().wait_for({ip(v4() ? "10.1.0.1" : "fd01::1"), peer_workload()}));
  EXPECT_THAT(counts(), UnorderedElementsAre(Pair(NftSet::kTxWireguard, one_packet())));
}

TEST_P(PacketsTest, APacketOutOfTheMeshCountsOnceAsReceivedThroughWireguard) {
  for (const IpAddress& source : {peer_workload(), peer()}) {
    const auto packet = test::udp_packet(source, workload());
    ASSERT_EQ(write(tun().fd(), packet.data(), packet.size()), static_cast<ssize_t>(packet.size()));
    ASSERT_TRUE(at_workload().wait_for({source, workload()}));
  }
  EXPECT_THAT(counts(), UnorderedElementsAre(Pair(NftSet::kRxWireguard,
                                                  Pair(2U, 2 * (v4() ? kDatagram4 : kDatagram6)))));
}

TEST_P(PacketsTest, PlaintextCountsOncePerDirection) {
  route_peer(RouteType::kThrow);
  ASSERT_EQ(send_from(work_ns(), workload(), peer_workload()), 0);
  ASSERT_TRUE(at_peer().wait_for({workload(), peer_workload()}));
  EXPECT_THAT(counts(), UnorderedElementsAre(Pair(NftSet::kTxPlaintext, one_packet())));
  ASSERT_EQ(send_from(peer_ns(), peer_workload(), workload()), 0);
  ASSERT_TRUE(at_workload().wait_for({peer_workload(), workload()}));
  EXPECT_THAT(counts(), UnorderedElementsAre(Pair(NftSet::kTxPlaintext, one_packet()),
                                             Pair(NftSet::kRxPlaintext, one_packet())));
}

TEST_P(PacketsTest, WorkloadToNodeAddressInPlaintextCountsOncePerDirection) {
  ASSERT_EQ(send_from(work_ns(), workload(), peer()), 0);
  ASSERT_TRUE(at_peer().wait_for({workload(), peer()}));
  ASSERT_EQ(send_from(peer_ns(), peer(), workload()), 0);
  ASSERT_TRUE(at_workload().wait_for({peer(), workload()}));
  EXPECT_THAT(counts(), UnorderedElementsAre(Pair(NftSet::kTxPlaintext, one_packet()),
                                             Pair(NftSet::kRxPlaintext, one_packet())));
}

TEST_P(PacketsTest, WhatTheNodesThemselvesSayToEachOtherCountsNowhere) {
  auto at_node = test::capture("under0");
  ASSERT_EQ(test::send_udp(node(), peer()), 0);
  ASSERT_EQ(send_from(peer_ns(), peer(), node()), 0);
  ASSERT_TRUE(at_peer().wait_for({node(), peer()}));
  ASSERT_TRUE(at_node.wait_for({peer(), node()}));
  EXPECT_THAT(counts(), IsEmpty());
}

TEST_P(PacketsTest, TrafficWithOthersCountsNowhere) {
  ASSERT_EQ(send_from(work_ns(), workload(), outside()), 0);
  ASSERT_EQ(send_from(outside_ns(), outside(), workload()), 0);
  ASSERT_TRUE(at_workload().wait_for({outside(), workload()}));
  EXPECT_THAT(counts(), IsEmpty());
}

// Sources that are not in our record

TEST_P(PacketsTest, AForwardedForeignSourceKeepsThePathItHadWithoutMeshd) {
  route_peer(RouteType::kUnicast);
  ASSERT_EQ(send_from(outside_ns(), outside(), peer_workload()), 0);
  ASSERT_TRUE(at_peer().wait_for({outside(), peer_workload()}));
  EXPECT_THAT(counts(), UnorderedElementsAre(Pair(NftSet::kForeign, one_packet())));
}

TEST_P(PacketsTest, ALocalForeignSourceKeepsThePathItHadWithoutMeshd) {
  route_peer(RouteType::kUnicast);
  ASSERT_EQ(test::send_udp(outside_gateway(), peer_workload()), 0);
  ASSERT_TRUE(at_peer().wait_for({outside_gateway(), peer_workload()}));
  EXPECT_THAT(counts(), UnorderedElementsAre(Pair(NftSet::kForeign, one_packet())));
}

TEST_P(PacketsTest, AForeignSourceIsDroppedWhereThePeerIsRequired) {
  route_peer(RouteType::kUnicast);
  put(NftSet::kTxRequired, peer_prefix());
  ASSERT_EQ(send_from(outside_ns(), outside(), peer_workload()), 0);
  EXPECT_EQ(test::send_udp(outside_gateway(), peer_workload()), EPERM);
  ASSERT_TRUE(eventually([&] { return counts()[NftSet::kTxRequired].first == 2; }));
  EXPECT_EQ(counts().size(), 1U) << "what was dropped is no leak";
  expect_nothing_but_node_to_node(at_peer(), {outside(), peer_workload()});
}

// The guard

TEST_P(PacketsTest, TheGuardDropsWhatWouldLeaveUnencryptedEvenFromASocketBoundToADevice) {
  route_peer(RouteType::kThrow);
  put(NftSet::kTxRequired, peer_prefix());
  const IpAddress local = ip(v4() ? "10.1.0.1" : "fd01::1");
  ASSERT_EQ(send_from(work_ns(), workload(), peer_workload()), 0);
  EXPECT_EQ(test::send_udp(local, peer_workload()), EPERM);
  EXPECT_EQ(test::send_udp(local, peer_workload(), "under0"), EPERM);
  const auto three = Pair(3U, 3 * (v4() ? kDatagram4 : kDatagram6));
  ASSERT_TRUE(eventually([&] { return counts()[NftSet::kTxRequired].first == 3; }));
  EXPECT_THAT(counts(), UnorderedElementsAre(Pair(NftSet::kTxRequired, three)))
      << "what was dropped did not leave in plaintext";
  expect_nothing_but_node_to_node(at_peer(), {workload(), peer_workload()});
}

TEST_P(PacketsTest, TheGuardLetsThroughWhatLeavesByTheMesh) {
  route_peer(RouteType::kUnicast);
  put(NftSet::kTxRequired, peer_prefix());
  ASSERT_EQ(send_from(work_ns(), workload(), peer_workload()), 0);
  ASSERT_TRUE(tun().wait_for({workload(), peer_workload()}));
  EXPECT_THAT(counts(), UnorderedElementsAre(Pair(NftSet::kTxWireguard, one_packet())));
}

TEST_P(PacketsTest, TheGuardDropsWhatArrivesUnencrypted) {
  put(NftSet::kRxRequired, peer_prefix());
  ASSERT_EQ(send_from(peer_ns(), peer_workload(), workload()), 0);
  ASSERT_EQ(send_from(peer_ns(), peer_workload(), node()), 0);
  ASSERT_TRUE(eventually([&] { return counts()[NftSet::kRxRequired].first == 2; }));
  EXPECT_EQ(counts().size(), 1U) << "what was dropped was not received in plaintext";
  ASSERT_EQ(send_from(outside_ns(), outside(), workload()), 0);
  ASSERT_TRUE(at_workload().wait_for({outside(), workload()}));
  EXPECT_THAT(at_workload().seen(), Not(Contains(Addresses{peer_workload(), workload()})));

  const auto encrypted = test::udp_packet(peer_workload(), workload());
  ASSERT_GT(write(tun().fd(), encrypted.data(), encrypted.size()), 0);
  EXPECT_TRUE(at_workload().wait_for({peer_workload(), workload()}));
}

TEST_P(PacketsTest, TheGuardNeverCutsTheNodesOwnUnderlayWhichCarriesWireguard) {
  auto at_node = test::capture("under0");
  for (const NftSet set : {NftSet::kTxRequired, NftSet::kRxRequired}) put(set, Cidr::host(peer()));
  ASSERT_EQ(test::send_udp(node(), peer()), 0);
  ASSERT_EQ(send_from(peer_ns(), peer(), node()), 0);
  EXPECT_TRUE(at_peer().wait_for({node(), peer()}));
  EXPECT_TRUE(at_node.wait_for({peer(), node()}));
  EXPECT_THAT(counts(), IsEmpty());
}

TEST_P(PacketsTest, WhatTheRoutesRefuseIsCounted) {
  route_peer(RouteType::kUnreachable);
  put(NftSet::kTxBlocked, peer_prefix());
  put(NftSet::kTxRequired, peer_prefix());
  ASSERT_EQ(send_from(work_ns(), workload(), peer_workload()), 0);
  ASSERT_TRUE(eventually([&] { return counts()[NftSet::kTxBlocked].first == 1; }));
  EXPECT_THAT(counts(), UnorderedElementsAre(Pair(NftSet::kTxBlocked, one_packet())))
      << "once, by whatever dropped it";
  expect_nothing_but_node_to_node(at_peer(), {workload(), peer_workload()});
}

// An address that stands in no record, as a service's: at first nobody can tell for whom it is.
TEST_P(PacketsTest, TheGuardDropsWhatArrivesUnencryptedForAnAddressInNoRecord) {
  const IpAddress service = ip(v4() ? "198.18.0.1" : "fd18::1");
  const std::string word = v4() ? "" : "-6 ";
  const std::string host = service.to_string() + (v4() ? "/32" : "/128");
  in(peer_ns(), [&] {
    test::run(fmt::format("ip {}route add {} via {}", word, host, node().to_string()));
    return true;
  });
  test::run(fmt::format("ip {}addr add {} dev lo", word, host));
  put(NftSet::kRxRequired, peer_prefix());
  // To this host itself, and, by DNAT, to a workload.
  ASSERT_EQ(send_from(peer_ns(), peer_workload(), service), 0);
  ASSERT_TRUE(eventually([&] { return counts()[NftSet::kRxRequired].first == 1; }));
  test::run(fmt::format(
      "nft 'table inet services {{ chain in {{ type nat hook prerouting priority dstnat; {0} daddr "
      "{1} dnat {0} to {2}; }}; }}'",
      v4() ? "ip" : "ip6", service.to_string(), workload().to_string()));
  ASSERT_EQ(send_from(peer_ns(), peer_workload(), service), 0);
  ASSERT_TRUE(eventually([&] { return counts()[NftSet::kRxRequired].first == 2; }));
  // The translation works, for whoever need not encrypt.
  ASSERT_EQ(send_from(peer_ns(), peer(), service), 0);
  ASSERT_TRUE(at_workload().wait_for({peer(), workload()}));
  EXPECT_THAT(at_workload().seen(), Not(Contains(Addresses{peer_workload(), workload()})));
}

// Other nodes as gateways

TEST_P(PacketsTest, WhatCameThroughTheMeshDoesNotLeaveToAnEncryptedPeerInPlaintext) {
  route_peer(RouteType::kThrow);
  const auto decrypted = test::udp_packet(outside(), peer_workload());
  const auto arrive = [&] { return write(tun().fd(), decrypted.data(), decrypted.size()) > 0; };
  ASSERT_TRUE(arrive());
  ASSERT_TRUE(at_peer().wait_for({outside(), peer_workload()})) << "it would be forwarded";
  auto before = counts();
  put(NftSet::kClosedHop, Cidr::host(peer()));
  ASSERT_TRUE(arrive());
  ASSERT_TRUE(eventually([&] { return counts()[NftSet::kClosedHop].first == 1; }));
  EXPECT_EQ(counts()[NftSet::kTxPlaintext], before[NftSet::kTxPlaintext]);

  const auto local = test::udp_packet(peer_workload(), workload());
  ASSERT_GT(write(tun().fd(), local.data(), local.size()), 0);
  EXPECT_TRUE(at_workload().wait_for({peer_workload(), workload()})) << "workloads are no peers";
  EXPECT_EQ(counts()[NftSet::kClosedHop].first, 1U);
}

TEST_P(PacketsTest, APrefixOfOursThatMovedIsNotSentToItsNewNodeInPlaintext) {
  const IpAddress moved = ip(v4() ? "10.99.0.5" : "fd99::5");
  put(NftSet::kOwn, Cidr(moved, v4() ? 24 : 64));
  test::run(fmt::format("ip route add {} via {}", Cidr(moved, v4() ? 24 : 64).to_string(),
                        peer().to_string()));
  ASSERT_EQ(send_from(work_ns(), workload(), moved), 0);
  ASSERT_TRUE(at_peer().wait_for({workload(), moved})) << "it would be forwarded";
  put(NftSet::kClosedHop, Cidr::host(peer()));
  ASSERT_EQ(send_from(work_ns(), workload(), moved), 0);
  EXPECT_EQ(test::send_udp(ip(v4() ? "10.1.0.1" : "fd01::1"), moved), EPERM);
  ASSERT_TRUE(eventually([&] { return counts()[NftSet::kClosedHop].first == 2; }));
  // What is no prefix of ours may go by that gateway as it did.
  route_peer(RouteType::kThrow);
  ASSERT_EQ(send_from(outside_ns(), outside(), peer_workload()), 0);
  EXPECT_TRUE(at_peer().wait_for({outside(), peer_workload()}));
}

// TCP

TEST_P(PacketsTest, SegmentsOfForwardedConnectionsFitTheMeshInBothDirections) {
  route_peer(RouteType::kUnicast);
  const std::size_t fits = 1380 - (v4() ? 40 : 60);
  const auto from_peer = test::tcp_syn(peer_workload(), workload(), 8960);
  ASSERT_GT(write(tun().fd(), from_peer.data(), from_peer.size()), 0);
  const auto arrived = at_workload().wait_for({peer_workload(), workload()});
  ASSERT_TRUE(arrived);
  EXPECT_EQ(test::mss_of(*arrived), fits);

  auto second = a_host_behind_the_workload();
  const IpAddress behind = ip(v4() ? "10.1.0.99" : "fd01::99");
  for (const auto& [offered, expected] :
       {std::pair(std::size_t{1460}, fits), std::pair(std::size_t{1000}, std::size_t{1000})}) {
    const auto to_peer = test::tcp_syn(behind, peer_workload(), offered);
    ASSERT_GT(write(second.fd(), to_peer.data(), to_peer.size()), 0);
    const auto left = tun().wait_for({behind, peer_workload()});
    ASSERT_TRUE(left);
    EXPECT_EQ(test::mss_of(*left), expected) << "offered " << offered;
  }
}

TEST_P(PacketsTest, SegmentsPastTheMeshAreLeftAlone) {
  route_peer(RouteType::kThrow);
  auto second = a_host_behind_the_workload();
  const IpAddress behind = ip(v4() ? "10.1.0.99" : "fd01::99");
  const auto to_peer = test::tcp_syn(behind, peer_workload(), 1460);
  ASSERT_GT(write(second.fd(), to_peer.data(), to_peer.size()), 0);
  const auto left = at_peer().wait_for({behind, peer_workload()});
  ASSERT_TRUE(left);
  EXPECT_EQ(test::mss_of(*left), 1460U);
}

}  // namespace
}  // namespace mesh
