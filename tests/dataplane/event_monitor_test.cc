// Kernel events in a namespace of the test's own: what comes, in which order, and what does not.
#include "meshd/dataplane/event_monitor.h"

#include <gmock/gmock.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "dataplane/network_namespace.h"
#include "dataplane/packets.h"
#include "meshd/dataplane/nftables_elements.h"
#include "meshd/dataplane/nftables_table.h"
#include "meshd/dataplane/rtnetlink.h"

namespace mesh {
namespace {

using test::cidr;
using test::eventually;
using test::index_of;
using test::ip;
using test::run;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint32_t kW = 5182;
constexpr std::uint32_t kH = 5183;

// Events in words, so that an order can be written down.
struct Describe {
  std::string operator()(const LinkEvent& event) const {
    return fmt::format("{}link {}{}", event.removed ? "-" : "+", event.link.name,
                       event.link.up ? " up" : " down");
  }
  std::string operator()(const AddressEvent& event) const {
    return fmt::format("{}address {}/{}", event.removed ? "-" : "+",
                       event.address.address.to_string(), event.address.prefix_length);
  }
  std::string operator()(const RouteEvent& event) const {
    static constexpr std::array kTypes{"unicast", "throw", "unreachable", "other"};
    return fmt::format("{}route {} {} table {} metric {}", event.removed ? "-" : "+",
                       kTypes[static_cast<std::size_t>(event.route.type)],
                       event.route.key.destination.to_string(), event.route.key.table,
                       event.route.key.metric);
  }
  std::string operator()(const RuleEvent& event) const {
    return fmt::format("{}rule {} IPv{}{}", event.removed ? "-" : "+", event.rule.priority,
                       static_cast<int>(event.rule.family), event.rule.invert ? " not" : "");
  }
  std::string operator()(const NftEvent&) const { return "nft"; }
  std::string operator()(const OverrunEvent&) const { return "overrun"; }
};

class EventMonitorTest : public test::NamespaceTest {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    run("ip tuntap add mesh0 mode tun && ip link set mesh0 up");
    auto net = Rtnetlink::open();
    ASSERT_TRUE(net) << net.error().message;
    net_.emplace(std::move(*net));
    auto monitor = EventMonitor::open();
    ASSERT_TRUE(monitor) << monitor.error().message;
    monitor_.emplace(std::move(*monitor));
    monitor_->watch_tables({kW, kH});
  }

  Rtnetlink& net() { return *net_; }
  EventMonitor& monitor() { return *monitor_; }

  bool readable() {
    pollfd one{monitor().fd(), POLLIN, 0};
    return poll(&one, 1, 0) == 1;
  }
  // All that has come until something comes that says `last`.
  std::vector<std::string> events_until(const std::string& last) {
    std::vector<std::string> seen;
    EXPECT_TRUE(eventually([&] {
      for (const KernelEvent& event : monitor().drain())
        seen.push_back(std::visit(Describe{}, event));
      return std::find(seen.begin(), seen.end(), last) != seen.end();
    })) << "no '"
        << last << "' among " << testing::PrintToString(seen);
    return seen;
  }
  // All so far: netlink hands events over before the command that caused them returns.
  std::vector<std::string> events() {
    std::vector<std::string> seen;
    for (const KernelEvent& event : monitor().drain())
      seen.push_back(std::visit(Describe{}, event));
    return seen;
  }
  static Route route(const char* destination, RouteType type, std::uint32_t table = kW) {
    Route made;
    made.key = {table, cidr(destination), 1024};
    made.type = type;
    made.oif = type == RouteType::kUnicast ? index_of("mesh0") : 0;
    return made;
  }
  void put(const Route& wanted) { ASSERT_TRUE(net().put_routes({&wanted, 1}).front()); }
  void remove(const Route& wanted) { ASSERT_TRUE(net().remove_routes({&wanted, 1}).front()); }

