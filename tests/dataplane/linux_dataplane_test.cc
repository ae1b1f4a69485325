// The whole Linux data plane in a namespace of the test's own: which device it finds or makes, and
// how it applies plans. With the kernel's WireGuard where there is one, else with wireguard-go.
#include "meshd/dataplane/linux_dataplane.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <linux/capability.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>
#include <iostream>

#include "dataplane/network_namespace.h"
#include "dataplane/packets.h"
#include "meshd/dataplane/netlink_socket.h"

namespace mesh {
namespace {

using test::cidr;
using test::eventually;
using test::index_of;
using test::ip;
using test::run;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint32_t kW = 5182;
constexpr std::uint32_t kH = 5183;

bool kernel_has_wireguard() {
  static const bool has = std::system(
                              "ip link add wgprobe type wireguard 2>/dev/null && "
                              "ip link delete wgprobe") == 0;
  return has;
}

// In a child: drops CAP_NET_ADMIN for good and asks for a device. 0: refused with kPermission and a
// remedy, while reading still works.
int outcome_without_net_admin(const DeviceSpec& spec) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> sets{};
  if (syscall(SYS_capget, &header, sets.data()) != 0) return 1;
  sets[0].effective &= ~(1U << CAP_NET_ADMIN);
  sets[0].permitted &= ~(1U << CAP_NET_ADMIN);
  if (syscall(SYS_capset, &header, sets.data()) != 0) return 2;
  auto dataplane = LinuxDataplane::open();
  if (!dataplane) return 3;
  if (!(*dataplane)->read_links() || !(*dataplane)->read_routes(kW)) return 4;
  const auto choice = (*dataplane)->ensure_device(spec);
  if (choice || choice.error().code != ErrorCode::kPermission) return 5;
  return choice.error().message.find("CAP_NET_ADMIN") != std::string::npos ? 0 : 6;
}

class LinuxDataplaneTest : public test::NamespaceTest {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    // Unique: wireguard-go's sockets are shared by all network namespaces.
    name_ = fmt::format("mt{}", getpid() % 1000000);
    auto opened = LinuxDataplane::open();
    ASSERT_TRUE(opened) << opened.error().message;
    dataplane_ = std::move(*opened);
    dataplane_->watch_tables({kW, kH});
  }
  void TearDown() override {
    dataplane_.reset();
    if (!name_.empty())
      if (auto left = UserspaceProcess::find_running("wireguard-go", name_); left && *left)
        (void)(*left)->stop();
    NamespaceTest::TearDown();
  }

  LinuxDataplane& dataplane() { return *dataplane_; }
  void reopen() {
    dataplane_.reset();
    dataplane_ = std::move(*LinuxDataplane::open());
  }
  const std::string& name() const { return name_; }
  DeviceSpec spec(BackendPreference preference = BackendPreference::kAuto) const {
    return {.name = name_, .preference = preference, .userspace_command = "wireguard-go"};
  }
  BackendChoice ensure(BackendPreference preference = BackendPreference::kAuto) {
    const auto choice = dataplane().ensure_device(spec(preference));
    EXPECT_TRUE(choice) << choice.error().message;
    return choice ? *choice : BackendChoice{};
  }
  Route route(const char* destination, RouteType type) const {
    Route made;
    made.key = {kW, cidr(destination), 1024};
    made.type = type;
    made.oif = type == RouteType::kUnicast ? index_of(name_.c_str()) : 0;
    return made;
  }
  // Applies; all must succeed.
  void apply(const Plan& plan) {
    const auto results = dataplane().apply(plan);
    ASSERT_EQ(results.size(), plan.size());
    for (std::size_t i = 0; i < plan.size(); ++i)
      EXPECT_TRUE(results[i]) << to_string(plan[i]) << ": " << results[i].error().message;
  }
  static std::vector<std::string> in_words(const std::vector<Result<void>>& results) {
    std::vector<std::string> words;
    for (const auto& result : results)
      words.push_back(result                                           ? "done"
                      : result.error().code == ErrorCode::kUnavailable ? "not tried"
                                                                       : "failed");
    return words;
  }

