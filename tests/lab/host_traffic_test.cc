// What nodes themselves say to each other: encrypted where both cover it, and nobody is locked out.
#include <fmt/ranges.h>

#include "faults/damage.h"
#include "fixture.h"

namespace mesh::lab {
namespace {

class HostTraffic : public MeshTest {
 protected:
  static void cover(Node& node) { node.configure("encryption: {hostTraffic: true}"); }
  [[nodiscard]] static bool wait_for_host_path(Node& node, const std::string& peer,
                                               const std::string& path) {
    return wait_until([&] { return node.peer(peer).value("hostPath", "") == path; }, kSoon);
  }
  // Probes between the nodes' own addresses, in every family of the underlay.
  [[nodiscard]] PingReport probe_hosts(Node& a, Node& b, Family family, unsigned probes = 40) {
    Pinger pinger(a.network(), a.address(family), b.network(), b.address(family));
    pinger.let_pass(probes);
    return pinger.stop();
  }
  [[nodiscard]] static std::vector<Family> underlay() { return list(GetParam().underlay); }
};
INSTANTIATE_MESH_TESTS(HostTraffic);

TEST_P(HostTraffic, OfAPairThatBothCoverItIsEncryptedAndOfOthersItIsNot) {
  Lab& lab = make_mesh(3);
  cover(lab[0]);
  cover(lab[1]);
  lab.start_all();
  ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon));
  ASSERT_TRUE(wait_for_host_path(lab[0], "node-b", "wireguard"));
  ASSERT_TRUE(wait_for_host_path(lab[1], "node-a", "wireguard"));
  EXPECT_EQ(lab[0].peer("node-c").value("hostPath", ""), "plaintext");
  for (const Family family : underlay()) {
    Capture capture(lab);
    const PingReport report = probe_hosts(lab[0], lab[1], family);
    EXPECT_TRUE(report.lossless()) << report.to_string();
    const Verdict covered = capture.between("node-a", "node-b");
    EXPECT_EQ(covered.ab.host + covered.ba.host, 0U) << covered.to_string();
    EXPECT_GE(covered.ab.wireguard, report.there.sent) << covered.to_string();
    const PingReport other = probe_hosts(lab[0], lab[2], family);
    EXPECT_TRUE(other.lossless()) << other.to_string();
    const Verdict clear = capture.between("node-a", "node-c");
    EXPECT_GE(clear.ab.host, other.there.sent) << clear.to_string();
  }
  expect_encrypted_traffic(lab[0], lab[1]);
}

TEST_P(HostTraffic, TheSwitchCostsNoPacketEitherWay) {
  Lab& lab = make_encrypted_mesh(2);
  Pinger pinger(lab[0].network(), lab[0].address(underlay().front()), lab[1].network(),
                lab[1].address(underlay().front()));
  for (const char* covered : {"true", "false"}) {
    for (Node* node : {&lab[0], &lab[1]}) {
      node->configure(fmt::format("encryption: {{hostTraffic: {}}}", covered));
      ASSERT_TRUE(node->meshctl({"reload"}).ok());
    }
    const std::string path = covered == std::string("true") ? "wireguard" : "plaintext";
    ASSERT_TRUE(wait_for_host_path(lab[0], "node-b", path));
    ASSERT_TRUE(wait_for_host_path(lab[1], "node-a", path));
    pinger.let_pass(60);
  }
  const PingReport report = pinger.stop();
  EXPECT_TRUE(report.lossless()) << report.to_string();
}

TEST_P(HostTraffic, UnderRequireNothingBetweenTheHostsLeavesBeforeTheProof) {
  Lab& lab = make_mesh(2);
  for (auto& node : lab.nodes()) node->configure("encryption: {mode: require, hostTraffic: true}");
  lab[0].start();
  lab[1].configure("wireguard: {backend: none}");
  lab[1].start();
  ASSERT_TRUE(wait_for_host_path(lab[0], "node-b", "drop"));
  ASSERT_TRUE(wait_for_host_path(lab[1], "node-a", "drop"));
  Capture capture(lab);
  for (const Family family : underlay())
    EXPECT_THROW((void)probe_hosts(lab[0], lab[1], family), LabError);
  const Verdict verdict = capture.between("node-a", "node-b");
  EXPECT_EQ(verdict.ab.host + verdict.ba.host, 0U)
      << fmt::format("{}", fmt::join(capture.host_seen("node-a", "node-b"), "; "));
  EXPECT_TRUE(
      wait_until([&] { return lab[0].peer("node-b").value("droppedBytes", 0U) > 0; }, kSoon));
}

TEST_P(HostTraffic, ARebootedPeerWithAnotherKeyComesBack) {
  Lab& lab = make_mesh(2);
  for (auto& node : lab.nodes()) node->configure("encryption: {mode: require, hostTraffic: true}");
  lab.start_all();
  ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon));
  lab[1].kill();
  forget_everything(lab, lab[1]);
  lab[1].must({"rm", "-r", lab[1].directory() + "/keys"});
  lab[1].start();
  ASSERT_TRUE(wait_for_host_path(lab[1], "node-a", "wireguard"));
  ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon)) << lab.diagnosis();
  const PingReport report = probe_hosts(lab[0], lab[1], underlay().front());
  EXPECT_TRUE(report.lossless()) << report.to_string();
}

}  // namespace
}  // namespace mesh::lab
