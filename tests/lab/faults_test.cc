// What breaks around meshd: devices, processes, machines that lack something; and what is not its
// own.
#include "lab/scenario.h"

namespace mesh::lab {
namespace {

using Faults = MeshTest;

void break_device(Node& node) {
  // The kernel's device is deleted; wireguard-go's goes with its process, which must die without a
  // chance to clean up.
  if (node.run({"sh", "-c", "ip -j -d link show mesh0 | grep -q '\"wireguard\"'"}).ok()) {
    node.must({"ip", "link", "del", "mesh0"});
  } else {
    node.must({"sh", "-c",
               "for p in /proc/[0-9]*; do [ \"$(readlink $p/ns/net)\" = \"$(readlink "
               "/proc/self/ns/net)\" ] && "
               "[ \"$(cat $p/comm)\" = wireguard-go ] && kill -9 ${p#/proc/}; done; true"});
  }
}

TEST_F(Faults, ALostDeviceIsMadeAgainWithTheSameKeyAndNothingLeaksMeanwhile) {
  Lab& lab = make(dual(2));
  lab.start_all();
  ASSERT_TRUE(all_encrypted());
  const std::string key = lab[0].wireguard()->public_key;
  Capture capture(lab);
  Pinger ipv4(lab[0].workload(), lab[1].workload(), Family::kIpv4);
  Pinger ipv6(lab[0].workload(), lab[1].workload(), Family::kIpv6);
  for (int round = 0; round < 3; ++round) {
    const auto repairs = lab[0].status()["repairs"].get<int>();
    break_device(lab[0]);
    EXPECT_TRUE(wait_until([&] { return lab[0].status()["repairs"].get<int>() > repairs; },
                           milliseconds(5000)));
    EXPECT_TRUE(becomes(lab[0], "node-b", "encrypted", milliseconds(10'000)));
    EXPECT_TRUE(wait_until(
        [&] { return lab[0].workload().reaches(lab[1].workload().address(Family::kIpv4)); },
        milliseconds(10'000)));
  }
  (void)ipv4.stop();
  (void)ipv6.stop();
  EXPECT_EQ(lab[0].wireguard()->public_key, key);
  const Verdict verdict = capture.between("node-a", "node-b");
  EXPECT_EQ(verdict.plaintext(), 0U) << verdict.to_string();
}

TEST_F(Faults, ADeviceLostWhileMeshdIsDownLeaksNothingEither) {
  Lab& lab = make(dual(2));
  lab.start_all();
  ASSERT_TRUE(all_encrypted());
  Capture capture(lab);
  Pinger pinger(lab[0].workload(), lab[1].workload(), Family::kIpv4);
  lab[0].kill();
  break_device(lab[0]);
  pinger.let_pass(100);
  lab[0].start();
  EXPECT_TRUE(becomes(lab[0], "node-b", "encrypted", milliseconds(10'000)));
  pinger.let_pass(50);
  const PingReport report = pinger.stop();
  EXPECT_GT(report.there.lost, 0U) << "the fault was not there";
  EXPECT_EQ(capture.between("node-a", "node-b").plaintext(), 0U);
}

TEST_F(Faults, RoutesAndRulesThatSomebodyRemovesComeBack) {
  Lab& lab = make(dual(2));
  lab.start_all();
  ASSERT_TRUE(all_encrypted());
  const std::string routes = lab[0].must({"ip", "route", "show", "table", "5182"});
  const std::string rules = lab[0].must({"ip", "rule"});
  lab[0].must({"ip", "route", "flush", "table", "5182"});
  lab[0].must({"ip", "rule", "del", "pref", "99"});
  lab[0].must({"nft", "flush", "ruleset"});
  EXPECT_TRUE(wait_until(
      [&] {
        return lab[0].must({"ip", "route", "show", "table", "5182"}) == routes;
      },
      milliseconds(2000)));
  EXPECT_TRUE(wait_until([&] { return lab[0].must({"ip", "rule"}) == rules; }, milliseconds(2000)));
  EXPECT_TRUE(wait_until(
      [&] {
        return lab[0].run({"nft", "list", "table", "inet", "meshd"}).ok();
      },
      milliseconds(2000)));
  EXPECT_GT(lab[0].status()["repairs"].get<int>(), 0);
}

TEST_F(Faults, WhatIsNotOursIsUntouched) {
  Lab& lab = make(dual(2));
  Node& node = lab[0];
  node.must({"ip", "link", "add", "other0", "type", "bridge"});
  node.must({"ip", "link", "set", "other0", "up"});
  node.must({"ip", "route", "add", "198.51.100.0/24", "dev", "other0", "table", "77"});
  node.must(
      {"ip", "route", "add", "10.77.0.0/24", "dev", "other0", "table", "5182", "proto", "static"});
  node.must({"ip", "rule", "add", "pref", "50", "fwmark", "0x1", "lookup", "77"});
  node.must({"ip", "rule", "add", "pref", "100", "to", "198.51.100.0/24", "lookup", "77"});
  node.must({"nft", "add", "table", "inet", "theirs"});
  node.must(
      {"nft", "add", "chain", "inet", "theirs", "input", "{ type filter hook input priority 0; }"});
  const auto foreign = [&] {
    return node.must({"ip", "route", "show", "table", "77"}) +
           node.must(
               {"sh", "-c",
                "ip route show table 5182 proto static; ip rule | grep -v -e 5182 -e 5183; "
                "ip route show table main; nft list table inet theirs; ip -br link show other0"});
  };
  const std::string before = foreign();
  lab.start_all();
  ASSERT_TRUE(all_encrypted());
  EXPECT_EQ(foreign(), before);
  node.restart();
  EXPECT_TRUE(becomes(node, "node-b", "encrypted"));
  EXPECT_EQ(foreign(), before);
}

TEST_F(Faults, WithoutTheCapabilityMeshdSaysSoInOneLineAndEnds) {
  Lab& lab = make(dual(1));
  lab[0].start(true);
  const auto code = lab[0].process().wait(milliseconds(10'000));
  ASSERT_TRUE(code.has_value()) << "meshd goes on without CAP_NET_ADMIN";
  EXPECT_EQ(*code, 1);
  EXPECT_THAT(lab[0].log(), testing::HasSubstr("CAP_NET_ADMIN"));
}

TEST_F(Faults, WithoutWireguardGoTheNodeIsPlaintextAndSaysWhatToInstall) {
  Lab& lab = make(dual(2));
  lab[1].configure("wireguard: {backend: userspace, userspaceCommand: no-such-wireguard-go}");
  lab.start_all();
  EXPECT_TRUE(becomes_reason(lab[0], "node-b", "plaintext", "peer-unsupported"));
  EXPECT_THAT(lab[0].peer("node-b")["detail"].get<std::string>(),
              testing::HasSubstr("no-such-wireguard-go"));
  EXPECT_TRUE(becomes_reason(lab[1], "node-a", "plaintext", "local-unsupported"));
}

TEST_F(Faults, ANameTakenByAnotherKindOfLinkIsLeftAloneAndReported) {
  Lab& lab = make(dual(2));
  lab[1].must({"ip", "link", "add", "mesh0", "type", "bridge"});
  lab.start_all();
  EXPECT_TRUE(becomes_reason(lab[0], "node-b", "plaintext", "peer-unsupported"));
  EXPECT_THAT(lab[1].status()["backendReason"].get<std::string>(), testing::HasSubstr("mesh0"));
  EXPECT_THAT(lab[1].must({"ip", "-d", "link", "show", "mesh0"}), testing::HasSubstr("bridge"));
}

TEST_F(Faults, APortInUseIsReportedAndTakenWhenItIsFree) {
  Lab& lab = make(dual(2));
  Process squatter({.argv = {"nc", "-u", "-l", "-p", "51820"}, .place = lab[1].place()});
  ASSERT_TRUE(wait_until(
      [&] {
        return lab[1].run({"sh", "-c", "ss -lun | grep -q :51820"}).ok();
      },
      milliseconds(5000)));
  lab.start_all();
  EXPECT_TRUE(
      becomes_reason(lab[0], "node-b", "plaintext", "peer-unsupported", milliseconds(10'000)));
  EXPECT_THAT(lab[1].status().dump(), testing::HasSubstr("51820"));
  EXPECT_THAT(lab[1].log(), testing::HasSubstr("51820"));
  squatter.stop();
  EXPECT_TRUE(becomes(lab[0], "node-b", "encrypted", milliseconds(40'000)));
}

}  // namespace
}  // namespace mesh::lab
