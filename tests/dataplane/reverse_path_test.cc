// The kernel's reverse-path check on an underlay link without an IPv4 address, while a peer sends
// past the mesh and our own way to it is the mesh. The topology is that of packets_node.h, with
// IPv4 routed over the IPv6 addresses of a link that has no other.
#include <sstream>

#include "dataplane/packets_node.h"

namespace mesh {
namespace {

using test::eventually;
using test::ip;
using test::PacketsTest;
using test::run;

class ReversePathTest : public PacketsTest {
 protected:
  void SetUp() override {
    PacketsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    route_peer(RouteType::kUnicast);
  }

  // Loose, as meshd has it; with or without regard to the mark.
  void take_the_underlays_ipv4_addresses(bool heed_the_mark) {
    in(peer_ns(), [] { return run("ip -4 route replace default via inet6 2001:db8::1 dev far0"); });
    run("ip addr del 192.0.2.1/24 dev under0 && "
        "ip -4 route add 10.2.0.0/24 via inet6 2001:db8::2 dev under0 && "
        "echo 2 > /proc/sys/net/ipv4/conf/under0/rp_filter");
    heed(heed_the_mark);
  }
  static void heed(bool on) {
    std::ofstream("/proc/sys/net/ipv4/conf/under0/src_valid_mark") << (on ? 1 : 0);
  }
  // What the reverse-path check refused so far.
  static int refused() {
    std::ifstream file("/proc/thread-self/net/netstat");
    std::string line;
    std::getline(file, line);
    std::istringstream names(line);
    std::getline(file, line);
    std::istringstream values(line);
    for (std::string name, value; names >> name && values >> value;)
      if (name == "IPReversePathFilter") return std::stoi(value);
    ADD_FAILURE() << "the kernel does not count what the reverse-path check refused";
    return 0;
  }
  // Somebody else's rules, right before and right after the time of the routing.
  static void watch_the_mark() {
    run(R"(nft -f - <<'END'
table ip watch {
	counter before { }
	counter after { }
	chain before_the_last { type filter hook prerouting priority 49; meta mark & 0x2000 != 0 counter name before; }
	chain behind_input { type filter hook input priority -299; meta mark & 0x2000 != 0 counter name after; }
	chain behind_forward { type filter hook forward priority -299; meta mark & 0x2000 != 0 counter name after; }
}
END
)");
  }
  static bool anybody_saw_the_mark() {
    return run("nft list counters table ip watch | grep -c 'packets [1-9]' || true") != "0\n";
  }
};
INSTANTIATE_TEST_SUITE_P(OnlyIn, ReversePathTest, testing::Values(Family::kIpv4),
                         [](const auto&) { return "IPv4"; });

TEST_P(ReversePathTest, TheKernelRefusesWhatAPeerSendsPastTheMeshUnlessItHeedsTheMark) {
  take_the_underlays_ipv4_addresses(false);
  ASSERT_EQ(send_from(peer_ns(), peer_workload(), workload()), 0);
  ASSERT_TRUE(eventually([] { return refused() == 1; })) << refused();
  heed(true);
  ASSERT_EQ(send_from(peer_ns(), peer_workload(), workload()), 0);
  ASSERT_TRUE(at_workload().wait_for({peer_workload(), workload()}));
  EXPECT_EQ(refused(), 1);
}

TEST_P(ReversePathTest, AnOutsideClientOfThisNodeHearsFromAnEncryptedPeer) {
  take_the_underlays_ipv4_addresses(true);
  auto at_outside = in(outside_ns(), [] { return test::capture("o0"); });
  ASSERT_EQ(send_from(peer_ns(), peer_workload(), outside()), 0);
  EXPECT_TRUE(at_outside.wait_for({peer_workload(), outside()}));
}

TEST_P(ReversePathTest, WhatComesOutOfTheMeshNeedsNoMark) {
  take_the_underlays_ipv4_addresses(true);
  watch_the_mark();
  const auto packet = test::udp_packet(peer_workload(), workload());
  ASSERT_GT(write(tun().fd(), packet.data(), packet.size()), 0);
  ASSERT_TRUE(at_workload().wait_for({peer_workload(), workload()}));
  EXPECT_FALSE(anybody_saw_the_mark());
}

// A connection mark, an accepted socket or a reply that inherited it would pass by the mesh for
// good.
TEST_P(ReversePathTest, NobodySeesTheMarkBeforeOrAfterTheRouting) {
  take_the_underlays_ipv4_addresses(true);
  watch_the_mark();
  ASSERT_EQ(send_from(peer_ns(), peer_workload(), ip("172.31.0.1")), 0);
  ASSERT_EQ(send_from(peer_ns(), peer_workload(), workload()), 0);
  ASSERT_TRUE(at_workload().wait_for({peer_workload(), workload()}));
  EXPECT_FALSE(anybody_saw_the_mark());
  // The watch does see one: a foreign source's, which stays.
  ASSERT_EQ(send_from(outside_ns(), outside(), peer_workload()), 0);
  EXPECT_TRUE(eventually(anybody_saw_the_mark));
}

TEST_P(ReversePathTest, WhatIsTranslatedToAnotherPeerStillGoesThroughTheMesh) {
  const IpAddress third = ip("10.3.0.5");
  route(Cidr(third, 24), RouteType::kUnicast);
  put(NftSet::kPeer, Cidr(third, 24));
  run(R"(nft -f - <<'END'
table ip services {
	chain translate {
		type nat hook prerouting priority dstnat;
		ip daddr 192.0.2.1 dnat to 10.3.0.5
	}
}
END
)");
  ASSERT_EQ(send_from(peer_ns(), peer_workload(), node()), 0);
  EXPECT_TRUE(tun().wait_for({peer_workload(), third}));
}

}  // namespace
}  // namespace mesh
