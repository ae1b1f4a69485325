// One node with table "inet meshd", among real sockets and real routing: between a workload, a peer
// on the underlay, an outside client, and a mesh device that the test serves. One thread; needs
// root.
//
//   workload 10.1.0.5 ── work0 ┐                 ┌ mesh0 (TUN: the test is WireGuard)
//                              ├── node ─────────┤
//   outside 172.31.0.9 ── out0 ┘  192.0.2.1      └ under0 ── peer 192.0.2.2, its workload 10.2.0.5
//
// IPv6 the same with fd01::5, 2001:db8::1, 2001:db8::2, fd02::5 and fd31::9.
#pragma once

#include <gmock/gmock.h>

#include <fstream>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "dataplane/network_namespace.h"
#include "dataplane/packets.h"
#include "meshd/dataplane/nftables_elements.h"
#include "meshd/dataplane/nftables_ruleset.h"
#include "meshd/dataplane/nftables_table.h"
#include "meshd/dataplane/rtnetlink.h"

namespace mesh::test {

inline constexpr std::uint32_t kTable = 5182;
inline constexpr std::uint32_t kMark = 0x2000;
inline constexpr std::uint64_t kDatagram4 = 128;  // 100 bytes, UDP and IP headers
inline constexpr std::uint64_t kDatagram6 = 148;

inline constexpr const char* kRouter =
    "cd /proc/sys/net; echo 1 > ipv4/ip_forward; echo 1 > ipv6/conf/all/forwarding; "
    "for c in ipv4/conf/*/rp_filter; do echo 0 > $c; done";

// Packets and bytes of each set that counted anything.
using Counts = std::map<NftSet, std::pair<std::uint64_t, std::uint64_t>>;

class PacketsTest : public NamespaceTest, public testing::WithParamInterface<Family> {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    node_.emplace(NetworkNamespace::current());
    make_topology();
    route_.emplace(*Rtnetlink::open());
    auto table = NftablesTable::open();
    ASSERT_TRUE(table) << table.error().message;
    table_.emplace(std::move(*table));
    elements_.emplace(*NftablesElements::open());
    install({.device = "mesh0", .fwmark = kMark});
    put_rules();
    at_peer_.emplace(in(*peer_, [] { return capture("far0"); }));
    at_workload_.emplace(in(*work_, [] { return capture("w0"); }));
  }

  void install(const NftSpec& spec) {
    const auto installed = table_->install(spec);
    ASSERT_TRUE(installed) << installed.error().message;
    const auto right = table_->check(spec);
    ASSERT_TRUE(right && *right) << "the kernel has what was installed";
    fill_sets();
  }
  NftablesTable& table() { return *table_; }

  static bool v4() { return GetParam() == Family::kIpv4; }
  static IpAddress node() { return ip(v4() ? "192.0.2.1" : "2001:db8::1"); }
  static IpAddress peer() { return ip(v4() ? "192.0.2.2" : "2001:db8::2"); }
  static IpAddress workload() { return ip(v4() ? "10.1.0.5" : "fd01::5"); }
  static IpAddress peer_workload() { return ip(v4() ? "10.2.0.5" : "fd02::5"); }
  static IpAddress outside() { return ip(v4() ? "172.31.0.9" : "fd31::9"); }
  static IpAddress outside_gateway() { return ip(v4() ? "172.31.0.1" : "fd31::1"); }
  static Cidr own_prefix() { return Cidr(workload(), v4() ? 24 : 64); }
  static Cidr peer_prefix() { return Cidr(peer_workload(), v4() ? 24 : 64); }

  template <class F>
  std::invoke_result_t<F> in(const NetworkNamespace& where, F&& act) {
    where.enter();
    auto result = act();
    node_->enter();
    return result;
  }
  int send_from(const NetworkNamespace& where, const IpAddress& source,
                const IpAddress& destination, const std::string& device = "") {
    return in(where, [&] { return send_udp(source, destination, device); });
  }

  // Where the peer's prefix goes: the device, or past the mesh.
  void route_peer(RouteType type) { route(peer_prefix(), type); }
  void route(const Cidr& prefix, RouteType type) {
    Route route;
    route.key = {kTable, prefix, 1024};
    route.type = type;
    route.oif = type == RouteType::kUnicast ? index_of("mesh0") : 0;
    ASSERT_TRUE(route_->put_routes({&route, 1}).front());
  }
  void put(NftSet set, const Cidr& prefix) {
    const NftElementChange change{{set, {prefix.base(), prefix.last()}}, false};
    const auto result = elements_->apply({&change, 1}).front();
    ASSERT_TRUE(result) << result.error().message;
  }

  Counts counts() {
    Counts counted;
    const auto counters = elements_->read_counters();
    EXPECT_TRUE(counters);
    for (const NftCounter& counter : *counters) {
      if (counter.packets == 0) continue;
      counted[counter.element.set].first += counter.packets;
      counted[counter.element.set].second += counter.bytes;
    }
    return counted;
  }
  [[nodiscard]] static auto one_packet() {
    return testing::Pair(1U, v4() ? kDatagram4 : kDatagram6);
  }

  // A datagram between the nodes themselves, which follows what was sent before it by the same way.
  void expect_nothing_but_node_to_node(PacketReader& reader, const Addresses& forbidden) {
    EXPECT_EQ(send_from(*node_, node(), peer()), 0);
    ASSERT_TRUE(reader.wait_for({node(), peer()}));
    EXPECT_THAT(reader.seen(), testing::Not(testing::Contains(forbidden)));
  }