 private:
  std::string name_;
  std::unique_ptr<LinuxDataplane> dataplane_;
};

// Which device

TEST_F(LinuxDataplaneTest, AutoMakesTheBestDeviceAndSaysWhyNotTheBetterOnes) {
  const BackendChoice choice = ensure();
  EXPECT_TRUE(choice.created);
  if (kernel_has_wireguard()) {
    EXPECT_EQ(choice.backend, Backend::kKernel);
    EXPECT_EQ(choice.reason, "");
  } else {
    std::cout << "NOT RUN: kernel WireGuard, which this kernel has not\n";
    ASSERT_TRUE(test::has_program("wireguard-go"));
    EXPECT_EQ(choice.backend, Backend::kUserspace);
    EXPECT_THAT(choice.reason, HasSubstr("modprobe wireguard"));
  }
  const auto device = dataplane().read_device();
  ASSERT_TRUE(device) << device.error().message;
  EXPECT_EQ(device->name, name());
  EXPECT_EQ(device->ifindex, index_of(name().c_str()));
  EXPECT_TRUE(device->public_key.is_zero());
}

TEST_F(LinuxDataplaneTest, AskedAgainOrAfterARestartItAdoptsWhatItMade) {
  const Backend made = ensure().backend;
  const int index = index_of(name().c_str());
  for (int i = 0; i < 2; ++i) {
    const BackendChoice again = ensure();
    EXPECT_EQ(again.backend, made);
    EXPECT_FALSE(again.created);
    EXPECT_EQ(index_of(name().c_str()), index);
    EXPECT_TRUE(dataplane().read_device());
    reopen();
  }
}

TEST_F(LinuxDataplaneTest, ADeletedDeviceIsNotFoundAndMadeAnew) {
  ensure();
  run("ip link delete " + name());
  EXPECT_TRUE(eventually([&] { return !dataplane().read_device(); }));
  EXPECT_EQ(dataplane().read_device().error().code, ErrorCode::kNotFound);
  const BackendChoice again = ensure();
  EXPECT_TRUE(again.created);
  EXPECT_NE(again.backend, Backend::kNone) << again.reason;
  EXPECT_TRUE(dataplane().read_device());
}

TEST_F(LinuxDataplaneTest, AKilledWireguardGoIsReportedAndStartedAnew) {
  if (ensure(BackendPreference::kUserspace).backend != Backend::kUserspace)
    GTEST_SKIP() << "NOT RUN: wireguard-go does not work here";
  (void)dataplane().drain_events();
  const auto running = UserspaceProcess::find_running("wireguard-go", name());
  ASSERT_TRUE(running && *running);
  kill((*running)->pid(), SIGKILL);
  pollfd exited{dataplane().process_exit_fd(), POLLIN, 0};
  EXPECT_EQ(poll(&exited, 1, 10000), 1);
  EXPECT_TRUE(eventually([&] { return index_of(name().c_str()) == 0; }));
  bool removed = false;
  EXPECT_TRUE(eventually([&] {
    for (const KernelEvent& event : dataplane().drain_events())
      if (const auto* link = std::get_if<LinkEvent>(&event))
        removed = removed || (link->removed && link->link.name == name());
    return removed;
  }));
  const BackendChoice again = ensure(BackendPreference::kUserspace);
  EXPECT_EQ(again.backend, Backend::kUserspace) << again.reason;
  EXPECT_TRUE(again.created);
  EXPECT_TRUE(dataplane().read_device());
}

TEST_F(LinuxDataplaneTest, NoneIsAChoiceWithItsReason) {
  const BackendChoice choice = ensure(BackendPreference::kNone);
  EXPECT_EQ(choice.backend, Backend::kNone);
  EXPECT_THAT(choice.reason, HasSubstr("backend: none"));
  EXPECT_EQ(index_of(name().c_str()), 0);
  EXPECT_EQ(dataplane().read_device().error().code, ErrorCode::kNotFound);
}

