// The main job: who is encrypted, who is not, and that the captures agree with the status.
#include "lab/scenario.h"

namespace mesh::lab {
namespace {

INSTANTIATE_TEST_SUITE_P(Topologies, MeshTopologies, testing::ValuesIn(topologies()),
                         [](const auto& info) { return info.param.name; });

TEST_P(MeshTopologies, EveryPairBecomesEncryptedWithNoTrafficWhateverTheOrderOfStarts) {
  Lab& lab = make_mesh(3);
  for (const std::size_t i : {2U, 0U, 1U}) lab[i].start();
  EXPECT_TRUE(all_encrypted());
}

TEST_P(MeshTopologies, NoInnerPacketOfAnEncryptedPairCrossesTheUnderlayAndTheSenderIsSeenAsItIs) {
  Lab& lab = make_mesh(2);
  lab.start_all();
  ASSERT_TRUE(all_encrypted());
  for (const Family family : list(GetParam().workloads)) {
    Capture capture(lab);
    Pinger pinger(lab[0].workload(), lab[1].workload(), family);
    pinger.let_pass(100);
    const PingReport report = pinger.stop();
    EXPECT_TRUE(report.lossless()) << report.to_string();
    EXPECT_THAT(report.there.sources, testing::ElementsAre(lab[0].workload().address(family)));
    EXPECT_THAT(report.back.sources, testing::ElementsAre(lab[1].workload().address(family)));
    const Verdict verdict = capture.between("node-a", "node-b");
    EXPECT_TRUE(verdict.encrypted_both_ways()) << verdict.to_string();
    EXPECT_GE(verdict.ab.wireguard, report.there.sent);
  }
}

TEST_P(MeshTopologies, WithModeOffTheSameCaptureSeesThePackets) {
  Lab& lab = make_mesh(2);
  for (auto& node : lab.nodes()) node->configure("encryption: {mode: 'off'}");
  lab.start_all();
  ASSERT_TRUE(becomes_reason(lab[0], "node-b", "plaintext", "policy"));
  ASSERT_TRUE(becomes_reason(lab[1], "node-a", "plaintext", "policy"));
  for (const Family family : list(GetParam().workloads)) {
    Capture capture(lab);
    Pinger pinger(lab[0].workload(), lab[1].workload(), family);
    pinger.let_pass(50);
    const PingReport report = pinger.stop();
    EXPECT_TRUE(report.lossless()) << report.to_string();
    const Verdict verdict = capture.between("node-a", "node-b");
    EXPECT_GE(verdict.ab.plaintext, report.there.sent) << verdict.to_string();
    EXPECT_EQ(verdict.ab.wireguard + verdict.ba.wireguard, 0U) << verdict.to_string();
  }
}

TEST_P(MeshTopologies, HostsAndRemoteWorkloadsTalkEncryptedBothWays) {
  Lab& lab = make_mesh(2);
  lab.start_all();
  ASSERT_TRUE(all_encrypted());
  for (const Family family : list(GetParam().workloads)) {
    Capture capture(lab);
    EXPECT_TRUE(lab[0].reaches(lab[1].workload().address(family)));
    if (has(GetParam().underlay, family)) {
      EXPECT_TRUE(lab[0].workload().reaches(lab[1].address(family)));
    }
    const Verdict verdict = capture.between("node-a", "node-b");
    EXPECT_TRUE(verdict.encrypted_both_ways()) << verdict.to_string();
  }
}

using Mesh = MeshTest;

TEST_F(Mesh, TheNodeWithoutWireguardIsReachedInPlaintextAndBothSidesSayWhy) {
  LabSpec spec = dual(3);
  spec.nodes[2].backend = "none";
  Lab& lab = make(std::move(spec));
  lab.start_all();
  ASSERT_TRUE(all_encrypted({"node-a", "node-b"}));
  for (const std::size_t i : {0U, 1U}) {
    EXPECT_TRUE(becomes_reason(lab[i], "node-c", "plaintext", "peer-unsupported"));
    EXPECT_TRUE(becomes_reason(lab[2], lab[i].name(), "plaintext", "local-unsupported"));
    Capture capture(lab);
    for (const Family family : {Family::kIpv4, Family::kIpv6})
      EXPECT_TRUE(lab[i].workload().reaches(lab[2].workload().address(family)));
    EXPECT_GE(capture.between(lab[i].name(), "node-c").plaintext(), 4U);
    const auto counted = [&] {
      return lab[i].peer("node-c")["plaintextTxBytes"].get<std::uint64_t>() > 0;
    };
    EXPECT_TRUE(wait_until(counted, milliseconds(5000))) << "plaintext bytes are not counted";
  }
  EXPECT_EQ(lab[0].meshctl({"status", "--check"}).exit_code, 3);
}

TEST_F(Mesh, ARecordWrittenByHandWithoutAnnotationsIsAPlaintextPeer) {
  Lab& lab = make(dual(2));
  lab[0].start();
  lab.store().write(
      "node-b",
      "name: node-b\naddresses: [192.0.2.2]\ncidrs: [10.2.0.0/24]\nlabels: {role: web}\n");
  EXPECT_TRUE(becomes_reason(lab[0], "node-b", "plaintext", "no-public-key"));
  EXPECT_TRUE(lab[0].workload().reaches(lab[1].workload().address(Family::kIpv4)));
}

TEST_F(Mesh, CheckSucceedsOnlyWhenEveryPeerIsEncrypted) {
  Lab& lab = make(dual(2));
  lab.start_all();
  ASSERT_TRUE(all_encrypted());
  EXPECT_EQ(lab[0].meshctl({"status", "--check"}).exit_code, 0);
  EXPECT_THAT(lab[0].meshctl({"graph"}).output, testing::HasSubstr("digraph"));
  EXPECT_THAT(lab[0].meshctl({"plan"}).output, testing::HasSubstr("nothing to do"));
  EXPECT_EQ(lab[0].meshctl({"peer", "nobody"}).exit_code, 1);
}

TEST_F(Mesh, AHostPrefixThatLivesElsewhereWinsOverThePrefixAroundIt) {
  Lab& lab = make(dual(3));
  const IpAddress moved = *IpAddress::parse("10.2.0.77");
  lab[2].workload().add_address(moved);
  lab[2].must({"ip", "route", "add", "10.2.0.77/32", "via",
               lab[2].workload().address(Family::kIpv4).to_string()});
  lab[2].configure("node: {cidrs: [10.3.0.0/24, 'fd00:3::/64', 10.2.0.77/32]}");
  lab.start_all();
  ASSERT_TRUE(all_encrypted());
  for (const std::size_t i : {0U, 1U}) {
    Capture capture(lab);
    EXPECT_TRUE(lab[i].workload().reaches(moved)) << "from " << lab[i].name();
    EXPECT_TRUE(capture.between(lab[i].name(), "node-c").encrypted_both_ways());
  }
  EXPECT_TRUE(lab[0].workload().reaches(lab[1].workload().address(Family::kIpv4)));
}

TEST_F(Mesh, APrefixThatMovesBetweenEncryptedNodesIsNeverSeenInPlaintext) {
  Lab& lab = make(dual(3));
  const IpAddress address = *IpAddress::parse("10.9.0.1");
  for (const std::size_t i : {1U, 2U}) {
    lab[i].workload().add_address(address);
    lab[i].must({"ip", "route", "add", "10.9.0.0/24", "via",
                 lab[i].workload().address(Family::kIpv4).to_string()});
  }
  lab[0].must({"ip", "route", "add", "10.9.0.0/24", "via", "192.0.2.2"});
  lab[1].configure("node: {cidrs: [10.2.0.0/24, 'fd00:2::/64', 10.9.0.0/24]}");
  lab.start_all();
  ASSERT_TRUE(all_encrypted());
  ASSERT_TRUE(wait_until([&] { return lab[0].workload().reaches(address); }, milliseconds(5000)));
  Capture capture(lab);
  lab[2].configure("node: {cidrs: [10.3.0.0/24, 'fd00:3::/64', 10.9.0.0/24]}");
  lab[2].reload();
  EXPECT_TRUE(warns(lab[0], "node-c", "10.9.0.0/24")) << "the newcomer's claim is not reported";
  lab[1].configure("node: {cidrs: [10.2.0.0/24, 'fd00:2::/64']}");
  lab[1].reload();
  const auto moved = [&] {
    (void)lab[0].workload().reaches(address, milliseconds(100));
    return lab[0].peer("node-c")["cidrs"].dump().find("10.9.0.0/24") != std::string::npos;
  };
  EXPECT_TRUE(wait_until(moved, milliseconds(5000)));
  EXPECT_TRUE(lab[0].workload().reaches(address));
  EXPECT_EQ(capture.between("node-a", "node-b").plaintext(), 0U);
  EXPECT_EQ(capture.between("node-a", "node-c").plaintext(), 0U);
}

TEST_F(Mesh, OddNamesAndLabelsAreCarriedAsTheyAre) {
  LabSpec spec = dual(2);
  spec.nodes[0].name = "0.a-b.example-1";
  spec.nodes[1].name = "9";
  Lab& lab = make(std::move(spec));
  lab[1].configure("node: {labels: {'weird/key': \"it's: [odd] \\\"value\\\"\", empty: ''}}");
  lab.start_all();
  ASSERT_TRUE(all_encrypted());
  const auto labels = lab[0].peer("9")["labels"];
  EXPECT_EQ(labels["weird/key"], "it's: [odd] \"value\"");
  EXPECT_EQ(labels["empty"], "");
}

TEST_F(Mesh, AnAddressOutsideTheRecordKeepsThePathItHadAndIsCounted) {
  LabSpec spec = dual(2);
  spec.outside_client = true;
  Lab& lab = make(std::move(spec));
  // A VIP on node-a, and the client outside, which is routed through node-a to node-b's workload.
  lab[0].must({"ip", "addr", "add", "203.0.113.7/32", "dev", "lo"});
  lab[1].must({"ip", "route", "add", "203.0.113.7/32", "via", "192.0.2.1"});
  lab.start_all();
  ASSERT_TRUE(all_encrypted());
  const std::string target = lab[1].workload().address(Family::kIpv4).to_string();
  EXPECT_TRUE(wait_until(
      [&] {
        return lab[0].run({"ping", "-c1", "-W1", "-I", "203.0.113.7", target}).ok();
      },
      milliseconds(3000)));
  lab.outside().run({"ip", "route", "replace", target, "via", "192.0.2.1"});
  EXPECT_TRUE(lab.outside().reaches(lab[1].workload().address(Family::kIpv4)));
  const auto counted = [&] {
    return lab[0].peer("node-b")["foreignSourceBytes"].get<std::uint64_t>() > 0;
  };
  EXPECT_TRUE(wait_until(counted, milliseconds(5000)));
  EXPECT_EQ(lab[0].state_of("node-b"), "encrypted");
}

}  // namespace
}  // namespace mesh::lab
