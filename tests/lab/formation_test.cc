// A mesh comes together: who is encrypted, who is not, and what crosses the underlay.
#include "fixture.h"

namespace mesh::lab {
namespace {

using testing::HasSubstr;

class Formation : public MeshTest {};
INSTANTIATE_MESH_TESTS(Formation);

TEST_P(Formation, NodesFindEachOtherWithoutTrafficWhoeverStartsFirst) {
  Lab& lab = make_mesh(4);
  lab.node("node-c").start();
  ASSERT_TRUE(wait_until([&] { return lab.store().has("node-c"); }, kSoon));
  lab.node("node-a").start();
  lab.node("node-d").start();
  ASSERT_TRUE(lab.node("node-c").wait_for_state("node-a", "encrypted", kSoon));
  lab.node("node-b").start();
  ASSERT_TRUE(wait_until([&] { return lab.store().has("node-b"); }, kSoon));
  EXPECT_TRUE(lab.wait_all_encrypted({}, kEncryptedWithin));
}

TEST_P(Formation, AllStartingAtOnceFindEachOtherWithoutTraffic) {
  Lab& lab = make_mesh(4);
  lab.start_all();
  ASSERT_TRUE(wait_until([&] { return lab.store().nodes().size() == 4; }, kSoon));
  EXPECT_TRUE(lab.wait_all_encrypted({}, kEncryptedWithin));
}

TEST_P(Formation, EncryptedPairsSendNothingButWireguardAndTheWorkloadSeesTheSendersAddress) {
  Lab& lab = make_encrypted_mesh(2);
  expect_encrypted_traffic(lab[0], lab[1]);
}

TEST_P(Formation, WithTheModeOffTheSameCaptureSeesTheInnerPackets) {
  Lab& lab = make_mesh(2);
  for (auto& node : lab.nodes()) node->configure("encryption: {mode: 'off'}");
  lab.start_all();
  for (auto [node, peer] : {std::pair(&lab[0], &lab[1]), std::pair(&lab[1], &lab[0])}) {
    ASSERT_TRUE(node->wait_for_state(peer->name(), "plaintext", kSoon));
    EXPECT_EQ(node->reason_of(peer->name()), "policy");
  }
  expect_plaintext_traffic(lab[0], lab[1]);
}

TEST_P(Formation, ANodeWithoutWireguardIsReachedInPlaintextAndBothSidesSayWhy) {
  LabSpec wanted = spec(3);
  wanted.nodes[2].backend = "none";
  Lab& lab = make(wanted);
  lab.start_all();
  ASSERT_TRUE(lab.wait_all_encrypted({"node-a", "node-b"}, kSoon));
  for (const char* name : {"node-a", "node-b"}) {
    ASSERT_TRUE(lab.node(name).wait_for_state("node-c", "plaintext", kSoon));
    EXPECT_EQ(lab.node(name).reason_of("node-c"), "peer-unsupported");
    ASSERT_TRUE(lab.node("node-c").wait_for_state(name, "plaintext", kSoon));
    EXPECT_EQ(lab.node("node-c").reason_of(name), "local-unsupported");
  }
  EXPECT_THAT(lab.store().annotation("node-c", "meshd.io/wireguard-support"), HasSubstr("none"));
  expect_plaintext_traffic(lab[0], lab[2]);
  expect_encrypted_traffic(lab[0], lab[1]);
}

TEST_P(Formation, ARecordWrittenByHandWithoutAnnotationsIsAPlaintextPeer) {
  Lab& lab = make_mesh(3);
  const Family underlay = list(GetParam().underlay).front();
  lab.store().write("node-c", hand_written("node-c", lab[2].address(underlay).to_string(),
                                           plan::prefix(3, family()).to_string()));
  lab.node("node-a").start();
  lab.node("node-b").start();
  ASSERT_TRUE(lab.wait_all_encrypted({"node-a", "node-b"}, kSoon));
  ASSERT_TRUE(lab[0].wait_for_state("node-c", "plaintext", kSoon));
  EXPECT_EQ(lab[0].reason_of("node-c"), "no-public-key");
  expect_plaintext_traffic(lab[0], lab[2]);
}

TEST_P(Formation, BytesInPlaintextAreCountedAndShown) {
  LabSpec wanted = spec(2);
  wanted.nodes[1].backend = "none";
  Lab& lab = make(wanted);
  lab.start_all();
  ASSERT_TRUE(lab[0].wait_for_state("node-b", "plaintext", kSoon));
  Pinger pinger(lab[0].workload(), lab[1].workload(), family());
  pinger.let_pass(50);
  const PingReport report = pinger.stop();
  const auto counted = [&](const char* field) {
    return lab[0].peer("node-b").value(field, std::uint64_t{0});
  };
  const std::uint64_t least = report.there.received * 64ULL;
  EXPECT_TRUE(wait_until([&] { return counted("plaintextTxBytes") >= least; }, kSoon));
  EXPECT_TRUE(wait_until([&] { return counted("plaintextRxBytes") >= least; }, kSoon));
}

}  // namespace
}  // namespace mesh::lab