TEST_F(LinuxDataplaneTest, KernelOnlyWhereThereIsNoneSaysWhatToDo) {
  if (kernel_has_wireguard()) GTEST_SKIP() << "this kernel has WireGuard";
  const BackendChoice choice = ensure(BackendPreference::kKernel);
  EXPECT_EQ(choice.backend, Backend::kNone);
  EXPECT_THAT(choice.reason, HasSubstr("modprobe wireguard"));
}

TEST_F(LinuxDataplaneTest, WithoutWireguardGoTheReasonNamesBothRemedies) {
  if (kernel_has_wireguard()) GTEST_SKIP() << "this kernel has WireGuard";
  DeviceSpec asked = spec();
  asked.userspace_command = "no-such-wireguard-go";
  const auto choice = dataplane().ensure_device(asked);
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_EQ(choice->backend, Backend::kNone);
  EXPECT_THAT(choice->reason, HasSubstr("modprobe wireguard"));
  EXPECT_THAT(choice->reason, HasSubstr("no-such-wireguard-go"));
}

TEST_F(LinuxDataplaneTest, AForeignLinkOfThatNameIsNeverTouched) {
  for (const std::string& make :
       {"ip link add " + name() + " type veth peer name mtfar",
        "ip link add " + name() + " type bridge", "ip tuntap add " + name() + " mode tun"}) {
    run(make);
    const std::string before = run("ip -d link show " + name());
    for (const BackendPreference preference :
         {BackendPreference::kAuto, BackendPreference::kKernel, BackendPreference::kUserspace}) {
      const BackendChoice choice = ensure(preference);
      EXPECT_EQ(choice.backend, Backend::kNone) << make;
      EXPECT_THAT(choice.reason, HasSubstr("wireguard.interface")) << make;
    }
    EXPECT_EQ(run("ip -d link show " + name()), before);
    run("ip link delete " + name());
  }
}

TEST_F(LinuxDataplaneTest, AnAdoptedDeviceOfTheOtherBackendIsKeptAndTheReasonSaysSo) {
  if (!kernel_has_wireguard())
    GTEST_SKIP() << "NOT RUN: needs a kernel with WireGuard (the VM runs this)";
  EXPECT_EQ(ensure(BackendPreference::kKernel).backend, Backend::kKernel);
  reopen();
  const BackendChoice choice = ensure(BackendPreference::kUserspace);
  EXPECT_EQ(choice.backend, Backend::kKernel);
  EXPECT_FALSE(choice.created);
  EXPECT_THAT(choice.reason, HasSubstr("prefers userspace"));
}

TEST_F(LinuxDataplaneTest, WithoutCapNetAdminTheErrorSaysSoAndNothingIsMade) {
  const pid_t child = fork();
  if (child == 0) _exit(outcome_without_net_admin(spec()));
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(index_of(name().c_str()), 0);
}

// Plans

