// A store that only a peer can be asked for: a node that comes back with nothing reaches it
// although that peer still encrypts to it, and drops everything else.
#include <filesystem>

#include "faults/damage.h"
#include "fixture.h"
#include "leaks/sprayer.h"

namespace mesh::lab {
namespace {

class StoreBehindPeer : public MeshTest {
 protected:
  void SetUp() override {
    MeshTest::SetUp();
    if (!IsSkipped()) need_installed({"etcd"});
  }
  void TearDown() override {
    etcd_.reset();
    MeshTest::TearDown();
  }

  // etcd on node-a, at every address of it; the others reach it by the first underlay family.
  void start_mesh(int port, const std::string& failsafe) {
    Lab& lab = make_mesh(3);
    Node& host = lab[0];
    const auto url = [&](const std::string& address) {
      return fmt::format("http://{}:{}", address, port);
    };
    const auto at = [&](Family family) {
      return fmt::format(
          "http://{}",
          Endpoint{host.address(family), static_cast<std::uint16_t>(port)}.to_string());
    };
    std::string listen = url("127.0.0.1");
    for (const Family family : list(GetParam().underlay)) listen += "," + at(family);
    etcd_.emplace(Command{.argv = {"etcd", "--data-dir", host.directory() + "/etcd",
                                   "--listen-client-urls", listen, "--advertise-client-urls",
                                   url("127.0.0.1"), "--listen-peer-urls", "http://127.0.0.1:2380"},
                          .place = host.place(),
                          .log_path = host.directory() + "/etcd.log"});
    for (auto& node : lab.nodes()) {
      const std::string endpoint =
          node.get() == &host ? url("127.0.0.1") : at(list(GetParam().underlay).front());
      node->configure(
          fmt::format("encryption: {{mode: require, hostTraffic: true{}}}\n"
                      "store: {{type: etcd, etcd: {{endpoints: ['{}']}}}}\n",
                      failsafe, endpoint));
    }
    lab.start_all();
    ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon))
        << lab.diagnosis() << read_file(host.directory() + "/etcd.log");
    for (auto& node : lab.nodes())
      for (auto& peer : lab.nodes()) {
        if (node == peer) continue;
        ASSERT_TRUE(wait_for_hosts(*node, peer->name())) << node->name() << ", " << peer->name();
      }
  }
  [[nodiscard]] static bool wait_for_hosts(Node& node, const std::string& peer) {
    return wait_until([&] { return node.peer(peer).value("hostPath", "") == "wireguard"; }, kSoon);
  }

  // As by a reboot that lost the disk: the others go on under the key that is gone.
  void come_back_with_another_key() {
    Node& node = lab()[1];
    const std::string before = node.status()["publicKey"];
    node.kill();
    forget_everything(lab(), node);
    std::filesystem::remove_all(node.directory() + "/keys");
    std::filesystem::remove(node.directory() + "/node-b.snapshot");
    for (Node* peer : {&lab()[0], &lab()[2]})
      ASSERT_EQ(peer->peer("node-b").value("hostPath", ""), "wireguard") << "they still encrypt";
    Capture capture(lab());
    std::vector<Stream> streams;
    for (const Family family : list(GetParam().underlay))
      streams.push_back({&lab()[2].network(), lab()[2].address(family), node.address(family), ""});
    const Sprayer sprayer(std::move(streams));
    node.start();
    ASSERT_TRUE(lab().wait_all_encrypted({}, kSoon)) << lab().diagnosis();
    EXPECT_NE(node.status()["publicKey"], before);
    for (Node* peer : {&lab()[0], &lab()[2]}) {
      EXPECT_TRUE(wait_for_hosts(*peer, "node-b"));
      EXPECT_TRUE(wait_for_hosts(node, peer->name()));
    }
    ASSERT_TRUE(sprayer.wait_for_rounds(20, kSoon));
    const Verdict store = capture.between("node-a", "node-b");
    EXPECT_EQ(store.plaintext(), 0U) << store.to_string();
    EXPECT_GT(store.ab.host + store.ba.host, 0U) << "the store was asked past the mesh";
    const Verdict others = capture.between("node-b", "node-c");
    EXPECT_EQ(others.plaintext() + others.ba.host, 0U) << others.to_string();
    // Before node-b listens, its kernel refuses what comes under the lost key with ICMP errors, of
    // which it sends a peer six in a row and no more, in each family.
    EXPECT_LE(others.ab.host, 12U) << others.to_string();
    expect_encrypted_traffic(lab()[0], node);
    expect_encrypted_traffic(lab()[2], node);
  }

  std::optional<Process> etcd_;
};
INSTANTIATE_MESH_TESTS(StoreBehindPeer);

TEST_P(StoreBehindPeer, APeerWithAnotherKeyReachesItByTheFailsafePort) {
  start_mesh(2379, "");
  come_back_with_another_key();
}

TEST_P(StoreBehindPeer, APeerWithAnotherKeyReachesItByItsEndpointAlone) {
  start_mesh(12379, ", failsafePorts: ['tcp:22']");
  come_back_with_another_key();
}

}  // namespace
}  // namespace mesh::lab