  // Packets written to it come to the node from behind the workload.
  PacketReader a_host_behind_the_workload() {
    return in(*work_, [] {
      auto made = open_tun("raw0");
      run("ip link set raw0 up && ip addr add 10.1.0.77/32 dev raw0\n" + std::string(kRouter));
      return made;
    });
  }

  Rtnetlink& rtnetlink() { return *route_; }
  NetworkNamespace& node_ns() { return *node_; }
  NetworkNamespace& peer_ns() { return *peer_; }
  NetworkNamespace& work_ns() { return *work_; }
  NetworkNamespace& outside_ns() { return *outside_; }
  PacketReader& tun() { return *tun_; }
  PacketReader& at_peer() { return *at_peer_; }
  PacketReader& at_workload() { return *at_workload_; }

 private:
  void make_topology() {
    peer_.emplace(NetworkNamespace::make());
    work_.emplace(NetworkNamespace::make());
    outside_.emplace(NetworkNamespace::make());
    set_up_node();
    set_up(*peer_, "far0", {"192.0.2.2/24", "2001:db8::2/64"}, {"192.0.2.1", "2001:db8::1"},
           "addr add 10.2.0.5/32 dev lo\naddr add fd02::5/128 dev lo nodad\n");
    set_up(*work_, "w0", {"10.1.0.5/24", "fd01::5/64"}, {"10.1.0.1", "fd01::1"}, "");
    set_up(*outside_, "o0", {"172.31.0.9/24", "fd31::9/64"}, {"172.31.0.1", "fd31::1"}, "");
  }
  void set_up_node() {
    prepare();
    tun_.emplace(open_tun("mesh0"));
    std::string batch;
    const auto connect = [&](const char* here, const char* there, const NetworkNamespace& other,
                             const char* four, const char* six) {
      batch += fmt::format(
          "link add {0} type veth peer name {1} netns /proc/{2}/fd/{3}\n"
          "addr add {4} dev {0}\naddr add {5} dev {0} nodad\nlink set {0} up\n",
          here, there, getpid(), other.fd(), four, six);
    };
    connect("under0", "far0", *peer_, "192.0.2.1/24", "2001:db8::1/64");
    connect("work0", "w0", *work_, "10.1.0.1/24", "fd01::1/64");
    connect("out0", "o0", *outside_, "172.31.0.1/24", "fd31::1/64");
    batch +=
        "link set mesh0 up mtu 1380\naddr add 10.1.0.1/32 dev mesh0\n"
        "addr add fd01::1/128 dev mesh0 nodad\n"
        "route add 10.2.0.0/24 via 192.0.2.2\nroute add fd02::/64 via 2001:db8::2\n";
    run("ip -batch - <<'END'\n" + batch + "END\n" + kRouter);
  }
  void set_up(const NetworkNamespace& where, const char* link,
              const std::array<const char*, 2>& addresses,
              const std::array<const char*, 2>& gateways, const std::string& more) {
    where.enter();
    prepare();
    run(
        fmt::format("ip -batch - <<'END'\nlink set lo up\naddr add {1} dev {0}\n"
                    "addr add {2} dev {0} nodad\nlink set {0} up\n{5}"
                    "route add default via {3}\nroute add default via {4}\nEND\n",
                    link, addresses[0], addresses[1], gateways[0], gateways[1], more));
    node_->enter();
  }
  // Without duplicate detection, which would hold the first packets back for seconds; and with
  // somebody who takes the datagrams, so that no ICMP errors go back.
  void prepare() {
    for (const char* name : {"accept_dad", "dad_transmits"}) {
      std::ofstream(fmt::format("/proc/sys/net/ipv6/conf/default/{}", name)) << 0;
      std::ofstream(fmt::format("/proc/sys/net/ipv6/conf/all/{}", name)) << 0;
    }
    sinks_.push_back(udp_sink());
  }
  void fill_sets() {
    put(NftSet::kOwn, own_prefix());
    put(NftSet::kOwn, Cidr::host(node()));
    put(NftSet::kOwnAddress, Cidr::host(node()));
    put(NftSet::kPeerAddress, Cidr::host(peer()));
    put(NftSet::kPeer, Cidr::host(peer()));
    put(NftSet::kPeer, peer_prefix());
    put(NftSet::kPinned, peer_prefix());
    for (const NftSet set : {NftSet::kForeign, NftSet::kTxWireguard, NftSet::kRxWireguard,
                             NftSet::kTxPlaintext, NftSet::kRxPlaintext})
      put(set, peer_prefix());
    for (const NftSet set :
         {NftSet::kTxWireguard, NftSet::kRxWireguard, NftSet::kTxPlaintext, NftSet::kRxPlaintext})
      put(set, Cidr::host(peer()));
  }
  void put_rules() {
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
      Rule rule;
      rule.family = family;
      rule.priority = 99;
      rule.invert = true;
      rule.fwmark = rule.fwmask = kMark;
      rule.table = kTable;
      ASSERT_TRUE(route_->put_rule(rule));
    }
  }

  std::optional<NetworkNamespace> node_, peer_, work_, outside_;
  std::optional<PacketReader> tun_, at_peer_, at_workload_;
  std::vector<UniqueFd> sinks_;
  std::optional<Rtnetlink> route_;
  std::optional<NftablesTable> table_;
  std::optional<NftablesElements> elements_;
};

}  // namespace mesh::test