TEST_F(LinuxDataplaneTest, AWholePlanIsApplied) {
  ensure();
  run("ip link add under0 type veth peer name far0");
  const PrivateKey key = PrivateKey::generate();
  dataplane().set_identity(&key);
  const PublicKey peer = PrivateKey::generate().public_key();
  Rule rule;
  rule.priority = 99;
  rule.invert = true;
  rule.fwmark = rule.fwmask = 0x2000;
  rule.table = kW;
  WgPeerChange change;
  change.key = peer;
  change.endpoint = *Endpoint::parse("192.0.2.2:51820");
  change.add_allowed_ips = {cidr("10.2.0.0/24")};
  const NftElement element{NftSet::kTxWireguard, {ip("10.2.0.0"), ip("10.2.0.255")}};
  apply({{"", InstallRuleset{{name(), 0x2000}}},
         {"", ConfigureDevice{{.set_private_key = true, .listen_port = 51999, .fwmark = 0x2000}}},
         {"", ConfigureLink{1380, true}},
         {"", AddAddress{ip("10.1.0.1")}},
         {"", AddAddress{ip("fd01::1")}},
         {"", SetLinkSysctl{{"under0", LinkSysctl::kRpFilter, 2}}},
         {"node-b", ChangePeer{change}},
         {"node-b", PutElement{element}},
         {"node-b", PutRoute{route("10.2.0.0/24", RouteType::kUnicast)}},
         {"", PutRule{rule}}});

  const auto device = dataplane().read_device();
  ASSERT_TRUE(device) << device.error().message;
  EXPECT_EQ(device->public_key, key.public_key());
  EXPECT_EQ(device->listen_port, 51999);
  EXPECT_EQ(device->fwmark, 0x2000U);
  ASSERT_EQ(device->peers.size(), 1U);
  EXPECT_EQ(device->peers[0].key, peer);
  EXPECT_THAT(device->peers[0].allowed_ips, ElementsAre(cidr("10.2.0.0/24")));
  EXPECT_THAT(*dataplane().read_routes(kW), ElementsAre(route("10.2.0.0/24", RouteType::kUnicast)));
  EXPECT_THAT(*dataplane().read_rules(), Contains(rule));
  EXPECT_THAT(dataplane().read_nftables({name(), 0x2000})->elements, ElementsAre(element));
  EXPECT_EQ(dataplane().read_counters(kAllNftSets)->size(), 1U);
  EXPECT_EQ(*dataplane().read_link_sysctl("under0", LinkSysctl::kRpFilter), 2);
  EXPECT_EQ(dataplane().lookup(ip("10.2.0.9"), 0)->oif, device->ifindex);
  const auto link = dataplane().read_links();
  for (const Link& one : *link)
    if (one.name == name()) {
      EXPECT_EQ(one.mtu, 1380U);
      EXPECT_TRUE(one.up);
    }

  WgPeerChange gone;
  gone.key = peer;
  gone.remove = true;
  apply({{"", RemoveRule{rule}},
         {"node-b", RemoveRoute{route("10.2.0.0/24", RouteType::kUnicast)}},
         {"node-b", RemoveElement{element}},
         {"node-b", ChangePeer{gone}},
         {"", RemoveAddress{ip("10.1.0.1")}},
         {"", RemoveAddress{ip("fd01::1")}}});
  EXPECT_THAT(dataplane().read_device()->peers, IsEmpty());
  EXPECT_THAT(*dataplane().read_routes(kW), IsEmpty());
  EXPECT_THAT(dataplane().read_nftables({name(), 0x2000})->elements, IsEmpty());
}

TEST_F(LinuxDataplaneTest, AFailedOperationHoldsBackItsNodesLaterOnesAndNobodyElses) {
  Route bad = route("10.3.0.0/24", RouteType::kUnicast);
  bad.oif = 9999;
  const auto results = dataplane().apply(
      std::vector<Operation>{{"node-b", PutRoute{route("10.2.0.0/24", RouteType::kThrow)}},
                             {"node-c", PutRoute{bad}},
                             {"node-c", PutRoute{route("10.3.1.0/24", RouteType::kThrow)}},
                             {"node-d", PutRoute{route("10.4.0.0/24", RouteType::kThrow)}},
                             {"node-b", PutRoute{route("10.2.1.0/24", RouteType::kThrow)}},
                             {"node-c", RemoveRoute{route("10.3.2.0/24", RouteType::kThrow)}}});
  EXPECT_THAT(in_words(results),
              ElementsAre("done", "failed", "not tried", "done", "done", "not tried"));
  EXPECT_THAT(results[2].error().message, HasSubstr("node-c"));
  EXPECT_EQ(dataplane().read_routes(kW)->size(), 3U);
}

TEST_F(LinuxDataplaneTest, AFailedOperationOfNoNodeHoldsNothingBack) {
  ensure();
  const auto results = dataplane().apply(
      std::vector<Operation>{{"", SetLinkSysctl{{"nosuchlink", LinkSysctl::kRpFilter, 2}}},
                             {"", AddAddress{ip("10.1.0.1")}},
                             {"node-b", PutRoute{route("10.2.0.0/24", RouteType::kThrow)}}});
  EXPECT_THAT(in_words(results), ElementsAre("failed", "done", "done"));
  EXPECT_EQ(results[0].error().code, ErrorCode::kNotFound);
}

