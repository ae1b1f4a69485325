// From configuration and kernel to what this node is.
#include "meshd/daemon/local_facts.h"

#include <gmock/gmock.h>

#include "fakes/fake_clock.h"
#include "fakes/fake_dataplane.h"
#include "fakes/values.h"

namespace mesh::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LocalFacts : public ::testing::Test {
 protected:
  int link(const std::string& name, std::uint32_t mtu = 1500) { return kernel.add_link(name, mtu); }
  void default_route(int oif, const char* prefix = "0.0.0.0/0", std::uint32_t metric = 0) {
    Route route;
    route.key = {kMainTable, cidr(prefix), metric};
    route.oif = oif;
    kernel.put_route(route);
  }
  const Mirror& mirror() {
    mirror_ = Mirror();
    mirror_.set_links(kernel.read_links().value());
    mirror_.set_addresses(kernel.read_addresses().value());
    return mirror_;
  }
  LocalNode filled() {
    LocalNode local = local_from_config(config);
    fill_from_links(local, config, mirror());
    return local;
  }

  FakeClock clock;
  FakeDataplane kernel{clock};
  Config config;

 private:
  Mirror mirror_;
};

// --- the underlay addresses ---

TEST_F(LocalFacts, TheAddressesAreThoseOfTheDefaultRoutesLink) {
  const int uplink = link("eth0");
  kernel.add_address(uplink, ip("192.0.2.1"), 24);
  kernel.add_address(uplink, ip("2001:db8::1"), 64);
  kernel.add_address(uplink, ip("fe80::1"), 64);
  kernel.add_address(link("br0"), ip("10.1.0.1"), 24);
  default_route(uplink);
  EXPECT_THAT(default_addresses(kernel, mirror()).value(),
              ElementsAre(ip("192.0.2.1"), ip("2001:db8::1")));
}

TEST_F(LocalFacts, OfTwoDefaultRoutesTheBetterMetricDecides) {
  const int spare = link("eth1");
  const int uplink = link("eth0");
  kernel.add_address(uplink, ip("192.0.2.1"), 24);
  kernel.add_address(spare, ip("198.51.100.1"), 24);
  default_route(spare, "0.0.0.0/0", 200);
  default_route(uplink, "0.0.0.0/0", 100);
  EXPECT_THAT(default_addresses(kernel, mirror()).value(), ElementsAre(ip("192.0.2.1")));
}

TEST_F(LocalFacts, AnIpv6OnlyUnderlayHasItsDefaultRouteToo) {
  const int uplink = link("eth0");
  kernel.add_address(uplink, ip("2001:db8::1"), 64);
  default_route(uplink, "::/0", 1024);
  EXPECT_THAT(default_addresses(kernel, mirror()).value(), ElementsAre(ip("2001:db8::1")));
}

TEST_F(LocalFacts, WithoutADefaultRouteTheErrorNamesTheRemedy) {
  kernel.add_address(link("eth0"), ip("192.0.2.1"), 24);
  const auto none = default_addresses(kernel, mirror());
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(none.error().message, HasSubstr("set node.addresses"));
}

TEST_F(LocalFacts, ADefaultRouteOverALinkWithoutAddressesNamesTheRemedy) {
  default_route(link("eth0"));
  const auto none = default_addresses(kernel, mirror());
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("set node.addresses"));
}

// --- from the configuration ---

TEST_F(LocalFacts, TheConfigurationDecidesItsParts) {
  config.node.name = std::string("node-a");
  config.node.cidrs = {cidr("10.1.0.0/24")};
  config.encryption.mode = Mode::kRequire;
  config.wireguard.persistent_keepalive = std::chrono::seconds(25);
  config.wireguard.routing_table = 700;
  const LocalNode local = local_from_config(config);
  EXPECT_EQ(local.name, "node-a");
  EXPECT_EQ(local.cidrs, config.node.cidrs);
  EXPECT_EQ(local.mode, Mode::kRequire);
  EXPECT_EQ(local.keepalive, 25);
  EXPECT_EQ(local.table_w, 700U);
  EXPECT_EQ(local.table_h, 701U);
  EXPECT_EQ(local.backend, Backend::kNone) << "nothing is known of a device yet";
}

// --- from the links ---

TEST_F(LocalFacts, HostAddressesAreThoseOfEveryLinkButTheMeshDeviceAndLoopback) {
  config.node.addresses = {ip("192.0.2.1")};
  kernel.add_address(link("eth0"), ip("192.0.2.1"), 24);
  kernel.add_address(link("br0"), ip("10.1.0.1"), 24);
  kernel.add_address(link("mesh0"), ip("10.1.0.9"), 32);
  kernel.add_address(1, ip("127.0.0.1"), 8);
  EXPECT_THAT(filled().host_addresses, ElementsAre(ip("10.1.0.1"), ip("192.0.2.1")));
}

