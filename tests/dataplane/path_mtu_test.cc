// Probes through a router with a narrow link, and what the kernel does with the MTU of a route.
//
//   [here]near 192.0.2.1/24 fd02::1 ---- west[router]east ---- 198.51.100.2/24 fd51::2 far[there]
#include <gmock/gmock.h>
#include <poll.h>

#include "dataplane/packets.h"
#include "dataplane/rtnetlink_fixture.h"
#include "meshd/dataplane/path_probe.h"

namespace mesh {
namespace {

using test::index_of;
using test::ip;
using test::NetworkNamespace;
using test::run;
using test::Succeeds;
using testing::HasSubstr;

constexpr std::uint32_t kMark = 0x2000;

class PathProbeTest : public test::NamespaceTest, public testing::WithParamInterface<Family> {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    here_ = std::make_unique<NetworkNamespace>(NetworkNamespace::current());
    router_ = std::make_unique<NetworkNamespace>(NetworkNamespace::make());
    there_ = std::make_unique<NetworkNamespace>(NetworkNamespace::make());
    run(
        fmt::format("ip link add near type veth peer name west netns /proc/{0}/fd/{1} && "
                    "ip addr add 192.0.2.1/24 dev near && ip addr add fd02::1/64 dev near nodad && "
                    "ip link set near up && ip route add 198.51.100.0/24 via 192.0.2.254",
                    getpid(), router_->fd()));
    router_->enter();
    run(fmt::format(
        "ip link set lo up && ip link add east type veth peer name far netns /proc/{0}/fd/{1} && "
        "ip addr add 192.0.2.254/24 dev west && ip addr add fd02::fe/64 dev west nodad && "
        "ip addr add 198.51.100.254/24 dev east && ip addr add fd51::fe/64 dev east nodad && "
        "ip link set west up && ip link set east up && "
        "echo 1 > /proc/sys/net/ipv4/ip_forward && "
        "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        getpid(), there_->fd()));
    there_->enter();
    run("ip link set lo up && ip addr add 198.51.100.2/24 dev far && "
        "ip addr add fd51::2/64 dev far nodad && ip link set far up && "
        "ip route add 192.0.2.0/24 via 198.51.100.254 && ip route add fd02::/64 via fd51::fe");
    here_->enter();
    run("ip route add fd51::/64 via fd02::fe");
    auto opened = IcmpPathProbe::open();
    ASSERT_THAT(opened, Succeeds());
    probe_ = std::move(*opened);
    probe_->set_mark(kMark);
    // The links are up when a small probe comes back.
    ASSERT_TRUE(test::eventually([&] {
      const auto news = ask(600, 20);
      return news && news->kind == ProbeNews::Kind::kAnswered;
    }));
  }

  static IpAddress target() {
    return GetParam() == Family::kIpv4 ? ip("198.51.100.2") : ip("fd51::2");
  }
  // What becomes of one probe; nothing when it is silence.
  std::optional<ProbeNews> ask(std::uint32_t size, int patience_ms = 10'000) {
    const std::uint16_t number = ++number_;
    probe_->send({target(), size, number});
    for (int waited = 0; waited <= patience_ms; waited += 5) {
      for (const ProbeNews& news : probe_->receive())
        if (news.number == number) return news;
      pollfd waiting{probe_->fd(), POLLIN, 0};
      (void)poll(&waiting, 1, 5);
    }
    return std::nullopt;
  }
  void in_router(const std::string& command) const {
    router_->enter();
    run(command);
    here_->enter();
  }
  void expect_answered(std::uint32_t size) {
    const auto news = ask(size);
    ASSERT_TRUE(news) << size;
    EXPECT_EQ(news->kind, ProbeNews::Kind::kAnswered) << size << " refused: " << news->limit;
    EXPECT_EQ(news->size, size);
    EXPECT_EQ(news->peer, target());
  }
  void expect_refused(std::uint32_t size, std::uint32_t limit) {
    const auto news = ask(size);
    ASSERT_TRUE(news) << size;
    EXPECT_EQ(news->kind, ProbeNews::Kind::kRefused) << size;
    EXPECT_EQ(news->limit, limit) << size;
    EXPECT_EQ(news->peer, target());
  }

  std::unique_ptr<NetworkNamespace> here_;
  std::unique_ptr<NetworkNamespace> router_;
  std::unique_ptr<NetworkNamespace> there_;
  std::unique_ptr<PathProbe> probe_;
  std::uint16_t number_ = 0;
};

INSTANTIATE_TEST_SUITE_P(BothFamilies, PathProbeTest, testing::Values(Family::kIpv4, Family::kIpv6),
                         [](const auto& test) {
                           return test.param == Family::kIpv4 ? "Ipv4" : "Ipv6";
                         });

TEST_P(PathProbeTest, WhatFitsIsAnsweredInItsFullSize) {
  for (const std::uint32_t size : {1280U, 1399U, 1500U}) expect_answered(size);
}

TEST_P(PathProbeTest, ARouterThatRefusesSaysHowMuchWouldPass) {
  in_router("ip link set east mtu 1400");
  expect_refused(1500, 1400);
  expect_refused(1401, 1400);
  expect_answered(1400);
}

// The kernel knows a limit by now, and another one would be found by nobody if it were heeded.
TEST_P(PathProbeTest, WhatTheKernelHasLearntOfThePathHoldsNoProbeBack) {
  in_router("ip link set east mtu 1400");
  expect_refused(1500, 1400);
  in_router("ip link set east mtu 1500");
  expect_answered(1500);
}

TEST_P(PathProbeTest, WhatTheOwnLinkDoesNotCarryIsRefusedHere) {
  run("ip link set near mtu 1350");
  expect_refused(1500, 1350);
  expect_answered(1350);
}

TEST_P(PathProbeTest, AHopThatSwallowsSaysNothing) {
  if (!test::has_program("nft")) GTEST_SKIP() << "NOT RUN: needs nft, to swallow packets";
  in_router(
      "nft 'add table inet t; add chain inet t f { type filter hook forward priority 0; }; "
      "add rule inet t f meta length > 1400 drop'");
  EXPECT_EQ(ask(1401, 300), std::nullopt);
  expect_answered(1400);
}

TEST_P(PathProbeTest, ProbesCarryTheMark) {
  if (!test::has_program("nft")) GTEST_SKIP() << "NOT RUN: needs nft, to look at the mark";
  run(fmt::format(
      "nft 'add table inet t; add chain inet t o {{ type filter hook output priority 0; }}; "
      "add rule inet t o meta l4proto {{ icmp, ipv6-icmp }} meta mark != {} drop'",
      kMark));
  expect_answered(1280);
}

TEST_P(PathProbeTest, SomebodyElsesEchoesAreNoNews) {
  auto other = IcmpPathProbe::open();
  ASSERT_THAT(other, Succeeds());
  (*other)->send({target(), 1280, 77});
  pollfd waiting{(*other)->fd(), POLLIN, 0};
  ASSERT_EQ(poll(&waiting, 1, 10'000), 1);
  // Both sockets have it by now.
  EXPECT_THAT(probe_->receive(), testing::IsEmpty());
  EXPECT_EQ((*other)->receive().size(), 1U);
}

// --- what the kernel does with a route's MTU ---

class RouteMtuTest : public test::RtnetlinkTest, public testing::WithParamInterface<Family> {
 protected:
  static bool v4() { return GetParam() == Family::kIpv4; }
  static Route narrow(std::uint32_t mtu) {
    Route made = route(v4() ? "10.9.0.0/24" : "fd09::/64", RouteType::kUnicast);
    made.key.table = kMainTable;
    made.set_mtu(mtu);
    return made;
  }
};

INSTANTIATE_TEST_SUITE_P(BothFamilies, RouteMtuTest, testing::Values(Family::kIpv4, Family::kIpv6),
                         [](const auto& test) {
                           return test.param == Family::kIpv4 ? "Ipv4" : "Ipv6";
                         });

TEST_P(RouteMtuTest, IsReadBackAsItWasPutAndReplacedInPlace) {
  for (const std::uint32_t mtu : {1340U, 1300U, 0U, 1400U}) {
    ASSERT_THAT(put(narrow(mtu)), Succeeds());
    const auto routes = table(kMainTable);
    EXPECT_EQ(std::count(routes.begin(), routes.end(), narrow(mtu)), 1) << mtu;
    EXPECT_EQ(std::count_if(routes.begin(), routes.end(),
                            [](const Route& route) { return route.key == narrow(0).key; }),
              1)
        << mtu;
  }
}

TEST_P(RouteMtuTest, SurvivesAChangeOfTheDevicesMtu) {
  ASSERT_THAT(put(narrow(1340)), Succeeds());
  for (const char* mtu : {"1420", "9000", "1440"}) {
    run(std::string("ip link set mesh0 mtu ") + mtu);
    const auto routes = table(kMainTable);
    EXPECT_EQ(std::count(routes.begin(), routes.end(), narrow(1340)), 1) << mtu;
  }
}

TEST_P(RouteMtuTest, ForwardedPacketsAreRefusedWithIt) {
  if (!test::has_program("ping")) GTEST_SKIP() << "NOT RUN: needs ping, with -M do";
  const NetworkNamespace here = NetworkNamespace::current();
  const NetworkNamespace workload = NetworkNamespace::make();
  run(
      fmt::format("ip link add pods type veth peer name eth0 netns /proc/{}/fd/{} && "
                  "ip addr add 10.1.0.1/24 dev pods && ip addr add fd01::1/64 dev pods nodad && "
                  "ip link set pods up && echo 1 > /proc/sys/net/ipv4/ip_forward && "
                  "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
                  getpid(), workload.fd()));
  ASSERT_THAT(put(narrow(1340)), Succeeds());
  workload.enter();
  run("ip link set lo up && ip addr add 10.1.0.2/24 dev eth0 && "
      "ip addr add fd01::2/64 dev eth0 nodad && ip link set eth0 up && "
      "ip route add default via 10.1.0.1 && ip -6 route add default via fd01::1");
  std::string said;
  EXPECT_TRUE(test::eventually([&] {
    said = run(fmt::format("ping -n -c 1 -W 1 -M do -s {} {} 2>&1 || true", v4() ? 1400 : 1380,
                           v4() ? "10.9.0.5" : "fd09::5"));
    return said.find("1340") != std::string::npos;
  })) << said;
  here.enter();
}

}  // namespace
}  // namespace mesh