TEST_F(LinuxDataplaneTest, WithoutADeviceItsOperationsFailAndTheOthersWork) {
  ensure(BackendPreference::kNone);
  WgPeerChange change;
  change.key = PrivateKey::generate().public_key();
  const auto results = dataplane().apply(
      std::vector<Operation>{{"node-b", ChangePeer{change}},
                             {"node-c", PutRoute{route("10.2.0.0/24", RouteType::kThrow)}},
                             {"", InstallRuleset{{name(), 0x2000}}},
                             {"", AddAddress{ip("10.1.0.1")}}});
  EXPECT_FALSE(results[0]);
  EXPECT_TRUE(results[1]);
  EXPECT_TRUE(results[2]) << results[2].error().message;
  EXPECT_FALSE(results[3]);
}

TEST_F(LinuxDataplaneTest, ElementsMoveBetweenNodesWithoutAGapInOneTransaction) {
  const IpRange whole{ip("10.2.0.0"), ip("10.2.0.255")};
  const IpRange left{ip("10.2.0.0"), ip("10.2.0.127")};
  const IpRange right{ip("10.2.0.128"), ip("10.2.0.255")};
  apply({{"", InstallRuleset{{name(), 0x2000}}},
         {"node-b", PutElement{{NftSet::kTxRequired, whole}}}});
  apply({{"node-b", RemoveElement{{NftSet::kTxRequired, whole}}},
         {"node-b", PutElement{{NftSet::kTxRequired, left}}},
         {"node-c", PutElement{{NftSet::kTxRequired, right}}}});
  EXPECT_THAT(
      dataplane().read_nftables({name(), 0x2000})->elements,
      ElementsAre(NftElement{NftSet::kTxRequired, left}, NftElement{NftSet::kTxRequired, right}));
}

// How many transactions of nftables this namespace has seen.
std::uint32_t transactions() {
  auto socket = NetlinkSocket::open(NETLINK_NETFILTER);
  EXPECT_TRUE(socket);
  NetlinkMessage request((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETGEN, 0);
  request.put_header(nfgenmsg{AF_UNSPEC, NFNETLINK_V0, 0});
  std::uint32_t generation = 0;
  EXPECT_TRUE(socket->query(request, [&](const nlmsghdr& message) -> Result<void> {
    AttributeReader reader(attributes_of(message, sizeof(nfgenmsg)));
    while (const auto attribute = reader.next())
      if (attribute->type == NFTA_GEN_ID)
        generation = ntohl(attribute->as<std::uint32_t>().value_or(0));
    return {};
  }));
  return generation;
}

TEST_F(LinuxDataplaneTest, WhatHappensToOneSetIsOneTransactionAndSmallSetsShareOne) {
  const auto puts = [](Plan& plan, NftSet set, std::uint32_t first, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
      const IpAddress address = IpAddress::v4(first + 2 * i);
      plan.push_back({"", PutElement{{set, {address, address}}}});
    }
  };
  apply({{"", InstallRuleset{{name(), 0x2000}}}});
  Plan large;
  puts(large, NftSet::kTxRequired, 0x0b000000U, 1500);
  puts(large, NftSet::kTxWireguard, 0x0b000000U, 1500);
  puts(large, NftSet::kTxPlaintext, 0x0b000000U, 900);
  const std::uint32_t before = transactions();
  apply(large);
  EXPECT_EQ(transactions() - before, 3U) << "filled up, they would be two that split a set";
  Plan small;
  for (const NftSet set : {NftSet::kTxRequired, NftSet::kTxWireguard, NftSet::kTxPlaintext})
    puts(small, set, 0x0c000000U, 100);
  const std::uint32_t then = transactions();
  apply(small);
  EXPECT_EQ(transactions() - then, 1U);
}