TEST_F(LocalFacts, TheMtuIsTheUnderlaysMinusTheOuterHeaders) {
  config.node.addresses = {ip("192.0.2.1")};
  kernel.add_address(link("eth0", 1500), ip("192.0.2.1"), 24);
  EXPECT_EQ(filled().mtu, 1440U);
}

TEST_F(LocalFacts, AnIpv6UnderlayTakesTwentyBytesMore) {
  config.node.addresses = {ip("192.0.2.1"), ip("2001:db8::1")};
  const int uplink = link("eth0", 9000);
  kernel.add_address(uplink, ip("192.0.2.1"), 24);
  kernel.add_address(uplink, ip("2001:db8::1"), 64);
  EXPECT_EQ(filled().mtu, 8920U);
}

TEST_F(LocalFacts, TheMtuIsNeverBelowWhatIpv6Needs) {
  config.node.addresses = {ip("192.0.2.1")};
  kernel.add_address(link("eth0", 1300), ip("192.0.2.1"), 24);
  EXPECT_EQ(filled().mtu, 1280U);
}

TEST_F(LocalFacts, AConfiguredMtuWins) {
  config.node.addresses = {ip("192.0.2.1")};
  config.wireguard.mtu = 1300;
  kernel.add_address(link("eth0"), ip("192.0.2.1"), 24);
  EXPECT_EQ(filled().mtu, 1300U);
}

TEST_F(LocalFacts, WithoutAnUnderlayLinkTheMtuIsLeftAlone) {
  config.node.addresses = {ip("192.0.2.1")};
  EXPECT_EQ(filled().mtu, 0U);
}

TEST_F(LocalFacts, UnderlayLinksAreThoseWithAnUnderlayAddress) {
  config.node.addresses = {ip("192.0.2.1")};
  kernel.add_address(link("eth0"), ip("192.0.2.1"), 24);
  kernel.add_address(link("br0"), ip("10.1.0.1"), 24);
  EXPECT_THAT(filled().underlay_links, ElementsAre("eth0"));
  EXPECT_THAT(filled().unnumbered_links, IsEmpty());
}

TEST_F(LocalFacts, AnUnderlayLinkIsUnnumberedUntilItHasAnyIpv4Address) {
  config.node.addresses = {ip("2001:db8::1")};
  const int uplink = link("eth0");
  kernel.add_address(uplink, ip("2001:db8::1"), 64);
  kernel.add_address(link("br0"), ip("10.1.0.1"), 24);
  EXPECT_THAT(filled().unnumbered_links, ElementsAre("eth0"));
  kernel.add_address(uplink, ip("169.254.3.4"), 16);
  EXPECT_THAT(filled().unnumbered_links, IsEmpty());
}

// --- this node as its Kubernetes Node has it ---

class NodeObject : public LocalFacts {
 protected:
  NodeObject() {
    kernel.add_address(link("eth0"), ip("192.0.2.1"), 24);
    node.cidrs = {cidr("10.1.0.0/24"), cidr("fd00:1::/64")};
    node.addresses = {ip("192.0.2.1"), ip("198.51.100.1")};  // the second one is a gateway's
  }
  LocalNode seen(const NodeRecord* own) {
    LocalNode local = local_from_config(config);
    fill_from_node_object(local, own, last, mirror(), problems);
    return local;
  }
  NodeRecord node;
  LocalNode last;
  Problems problems;
};

TEST_F(NodeObject, ItsPrefixesAndAddressesAreThose) {
  const LocalNode local = seen(&node);
  EXPECT_EQ(local.cidrs, node.cidrs);
  EXPECT_THAT(local.addresses, ElementsAre(ip("192.0.2.1"))) << "of those that this host has";
  EXPECT_TRUE(problems.empty());
}

TEST_F(NodeObject, WhatTheConfigurationSaysOtherwiseIsSaidToBeIgnored) {
  config.node.cidrs = {cidr("10.2.0.0/24")};
  EXPECT_EQ(seen(&node).cidrs, node.cidrs);
  EXPECT_THAT(problems.messages(), ElementsAre(HasSubstr("node.cidrs differs")));
  config.node.cidrs = {cidr("fd00:1::/64"), cidr("10.1.0.0/24")};
  (void)seen(&node);
  EXPECT_TRUE(problems.empty()) << "the order does not matter";
}

TEST_F(NodeObject, WhileItIsNotKnownTheLastOrTheConfiguredPrefixesHold) {
  config.node.cidrs = {cidr("10.1.0.0/24")};
  EXPECT_THAT(seen(nullptr).cidrs, ElementsAre(cidr("10.1.0.0/24")));
  last.cidrs = node.cidrs;
  EXPECT_EQ(seen(nullptr).cidrs, node.cidrs);
  EXPECT_TRUE(problems.empty());
}

}  // namespace
}  // namespace mesh::test
