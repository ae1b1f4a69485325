// The mirror: the echo of our own acts is no drift, everybody else's is.
#include "core/mirror.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "world.h"

namespace mesh {
namespace {

using test::cidr;
using test::endpoint;
using test::ip;
using test::key;
using ::testing::IsEmpty;

class MirrorTest : public ::testing::Test {
 protected:
  MirrorTest() {
    touched_.everything = false;
    mirror_.set_links({{5, "mesh0", "wireguard", 1420, true, true, false}});
    mirror_.set_device({"mesh0", 5, key(1), 51820, 0x2000, {peer(2, {"10.2.0.0/24"})}}, touched_);
    touched_ = {};
    touched_.everything = false;
  }
  static WgPeer peer(int n, std::vector<std::string> prefixes) {
    WgPeer result;
    result.key = key(n);
    result.endpoint = endpoint("192.0.2.2:51820");
    for (const std::string& text : prefixes) result.allowed_ips.push_back(cidr(text));
    return result;
  }
  static Route device_route(const std::string& prefix) {
    Route route;
    route.key = {test::kTableW, cidr(prefix), base_metric(cidr(prefix).family())};
    route.oif = 5;
    return route;
  }
  std::string event(KernelEvent event) { return mirror_.apply(event, "mesh0", touched_); }
  Mirror mirror_;
  Touched touched_;
};

TEST_F(MirrorTest, TheEchoOfOurOwnActIsNoDrift) {
  const Route route = device_route("10.2.0.0/24");
  mirror_.apply(Operation{"b", PutRoute{route}});
  EXPECT_EQ(event(RouteEvent{route, false}), "");
  mirror_.apply(Operation{"b", RemoveRoute{route}});
  EXPECT_EQ(event(RouteEvent{route, true}), "");
  EXPECT_TRUE(touched_.empty());
}

TEST_F(MirrorTest, SomebodyElsesActIsDrift) {
  const Route route = device_route("10.2.0.0/24");
  mirror_.apply(Operation{"b", PutRoute{route}});
  EXPECT_EQ(event(RouteEvent{route, true}), "route");
  EXPECT_TRUE(touched_.routes.contains(route.key));
  EXPECT_TRUE(mirror_.routes().empty());
}

TEST_F(MirrorTest, TheRemovalOfAReplacedRouteDoesNotRemoveItsSuccessor) {
  const Route before = device_route("10.2.0.0/24");
  Route after = before;
  after.type = RouteType::kThrow;
  after.oif = 0;
  mirror_.apply(Operation{"b", PutRoute{after}});
  EXPECT_EQ(event(RouteEvent{before, true}), "");
  EXPECT_EQ(mirror_.routes().at(after.key), after);
}

TEST_F(MirrorTest, AllowedIpsMoveFromTheirHolder) {
  WgPeerChange change;
  change.key = key(3);
  change.add_allowed_ips = {cidr("10.2.0.0/24")};
  mirror_.apply(Operation{"c", ChangePeer{change}});
  EXPECT_EQ(mirror_.allowed_to(cidr("10.2.0.0/24")), key(3));
  EXPECT_THAT(mirror_.peers().at(key(2)).allowed_ips, IsEmpty());
}

TEST_F(MirrorTest, RemovingWhatAnotherPeerHoldsLeavesItThere) {
  WgPeerChange change;
  change.key = key(3);
  mirror_.apply(Operation{"c", ChangePeer{change}});
  change.remove_allowed_ips = {cidr("10.2.0.0/24")};
  mirror_.apply(Operation{"c", ChangePeer{change}});
  EXPECT_EQ(mirror_.allowed_to(cidr("10.2.0.0/24")), key(2));
}

TEST_F(MirrorTest, ADeletedDeviceTakesPeersRoutesAndAddressesButNotTheGuards) {
  const Route route = device_route("10.2.0.0/24");
  Route guard = route;
  guard.type = RouteType::kUnreachable;
  guard.oif = 0;
  guard.key.metric = kGuardMetric;
  mirror_.set_routes({route, guard}, touched_);
  mirror_.set_addresses({{5, ip("10.1.0.1"), 32, false}, {2, ip("192.0.2.1"), 24, false}});
  EXPECT_EQ(event(LinkEvent{*mirror_.link("mesh0"), true}), "device");
  EXPECT_FALSE(mirror_.device().has_value());
  EXPECT_TRUE(mirror_.peers().empty());
  EXPECT_EQ(mirror_.routes().size(), 1U);
  EXPECT_TRUE(mirror_.routes().contains(guard.key));
  EXPECT_EQ(mirror_.addresses().size(), 1U);
  EXPECT_TRUE(touched_.routes.contains(route.key));
  EXPECT_TRUE(touched_.peers.contains(key(2)));
}

TEST_F(MirrorTest, ADeviceThatGoesDownLosesItsRoutesWithoutAWord) {
  const Route route = device_route("10.2.0.0/24");
  mirror_.set_routes({route}, touched_);
  EXPECT_EQ(event(LinkEvent{{5, "mesh0", "wireguard", 1420, false, false, false}, false}), "link");
  EXPECT_TRUE(mirror_.routes().empty());
}

TEST_F(MirrorTest, ADeviceThatLosesAnIpv4AddressLosesItsRoutesWithoutAWord) {
  const Route route = device_route("10.2.0.0/24");
  mirror_.set_routes({route}, touched_);
  mirror_.set_addresses({{5, ip("10.1.0.1"), 32, false}, {5, ip("fd00:1::1"), 128, false}});
  EXPECT_EQ(event(AddressEvent{{5, ip("fd00:1::1"), 128, false}, true}), "address");
  EXPECT_EQ(mirror_.routes().size(), 1U) << "IPv6 says so";
  EXPECT_EQ(event(AddressEvent{{5, ip("10.1.0.1"), 32, false}, true}), "address");
  EXPECT_TRUE(mirror_.routes().empty());
  EXPECT_TRUE(touched_.routes.contains(route.key));
}

TEST_F(MirrorTest, ARuleOfOthersIsNoDrift) {
  Rule rule;
  rule.protocol = 2;
  EXPECT_EQ(event(RuleEvent{rule, false}), "");
  EXPECT_EQ(event(RuleEvent{{}, false}), "rule");
}

TEST_F(MirrorTest, WhatADumpShowsOtherwiseIsTouchedAndNothingElse) {
  mirror_.set_device({"mesh0", 5, key(1), 51820, 0x2000, {peer(2, {"10.2.0.0/24"}), peer(3, {})}},
                     touched_);
  EXPECT_EQ(touched_.peers, std::set<PublicKey>{key(3)});
  touched_.peers.clear();
  mirror_.set_device({"mesh0", 5, key(1), 51820, 0x2000, {peer(2, {})}}, touched_);
  EXPECT_EQ(touched_.peers, (std::set<PublicKey>{key(2), key(3)}));
}

TEST_F(MirrorTest, AnEndpointThatChangesWithoutAWordOfThePeerWasWrittenByOthers) {
  mirror_.take_as_written(key(2), endpoint("192.0.2.2:51820"));
  const auto dump = [&](const std::string& where, std::uint64_t rx) {
    WgPeer seen = peer(2, {"10.2.0.0/24"});
    seen.endpoint = endpoint(where);
    seen.rx_bytes = rx;
    mirror_.set_device({"mesh0", 5, key(1), 51820, 0x2000, {seen}}, touched_);
  };
  dump("198.51.100.9:1024", 148);
  EXPECT_TRUE(mirror_.written_endpoint(key(2))) << "it roamed: it was heard from there";
  dump("203.0.113.1:9", 148);
  EXPECT_FALSE(mirror_.written_endpoint(key(2)));
  EXPECT_TRUE(touched_.peers.contains(key(2)));
}

TEST_F(MirrorTest, AnAddressThatIsDeprecatedIsTheSameAddress) {
  LocalAddress address{7, ip("2001:db8::7"), 64, false};
  EXPECT_EQ(event(AddressEvent{address, false}), "");
  address.deprecated_or_temporary = true;
  (void)event(AddressEvent{address, false});
  ASSERT_EQ(mirror_.addresses().size(), 1U);
  EXPECT_TRUE(mirror_.addresses().begin()->deprecated_or_temporary);
  address.deprecated_or_temporary = false;  // as it was when the removal was asked for
  (void)event(AddressEvent{address, true});
  EXPECT_THAT(mirror_.addresses(), IsEmpty());
}

TEST_F(MirrorTest, AnEventOfTheTableTakesNothingDownBeforeItIsRead) {
  mirror_.set_nftables(NftContents{}, touched_);
  EXPECT_EQ(event(NftEvent{}), "nftables");
  EXPECT_TRUE(mirror_.has_sets());
  EXPECT_TRUE(mirror_.ruleset_installed());
}

TEST_F(MirrorTest, LostEventsAskForEverything) {
  EXPECT_EQ(event(OverrunEvent{}), "");
  EXPECT_TRUE(touched_.everything);
}

TEST_F(MirrorTest, TheKeyShowsAtTheNextDumpNotBefore) {
  WgDeviceChange change;
  change.set_private_key = true;
  change.listen_port = 7;
  mirror_.set_device({"mesh0", 5, {}, 0, 0, {}}, touched_);
  mirror_.apply(Operation{"", ConfigureDevice{change}});
  EXPECT_TRUE(mirror_.device()->public_key.is_zero());
  EXPECT_EQ(mirror_.device()->listen_port, 7);
}

}  // namespace
}  // namespace mesh
