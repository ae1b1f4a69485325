// What table "inet meshd" and the policy rules do with what two nodes themselves say to each other.
#include <arpa/inet.h>
#include <netinet/in.h>

#include "core/desired.h"
#include "dataplane/packets_node.h"

namespace mesh {
namespace {

using test::Addresses;
using test::eventually;
using test::ip;
using test::PacketsTest;
using testing::Contains;
using testing::Not;

// Exempt: UDP port 9000, and the port of the store on the peer.
class HostTraffic : public PacketsTest {
 protected:
  void SetUp() override {
    PacketsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    local_.addresses = {node()};
    local_.host_traffic = true;
    local_.failsafe = {{IpProtocol::kUdp, {9000, 9000}, {}},
                       {IpProtocol::kUdp, {9100, 9100}, peer()}};
    local_.device_name = "mesh0";
    local_.listen_port = 51820;
    local_.fwmark = test::kMark;
    local_.table_w = test::kTable;
    local_.table_h = test::kTable + 1;
    local_.table_t = test::kTable + 2;
    local_.rule_priority = 99;
    install(nft_spec(local_));
    for (const Rule& rule : desired_device(local_, true).rules)
      ASSERT_TRUE(rtnetlink().put_rule(rule));
  }
  // As when the peer is proven.
  void route_host() {
    Route route;
    route.key = {local_.table_t, Cidr::host(peer()), 1024};
    route.oif = test::index_of("mesh0");
    route.preferred_source = node();
    ASSERT_TRUE(rtnetlink().put_routes({&route, 1}).front());
  }
  // A datagram of this host from and to these ports, without a bound source. 0, or errno.
  static int send(const IpAddress& to, std::uint16_t from_port, std::uint16_t to_port,
                  std::uint32_t mark = 0, const std::string& device = "") {
    const UniqueFd socket(::socket(to_af(to.family()), SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_storage own{};
    sockaddr_storage other{};
    own.ss_family = other.ss_family = static_cast<sa_family_t>(to_af(to.family()));
    if (v4()) {
      reinterpret_cast<sockaddr_in&>(own).sin_port = htons(from_port);
      auto& address = reinterpret_cast<sockaddr_in&>(other);
      address.sin_port = htons(to_port);
      std::copy(to.bytes().begin(), to.bytes().end(),
                reinterpret_cast<std::uint8_t*>(&address.sin_addr));
    } else {
      reinterpret_cast<sockaddr_in6&>(own).sin6_port = htons(from_port);
      auto& address = reinterpret_cast<sockaddr_in6&>(other);
      address.sin6_port = htons(to_port);
      std::copy(to.bytes().begin(), to.bytes().end(),
                reinterpret_cast<std::uint8_t*>(&address.sin6_addr));
    }
    if (mark != 0) (void)setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark);
    if (!device.empty())
      (void)setsockopt(socket.get(), SOL_SOCKET, SO_BINDTODEVICE, device.c_str(),
                       static_cast<socklen_t>(device.size()));
    const socklen_t size = v4() ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    if (bind(socket.get(), reinterpret_cast<sockaddr*>(&own), size) != 0) return errno;
    const char text[100] = {};
    return sendto(socket.get(), text, sizeof text, 0, reinterpret_cast<sockaddr*>(&other), size) > 0
               ? 0
               : errno;
  }
  LocalNode local_;
};
INSTANTIATE_TEST_SUITE_P(BothFamilies, HostTraffic, testing::Values(Family::kIpv4, Family::kIpv6),
                         [](const auto& instance) {
                           return instance.param == Family::kIpv4 ? "IPv4" : "IPv6";
                         });

TEST_P(HostTraffic, AnUnboundSocketTakesTheMeshWithTheUnderlayAddress) {
  route_host();
  ASSERT_EQ(send(peer(), 0, 7777), 0);
  EXPECT_TRUE(tun().wait_for({node(), peer()}));
}

TEST_P(HostTraffic, FailsafePortsTakeTheUnderlayFromAndToAndSoDoesTheStore) {
  route_host();
  put(NftSet::kEncryptedHosts, Cidr::host(peer()));
  put(NftSet::kRequiredHosts, Cidr::host(peer()));
  put(NftSet::kRxRequiredHosts, Cidr::host(peer()));
  for (const auto& [from, to] : {std::pair(std::uint16_t{0}, std::uint16_t{9000}),
                                 std::pair(std::uint16_t{9000}, std::uint16_t{7777}),
                                 std::pair(std::uint16_t{0}, std::uint16_t{9100})}) {
    ASSERT_EQ(send(peer(), from, to), 0) << from << " " << to;
    EXPECT_TRUE(at_peer().wait_for({node(), peer()})) << from << " " << to;
  }
  EXPECT_THAT(tun().seen(), Not(Contains(Addresses{node(), peer()})));
}

TEST_P(HostTraffic, AStoresPortIsExemptAtItsOwnAddressAlone) {
  route_host();
  ASSERT_EQ(send(peer(), 9100, 7777), 0);
  EXPECT_TRUE(tun().wait_for({node(), peer()})) << "the port is the store's, not ours";
}

TEST_P(HostTraffic, WhatIsMarkedAsWireguardsOwnPassesAndNothingElseThatIsMarked) {
  put(NftSet::kRequiredHosts, Cidr::host(peer()));
  EXPECT_EQ(send(peer(), 51820, 51820, test::kMark), 0);
  EXPECT_EQ(send(peer(), 7777, 7777, test::kMark), EPERM);
  EXPECT_EQ(send(peer(), 51820, 51820), EPERM) << "without the mark it is somebody else's";
}

TEST_P(HostTraffic, ARequiredHostIsNotSentToPastTheMeshWhateverTheRoutesSay) {
  put(NftSet::kRequiredHosts, Cidr::host(peer()));
  EXPECT_EQ(send(peer(), 0, 7777), EPERM);
  route_host();
  EXPECT_EQ(send(peer(), 0, 7777, 0, "under0"), EPERM) << "bound to a device";
  EXPECT_EQ(counts()[NftSet::kRequiredHosts].first, 2U);
}

TEST_P(HostTraffic, ARequiredHostIsNotHeardPastTheMeshButForWhatIsExempt) {
  auto at_node = test::capture("under0");
  put(NftSet::kRxRequiredHosts, Cidr::host(peer()));
  ASSERT_EQ(send_from(peer_ns(), peer(), node()), 0);
  ASSERT_TRUE(eventually([&] { return counts()[NftSet::kRxRequiredHosts].first == 1; }));
  ASSERT_EQ(in(peer_ns(), [&] { return send(node(), 0, 9000); }), 0);
  ASSERT_EQ(in(peer_ns(), [&] { return send(node(), 9000, 7777); }), 0);
  ASSERT_EQ(in(peer_ns(), [&] { return send(node(), 0, 51820); }), 0);
  ASSERT_EQ(in(peer_ns(), [&] { return send(node(), 0, 9100); }), 0);  // no store here
  EXPECT_TRUE(eventually([&] { return counts()[NftSet::kRxRequiredHosts].first == 2; }))
      << "the first, and what went to the store's port";
}

TEST_P(HostTraffic, AnEncryptedHostThatLostItsRouteIsNotSentToInPlaintext) {
  put(NftSet::kEncryptedHosts, Cidr::host(peer()));
  EXPECT_EQ(send(peer(), 0, 7777), EPERM);
  ASSERT_EQ(send_from(peer_ns(), peer(), node()), 0);
  EXPECT_EQ(counts()[NftSet::kRequiredHosts].first, 0U) << "it is heard: it may have other news";
}

TEST_P(HostTraffic, WhatOthersSendToThePeersHostThroughThisOneIsTheirsToDecide) {
  route_host();
  for (const NftSet set : {NftSet::kEncryptedHosts, NftSet::kRequiredHosts, NftSet::kTxRequired})
    put(set, Cidr::host(peer()));
  ASSERT_EQ(send_from(outside_ns(), outside(), peer()), 0);
  EXPECT_TRUE(at_peer().wait_for({outside(), peer()}));
}

TEST_P(HostTraffic, WorkloadsMayNotReachARequiredPeersHostInPlaintext) {
  put(NftSet::kTxRequired, Cidr::host(peer()));
  put(NftSet::kRxRequired, Cidr::host(peer()));
  ASSERT_EQ(send_from(work_ns(), workload(), peer()), 0);
  ASSERT_TRUE(eventually([&] { return counts()[NftSet::kTxRequired].first == 1; }));
  ASSERT_EQ(send_from(peer_ns(), peer(), workload()), 0);
  ASSERT_TRUE(eventually([&] { return counts()[NftSet::kRxRequired].first == 1; }));
}

TEST_P(HostTraffic, NeighboursAreFoundWhereEverythingElseIsForbidden) {
  if (v4()) GTEST_SKIP() << "ARP is no IP";
  put(NftSet::kRequiredHosts, Cidr::host(peer()));
  test::run("ip -6 neigh flush dev under0");
  ASSERT_EQ(send(peer(), 0, 9000), 0);
  EXPECT_TRUE(at_peer().wait_for({node(), peer()}));
}

}  // namespace
}  // namespace mesh