 private:
  std::optional<Rtnetlink> net_;
  std::optional<EventMonitor> monitor_;
};

TEST_F(EventMonitorTest, NothingWaitsWhereNothingHappened) {
  (void)events();  // the link's own rise
  EXPECT_FALSE(readable());
  EXPECT_THAT(events(), IsEmpty());
}

TEST_F(EventMonitorTest, EventsComeInTheOrderOfTheActsOurOwnIncluded) {
  (void)events();
  Rule rule;
  rule.priority = 99;
  rule.invert = true;
  rule.fwmark = rule.fwmask = 0x2000;
  rule.table = kW;
  put(route("10.9.0.0/24", RouteType::kThrow));
  put(route("10.9.0.0/24", RouteType::kUnicast));
  put(route("fd09::/64", RouteType::kUnreachable, kH));
  ASSERT_TRUE(net().put_rule(rule));
  ASSERT_TRUE(net().add_address(index_of("mesh0"), ip("10.1.0.1")));
  remove(route("10.9.0.0/24", RouteType::kUnicast));
  ASSERT_TRUE(net().remove_rule(rule));
  run("ip addr del 10.1.0.1/32 dev mesh0");
  EXPECT_TRUE(readable());
  EXPECT_THAT(
      events_until("-address 10.1.0.1/32"),
      ElementsAre("+route throw 10.9.0.0/24 table 5182 metric 1024",
                  "+route unicast 10.9.0.0/24 table 5182 metric 1024",
                  "+route unreachable fd09::/64 table 5183 metric 1024", "+rule 99 IPv4 not",
                  "+address 10.1.0.1/32", "-route unicast 10.9.0.0/24 table 5182 metric 1024",
                  "-rule 99 IPv4 not", "-address 10.1.0.1/32"));
  EXPECT_FALSE(readable());
}

TEST_F(EventMonitorTest, RoutesOfOtherTablesAreLeftOut) {
  (void)events();
  put(route("10.9.0.0/24", RouteType::kThrow, 77));
  put(route("10.9.0.0/24", RouteType::kThrow, 254));
  put(route("fd09::/64", RouteType::kThrow, 77));
  put(route("fd0a::/64", RouteType::kThrow, kW));
  EXPECT_THAT(events(), ElementsAre("+route throw fd0a::/64 table 5182 metric 1024"));
}

TEST_F(EventMonitorTest, WhatOthersDoComesToo) {
  (void)events();
  run("ip route add blackhole 10.9.0.0/24 table 5182; ip -6 rule add priority 50 lookup 50");
  EXPECT_THAT(events(),
              ElementsAre("+route other 10.9.0.0/24 table 5182 metric 0", "+rule 50 IPv6"));
}

TEST_F(EventMonitorTest, ADeletedDeviceIsALinkEvent) {
  put(route("fd09::/64", RouteType::kUnicast));
  (void)events();
  run("ip link delete mesh0");
  const auto seen = events_until("-link mesh0 down");
  EXPECT_THAT(seen, testing::Contains("-route unicast fd09::/64 table 5182 metric 1024"));
}

TEST_F(EventMonitorTest, ADeviceThatGoesDownTakesItsIpv4RoutesWithoutAWord) {
  put(route("10.9.0.0/24", RouteType::kUnicast));
  (void)events();
  run("ip link set mesh0 down");
  const auto seen = events_until("+link mesh0 down");
  EXPECT_THAT(*net().read_routes(kW), IsEmpty());
  EXPECT_THAT(seen, testing::Not(testing::Contains(testing::HasSubstr("-route"))))
      << "should the kernel say so one day, the advice in event_monitor.h can go";
}

TEST_F(EventMonitorTest, ABridgePortThatLeavesIsNotADeletedLink) {
  run("ip link add br0 type bridge && ip link add v0 type veth peer name v1 && "
      "ip link set v0 master br0");
  (void)events();
  run("ip link set v0 nomaster && ip link set v1 up");
  for (const std::string& event : events_until("+link v1 up")) EXPECT_NE(event, "-link v0 down");
}

TEST_F(EventMonitorTest, PumpedEventsKeepTheDescriptorReadable) {
  (void)events();
  put(route("10.9.0.0/24", RouteType::kThrow));
  monitor().pump();
  monitor().pump();
  EXPECT_TRUE(readable());
  EXPECT_THAT(events(), ElementsAre("+route throw 10.9.0.0/24 table 5182 metric 1024"));
  EXPECT_FALSE(readable());
}

TEST_F(EventMonitorTest, AnOverrunIsReportedFirstAndLaterEventsComeAgain) {
  (void)events();
  std::vector<Route> many;
  for (std::uint32_t i = 0; i < 30000; ++i) {
    Route one = route("10.9.0.0/32", RouteType::kThrow);
    one.key.destination = Cidr(IpAddress::v4(0x0b000000U + i), 32);
    many.push_back(one);
  }
  for (const auto& result : net().put_routes(many)) ASSERT_TRUE(result);
  const auto seen = events();
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.front(), "overrun");
  EXPECT_LT(seen.size(), many.size());
  EXPECT_FALSE(readable());
  put(route("10.9.0.0/24", RouteType::kThrow));
  EXPECT_THAT(events(), ElementsAre("+route throw 10.9.0.0/24 table 5182 metric 1024"));
}

