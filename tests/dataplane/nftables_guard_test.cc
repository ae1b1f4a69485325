// That the guard of table "inet meshd" holds while its rules are replaced, and where the
// kernel lacks what a ruleset can do without.
#include <atomic>
#include <thread>

#include "dataplane/packets_node.h"

namespace mesh {
namespace {

using test::NetworkNamespace;
using test::PacketsTest;

class NftablesGuard : public PacketsTest {
 protected:
  void SetUp() override {
    PacketsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    // What the peer itself sends would leave no room for what arrives there.
    const int on = 1;
    ASSERT_EQ(::setsockopt(at_peer().fd(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on), 0);
  }
  // Nothing leads into the mesh: between the peer's workloads and ours stands nftables alone.
  void require() {
    put(NftSet::kTxRequired, peer_prefix());
    put(NftSet::kRxRequired, peer_prefix());
    put(NftSet::kTxRequired, Cidr::host(peer()));
    put(NftSet::kRxRequired, Cidr::host(peer()));
    for (const NftSet set : {NftSet::kRequiredHosts, NftSet::kRxRequiredHosts})
      put(set, Cidr::host(peer()));
  }
  // Datagrams as fast as they can be made, until `stop`; how many.
  std::uint64_t spray(const NetworkNamespace& where, const IpAddress& from, const IpAddress& to,
                      const char* device) {
    where.enter();
    const UniqueFd fd(::socket(to_af(from.family()), SOCK_DGRAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, device,
                           static_cast<socklen_t>(std::strlen(device))),
              0);
    const auto [own, own_size] = test::to_sockaddr(from, 0);
    const auto [other, other_size] = test::to_sockaddr(to, test::kPort);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), own_size), 0);
    const std::array<char, 100> payload{};
    std::uint64_t sent = 0;
    for (; !stop_; ++sent)
      (void)::sendto(fd.get(), payload.data(), payload.size(), 0,
                     reinterpret_cast<const sockaddr*>(&other), other_size);
    return sent;
  }
  // `act` under traffic in both directions, which is all forbidden.
  void under_traffic(const std::function<void()>& act) {
    stop_ = false;
    std::atomic<std::uint64_t> sent{0};
    std::thread out([&] { sent += spray(node_ns(), node(), peer_workload(), "under0"); });
    std::thread in([&] { sent += spray(peer_ns(), peer_workload(), workload(), "far0"); });
    act();
    stop_ = true;
    out.join();
    in.join();
    EXPECT_GT(sent, 1000U) << "there was no traffic to speak of";
  }
  // Of what was forbidden and arrived, since the last call.
  std::size_t leaked() {
    const auto count = [](test::PacketReader& reader, const test::Addresses& forbidden) {
      std::size_t found = 0;
      while (const auto packet = reader.next())
        if (test::addresses_of(*packet) == forbidden) ++found;
      return found;
    };
    return count(at_peer(), {node(), peer_workload()}) +
           count(at_workload(), {peer_workload(), workload()});
  }
  static NftSpec plain() { return {.device = "mesh0", .fwmark = test::kMark}; }
  static NftSpec hosts() {
    NftSpec spec = plain();
    spec.listen_port = 51820;
    spec.host_traffic = true;
    spec.failsafe = default_failsafe_ports();
    return spec;
  }

  std::atomic<bool> stop_{false};
};
INSTANTIATE_TEST_SUITE_P(BothFamilies, NftablesGuard, testing::Values(Family::kIpv4, Family::kIpv6),
                         [](const auto& instance) {
                           return instance.param == Family::kIpv4 ? "IPv4" : "IPv6";
                         });

TEST_P(NftablesGuard, HoldsWhileTheRulesAreReplacedUnderTheSets) {
  require();
  under_traffic([&] {
    for (int i = 0; i < 30; ++i) {
      const auto installed = table().install(i % 2 == 0 ? hosts() : plain(), true);
      ASSERT_TRUE(installed) << installed.error().message;
    }
  });
  const std::size_t kept = leaked();
  // The traffic finds a gap where there is one: a table made anew is empty at first.
  under_traffic([&] {
    for (int i = 0; i < 10; ++i) {
      install(plain());
      require();
    }
  });
  const std::size_t anew = leaked();
  EXPECT_GT(anew, 0U);
  EXPECT_EQ(kept, 0U) << "against " << anew << " of a table made anew";
}

TEST_P(NftablesGuard, WithoutTheExpressionsAKernelMayLackEveryGuardHolds) {
  NftSpec spec = hosts();
  spec.pins = true;
  spec.former_ports = {51819};
  spec.kernel_has = {.ct = false, .fib = false, .socket = false};
  install(spec);
  require();
  EXPECT_EQ(send_from(node_ns(), node(), peer_workload(), "under0"), EPERM);
  EXPECT_EQ(send_from(node_ns(), node(), peer(), "under0"), EPERM) << "between the hosts";
  ASSERT_EQ(send_from(peer_ns(), peer(), node()), 0);
  ASSERT_EQ(send_from(peer_ns(), peer_workload(), workload()), 0);
  ASSERT_EQ(send_from(peer_ns(), peer_workload(), node()), 0);
  EXPECT_TRUE(test::eventually([&] {
    return counts()[NftSet::kRequiredHosts].first == 1 &&
           counts()[NftSet::kRxRequiredHosts].first == 1 &&
           counts()[NftSet::kRxRequired].first == 2;
  }));
  EXPECT_EQ(leaked(), 0U);
}

}  // namespace
}  // namespace mesh