TEST_F(LinuxDataplaneTest, WhatIsWrongWithTheRulesetIsSaidAndItsSetsAreReadAllTheSame) {
  const NftSpec spec{name(), 0x2000};
  const NftElement element{NftSet::kTxRequired, {ip("10.2.0.0"), ip("10.2.0.255")}};
  EXPECT_EQ(dataplane().read_nftables(spec).error().code, ErrorCode::kNotFound);
  apply({{"", InstallRuleset{spec}}, {"", PutElement{element}}});
  EXPECT_TRUE(dataplane().read_nftables(spec)->rules_are_right);
  EXPECT_FALSE(dataplane().read_nftables({name(), 0x4000})->rules_are_right);
  run("nft flush chain inet meshd leaves4");
  EXPECT_FALSE(dataplane().read_nftables(spec)->rules_are_right);
  EXPECT_THAT(dataplane().read_nftables(spec)->elements, ElementsAre(element));
  apply({{"", InstallRuleset{spec, true}}});
  EXPECT_TRUE(dataplane().read_nftables(spec)->rules_are_right);
  EXPECT_THAT(dataplane().read_nftables(spec)->elements, ElementsAre(element));
  EXPECT_EQ(dataplane().read_nftables({"other0", 0x2000}).error().code, ErrorCode::kNotFound);
}

TEST_F(LinuxDataplaneTest, EventsAreReadyAndOurOwnNftablesChangesAreNotAmongThem) {
  ensure();
  (void)dataplane().drain_events();
  apply({{"", InstallRuleset{{name(), 0x2000}}},
         {"node-b", PutElement{{NftSet::kOwn, {ip("10.2.0.0"), ip("10.2.0.255")}}}},
         {"node-b", PutRoute{route("10.2.0.0/24", RouteType::kThrow)}}});
  pollfd waiting{dataplane().event_fd(), POLLIN, 0};
  EXPECT_EQ(poll(&waiting, 1, 0), 1);
  const auto own = dataplane().drain_events();
  ASSERT_EQ(own.size(), 1U);
  EXPECT_EQ(std::get<RouteEvent>(own[0]).route, route("10.2.0.0/24", RouteType::kThrow));
  run("nft flush ruleset");
  const auto others = dataplane().drain_events();
  ASSERT_EQ(others.size(), 1U);
  EXPECT_TRUE(std::holds_alternative<NftEvent>(others[0]));
}

TEST_F(LinuxDataplaneTest, ALongPlanOfOurOwnDoesNotOverrunTheEvents) {
  Plan plan;
  for (std::uint32_t i = 0; i < 20000; ++i) {
    Route one = route("10.2.0.0/32", RouteType::kThrow);
    one.key.destination = Cidr(IpAddress::v4(0x0b000000U + i), 32);
    plan.push_back({fmt::format("node-{}", i), PutRoute{one}});
  }
  (void)dataplane().drain_events();
  apply(plan);
  const auto events = dataplane().drain_events();
  EXPECT_EQ(events.size(), plan.size());
  for (const KernelEvent& event : events) ASSERT_FALSE(std::holds_alternative<OverrunEvent>(event));
}

TEST_F(LinuxDataplaneTest, SettingsOfOddlyNamedLinksAndOfAll) {
  run("ip link add we.ird-1 type veth peer name far0");
  for (const LinkSysctl sysctl : {LinkSysctl::kRpFilter, LinkSysctl::kSrcValidMark}) {
    apply({{"", SetLinkSysctl{{"we.ird-1", sysctl, 0}}}, {"", SetLinkSysctl{{"all", sysctl, 1}}}});
    EXPECT_EQ(*dataplane().read_link_sysctl("we.ird-1", sysctl), 0) << "its own, not that of all";
    EXPECT_EQ(*dataplane().read_link_sysctl("all", sysctl), 1);
    apply({{"", SetLinkSysctl{{"we.ird-1", sysctl, 1}}}});
    EXPECT_EQ(*dataplane().read_link_sysctl("we.ird-1", sysctl), 1);
    EXPECT_EQ(dataplane().read_link_sysctl("gone0", sysctl).error().code, ErrorCode::kNotFound);
    for (const char* bad : {"", ".", "..", "../../../x", "a/b", "muchtoolonganame"})
      EXPECT_EQ(dataplane().read_link_sysctl(bad, sysctl).error().code, ErrorCode::kInvalid) << bad;
  }
}

}  // namespace
}  // namespace mesh