// nftables

class NftEventTest : public EventMonitorTest {
 protected:
  void SetUp() override {
    EventMonitorTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    auto table = NftablesTable::open();
    ASSERT_TRUE(table) << table.error().message;
    table_.emplace(std::move(*table));
    elements_.emplace(*NftablesElements::open());
    monitor().ignore_nft_changes_of(elements_->port_id(), table_->process_id());
    install();
    (void)events();
  }
  void install() {
    const auto installed = table_->install({.device = "mesh0", .fwmark = 0x2000});
    ASSERT_TRUE(installed) << installed.error().message;
  }
  std::uint32_t port() const { return elements_->port_id(); }
  std::uint32_t process() const { return table_->process_id(); }
  void put_own(const char* prefix) {
    const NftElementChange change{{NftSet::kOwn, {cidr(prefix).base(), cidr(prefix).last()}},
                                  false};
    ASSERT_TRUE(elements_->apply({&change, 1}).front());
  }
  // The kernel may tell late that the device is up, on a slow machine in the midst of a test.
  auto nft_events() {
    auto seen = events();
    std::erase_if(seen, [](const auto& event) { return event.starts_with("+link"); });
    return seen;
  }

 private:
  std::optional<NftablesTable> table_;
  std::optional<NftablesElements> elements_;
};

TEST_F(NftEventTest, OurOwnChangesAreNotReported) {
  put_own("10.1.0.0/24");
  install();
  put_own("10.1.0.0/24");
  EXPECT_THAT(nft_events(), IsEmpty());
}

TEST_F(NftEventTest, OurOwnChangesAreKnownByTheirPortAndByTheProcessAlike) {
  monitor().ignore_nft_changes_of(0, 0);
  put_own("10.1.0.0/24");
  EXPECT_THAT(nft_events(), ElementsAre("nft")) << "the detector detects";
  monitor().ignore_nft_changes_of(port(), 0);
  put_own("10.2.0.0/24");
  EXPECT_THAT(nft_events(), IsEmpty());
  monitor().ignore_nft_changes_of(0, process());
  put_own("10.3.0.0/24");
  EXPECT_THAT(nft_events(), IsEmpty());
}

TEST_F(NftEventTest, OthersChangesToOurTableAreReportedOnceEach) {
  for (const char* change :
       {"nft add element inet meshd own4 '{ 10.7.0.0/24 }'",
        "nft delete element inet meshd own4 '{ 10.7.0.0/24 }'",
        "nft flush chain inet meshd arrives4", "nft add rule inet meshd forward accept",
        "nft add chain inet meshd more", "nft add set inet meshd more '{ type ipv4_addr; }'",
        "nft delete table inet meshd", "nft add table inet meshd", "nft flush ruleset"}) {
    (void)nft_events();
    run(change);
    EXPECT_THAT(nft_events(), ElementsAre("nft")) << change;
  }
}

TEST_F(NftEventTest, ChangesToForeignTablesAreNotReported) {
  run("nft add table ip meshd && nft add chain ip meshd c && nft add rule ip meshd c accept && "
      "nft add table inet other && nft delete table ip meshd");
  EXPECT_THAT(nft_events(), IsEmpty());
}

TEST_F(NftEventTest, ManyOfOurElementsDoNotOverrunWhenTheyArePumped) {
  auto elements = NftablesElements::open();
  ASSERT_TRUE(elements);
  monitor().ignore_nft_changes_of(elements->port_id(), 0);
  for (std::uint32_t part = 0; part < 10; ++part) {
    std::vector<NftElementChange> changes;
    for (std::uint32_t i = 0; i < 1000; ++i) {
      const IpAddress address = IpAddress::v4(0x0b000000U + ((part * 1000 + i) << 8));
      changes.push_back({{NftSet::kTxPlaintext, {address, address.last_in(24)}}, false});
    }
    for (const auto& result : elements->apply(changes)) ASSERT_TRUE(result);
    monitor().pump();
  }
  EXPECT_THAT(nft_events(), IsEmpty());
}

}  // namespace
}  // namespace mesh
