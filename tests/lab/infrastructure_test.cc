// The instruments themselves: a lab without meshd.
#include <sys/wait.h>

#include <csignal>
#include <filesystem>

#include "fixture.h"
#include "lab/ping.h"
#include "lab/process.h"
#include "lab/registry.h"

namespace mesh::lab {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string mounts() { return read_file("/proc/self/mountinfo"); }

std::vector<std::string> ids_of_labs() {
  std::vector<std::string> ids;
  for (const auto& lab : list_labs()) ids.push_back(lab.id);
  return ids;
}

// WireGuard between two nodes, by hand, with the device the kernel has or wireguard-go.
void connect_by_hand(Node& a, Node& b, Family family) {
  std::map<std::string, std::string> public_keys;
  for (Node* node : {&a, &b}) {
    if (!node->run({"ip", "link", "add", "wg0", "type", "wireguard"}).ok())
      node->must({"wireguard-go", "wg0"});
    const std::string key = run_or_throw({.argv = {"wg", "genkey"}});
    write_file(node->directory() + "/key", key);
    public_keys[node->name()] = run_or_throw({.argv = {"wg", "pubkey"}, .input = key});
    public_keys[node->name()].pop_back();
    node->must(
        {"wg", "set", "wg0", "private-key", node->directory() + "/key", "listen-port", "51820"});
    node->must(
        {"ip", "addr", "add", plan::gateway(node->index(), family).to_string(), "dev", "wg0"});
    node->must({"ip", "link", "set", "wg0", "up"});
  }
  for (auto [node, peer] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    const std::string prefix = plan::prefix(peer->index(), family).to_string();
    node->must({"wg", "set", "wg0", "peer", public_keys[peer->name()], "endpoint",
                Endpoint{peer->address(family), 51820}.to_string(), "allowed-ips", prefix});
    node->must({"ip", "route", "replace", prefix, "dev", "wg0"});
  }
}

class Infrastructure : public LabTest {};

struct Underlay {
  Families underlay;
  Families workloads;
};
class Topologies : public LabTest, public testing::WithParamInterface<Underlay> {};

TEST_P(Topologies, WorkloadsReachEachOtherInPlaintextAndTheCaptureSeesEveryPacket) {
  Lab& lab = make({.id = {},
                   .nodes = numbered_nodes(3),
                   .underlay = GetParam().underlay,
                   .workloads = GetParam().workloads});
  for (const Family family : list(GetParam().workloads)) {
    Capture capture(lab);
    Pinger pinger(lab[0].workload(), lab[1].workload(), family);
    pinger.let_pass(100);
    const PingReport report = pinger.stop();
    EXPECT_TRUE(report.lossless()) << report.to_string();
    EXPECT_THAT(report.there.sources, testing::ElementsAre(lab[0].workload().address(family)));
    EXPECT_THAT(report.back.sources, testing::ElementsAre(lab[1].workload().address(family)));

    const Verdict verdict = capture.between("node-a", "node-b");
    EXPECT_GE(verdict.ab.plaintext, report.there.sent) << verdict.to_string();
    EXPECT_GE(verdict.ba.plaintext, report.back.sent) << verdict.to_string();
    EXPECT_EQ(verdict.ab.wireguard + verdict.ba.wireguard, 0U);
    EXPECT_EQ(capture.between("node-a", "node-c").plaintext(), 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Topologies,
                         testing::Values(Underlay{Families::kIpv4, Families::kIpv4},
                                         Underlay{Families::kIpv6, Families::kIpv6},
                                         Underlay{Families::kDual, Families::kDual},
                                         Underlay{Families::kIpv6, Families::kDual},
                                         Underlay{Families::kIpv4, Families::kDual}),
                         [](const auto& test) {
                           return to_string(test.param.workloads) + "_over_" +
                                  to_string(test.param.underlay);
                         });

TEST_F(Infrastructure, WireguardByHandIsSeenAsWireguardAndNotOnePacketAsPlaintext) {
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    Lab& lab = make({.id = {}, .nodes = numbered_nodes(2), .strict_rp_filter = false});
    connect_by_hand(lab[0], lab[1], family);
    // One side speaks first: two handshakes begun at once undo each other, until the retry after 5
    // s.
    ASSERT_TRUE(
        wait_until([&] { return lab[0].workload().reaches(lab[1].workload().address(family)); },
                   milliseconds(20'000)));
    Capture capture(lab);
    Pinger pinger(lab[0].workload(), lab[1].workload(), family);
    pinger.let_pass(50);
    const PingReport report = pinger.stop();
    EXPECT_TRUE(report.lossless()) << report.to_string();
    const Verdict verdict = capture.between("node-a", "node-b");
    EXPECT_TRUE(verdict.encrypted_both_ways()) << verdict.to_string();
    EXPECT_GE(verdict.ab.wireguard, report.there.sent);
    EXPECT_GE(verdict.ba.wireguard, report.back.sent);
    EXPECT_FALSE(lab[0].wireguard("wg0")->peers.at(0).endpoint.empty());
  }
}

TEST_F(Infrastructure, LargePacketsStayWireguardWhenTheirOuterPacketIsFragmented) {
  Lab& lab = make({.id = {},
                   .nodes = numbered_nodes(2),
                   .underlay = Families::kIpv4,
                   .workloads = Families::kIpv4,
                   .strict_rp_filter = false});
  connect_by_hand(lab[0], lab[1], Family::kIpv4);
  for (Node* node : {&lab[0], &lab[1]}) node->must({"ip", "link", "set", "wg0", "mtu", "1500"});
  Capture capture(lab);
  EXPECT_TRUE(lab[0].workload().run({"ping", "-c1", "-W5", "-s1400", "10.2.0.2"}).ok());
  const Verdict verdict = capture.between("node-a", "node-b");
  EXPECT_TRUE(verdict.encrypted_both_ways()) << verdict.to_string();
  EXPECT_EQ(verdict.ab.host + verdict.ba.host, 0U) << verdict.to_string();
}

TEST_F(Infrastructure, LossIsCountedExactlyAndInTheDirectionWhereItHappens) {
  Lab& lab = make({.id = {}, .nodes = numbered_nodes(2)});
  Pinger pinger(lab[0].workload(), lab[1].workload(), Family::kIpv4);
  pinger.let_pass(50);
  lab.drop("ip saddr 10.1.0.2 ip protocol udp numgen inc mod 4 == 0");
  pinger.let_pass(200);
  const auto dropped = lab.dropped();
  const PingReport first = pinger.stop();
  EXPECT_GE(dropped, 40U);
  EXPECT_GE(first.there.lost, dropped);  // the counter was read while probes went on
  EXPECT_EQ(first.there.lost, lab.dropped()) << first.to_string();
  EXPECT_EQ(first.there.received + first.there.lost, first.there.sent);
  EXPECT_EQ(first.back.lost, 0U) << first.to_string();
  EXPECT_EQ(first.there.duplicates + first.back.duplicates, 0U);
}

TEST_F(Infrastructure, APulledCableStopsTrafficUntilItIsPluggedAgain) {
  Lab& lab = make({.id = {}, .nodes = numbered_nodes(2)});
  const IpAddress target = lab[1].workload().address(Family::kIpv4);
  EXPECT_TRUE(lab[0].workload().reaches(target));
  lab.pull_cable(lab[1]);
  EXPECT_FALSE(lab[0].workload().reaches(target, milliseconds(200)));
  lab.plug_cable(lab[1]);
  EXPECT_TRUE(wait_until([&] { return lab[0].workload().reaches(target); }, milliseconds(5000)));
}

TEST_F(Infrastructure, ACaptureThatCannotSeeANodeSaysSoInsteadOfZero) {
  Lab& lab = make({.id = {}, .nodes = numbered_nodes(2)});
  Capture capture(lab);
  lab.pull_cable(lab[1]);
  EXPECT_THROW((void)capture.between("node-a", "node-b"), LabError);
}

TEST_F(Infrastructure, TheOutsideClientReachesWorkloadsThroughTheNodeItIsRoutedBy) {
  Lab& lab = make({.id = {}, .nodes = numbered_nodes(2), .outside_client = true});
  lab.outside().network().ip("route add 10.2.0.0/24 via 192.0.2.1\n");
  Capture capture(lab);
  EXPECT_TRUE(lab.outside().reaches(lab[1].workload().address(Family::kIpv4)));
  EXPECT_GT(capture.between("node-a", "node-b").ab.plaintext, 0U);
}

TEST_F(Infrastructure, ANodeSeesItsOwnRunAndItsOwnInterfaces) {
  Lab& lab = make({.id = {}, .nodes = numbered_nodes(2)});
  lab[0].must({"touch", "/run/only-here"});
  EXPECT_FALSE(std::filesystem::exists("/run/only-here"));
  EXPECT_FALSE(lab[1].run({"ls", "/run/only-here"}).ok());
  EXPECT_THAT(lab[0].must({"ls", "/sys/class/net"}), HasSubstr("pods"));
  EXPECT_TRUE(lab[0].run({"ls", lab.store().path()}).ok());
}

TEST_F(Infrastructure, TwoLabsAtOnceDoNotDisturbEachOther) {
  const Lab other({.id = {}, .nodes = numbered_nodes(2)});
  {
    const Lab third({.id = {}, .nodes = numbered_nodes(2)});
    EXPECT_NE(third.id(), other.id());
  }
  Lab& lab = make({.id = {}, .nodes = numbered_nodes(2)});
  EXPECT_TRUE(sweep_labs().empty());
  EXPECT_THAT(ids_of_labs(), Contains(other.id()));
  const IpAddress target = lab[1].workload().address(Family::kIpv6);
  EXPECT_TRUE(wait_until([&] { return lab[0].workload().reaches(target); }, milliseconds(5000)));
  EXPECT_TRUE(other.diagnosis().find("node-b") != std::string::npos);
}

TEST_F(Infrastructure, ALabThatEndsLeavesNothing) {
  std::string id;
  const std::string mounts_before = mounts();
  {
    Lab gone({.id = {}, .nodes = numbered_nodes(2)});
    id = gone.id();
    (void)Process({.argv = {"sleep", "1000"}, .place = gone[0].place()}).release();
    EXPECT_THAT(processes_of(id), Not(IsEmpty()));
  }
  EXPECT_THAT(processes_of(id), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(lab_directory(id)));
  EXPECT_EQ(mounts(), mounts_before);
}

// A harness of its own, killed with SIGKILL while it has a lab with processes in it.
TEST_F(Infrastructure, WhatAKilledHarnessLeftIsGoneAtTheNextStart) {
  const std::string mounts_before = mounts();
  const std::string id = fmt::format("killed-{}", ::getpid());
  const pid_t harness = ::fork();
  if (harness == 0) try {
      Lab lab({.id = id, .nodes = numbered_nodes(2)});
      Process sleeper({.argv = {"sleep", "1000"}, .place = lab[0].place()});
      Process in_workload(
          {.argv = {"sleep", "1000"}, .place = {.network = lab[1].workload().network().fd()}});
      write_file(lab.directory() + "/ready",
                 fmt::format("{} {}", sleeper.pid(), in_workload.pid()));
      for (;;) ::pause();
    } catch (const std::exception& error) {
      fmt::print(stderr, "the harness to be killed: {}\n", error.what());
      ::_exit(1);
    }
  ASSERT_TRUE(wait_until([&] { return !read_file(lab_directory(id) + "/ready").empty(); },
                         milliseconds(20'000)));
  int sleeper = 0;
  int in_workload = 0;
  ASSERT_EQ(
      std::sscanf(read_file(lab_directory(id) + "/ready").c_str(), "%d %d", &sleeper, &in_workload),
      2);
  ASSERT_EQ(::kill(harness, SIGKILL), 0);
  ASSERT_EQ(::waitpid(harness, nullptr, 0), harness);
  EXPECT_TRUE(start_time_of(sleeper)) << "the kill alone does not end what runs in the lab";

  const Lab next({.id = {}, .nodes = numbered_nodes(1)});  // sweeps
  EXPECT_THAT(ids_of_labs(), Not(Contains(id)));
  EXPECT_FALSE(start_time_of(sleeper));
  EXPECT_FALSE(start_time_of(in_workload));
  EXPECT_THAT(mounts(), Not(HasSubstr(id)));
  EXPECT_FALSE(std::filesystem::exists(lab_directory(id)));
}

TEST_F(Infrastructure, AKeptLabOutlivesItsHarnessUntilItIsTakenDown) {
  std::string id;
  {
    Lab kept({.id = fmt::format("kept-{}", ::getpid()), .nodes = numbered_nodes(1)});
    kept.keep();
    id = kept.id();
  }
  (void)sweep_labs();
  EXPECT_THAT(ids_of_labs(), Contains(id));
  EXPECT_TRUE(
      ping(open_place(id, "node-a/w1").network, plan::gateway(1, Family::kIpv4), milliseconds(1000))
          .answered);
  destroy_lab(id);
  EXPECT_THAT(ids_of_labs(), Not(Contains(id)));
}

TEST_F(Infrastructure, TheRelayBringsARecordLateToTheNodeThatIsTold) {
  Lab& lab = make({.id = {}, .nodes = numbered_nodes(3), .separate_stores = true});
  lab.relay().delay("node-c", milliseconds(60'000));
  lab[0].store().write("node-a", "name: node-a\n");
  EXPECT_TRUE(wait_until([&] { return lab[1].store().has("node-a"); }, milliseconds(5000)));
  EXPECT_FALSE(lab[2].store().has("node-a"));
  lab[0].store().remove("node-a");
  EXPECT_TRUE(wait_until([&] { return !lab[1].store().has("node-a"); }, milliseconds(5000)));
}

}  // namespace
}  // namespace mesh::lab
