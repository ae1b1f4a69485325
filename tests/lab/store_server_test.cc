// Meshes whose store is a server: as on a directory, and whatever happens to the server.
#include "fixture.h"
#include "lab/api_server_setup.h"
#include "lab/process.h"
#include "required.h"

namespace mesh::lab {
namespace {

using testing::HasSubstr;

std::uint32_t probes_of(const MeshParam& param, std::uint32_t quick_seconds) {
  // An hour-long outage is no different; the matrix takes the contract's minute.
  const bool is_quick = param.underlay == Families::kDual;
  return 200 * (is_quick ? quick_seconds : 60);
}

class OnServer : public MeshTest {
 protected:
  void SetUp() override {
    MeshTest::SetUp();
    if (IsSkipped()) return;
    need_installed({"etcd", "etcdctl"});
  }
  static LabSpec server_spec(StoreKind kind, int nodes) {
    LabSpec wanted = spec(nodes);
    wanted.store = kind;
    return wanted;
  }
  // The scenarios that hold whatever the server.
  void peers_are_as_on_a_directory(StoreKind kind);
  void a_killed_server_costs_nothing(StoreKind kind);

  static bool in_sync(const Node& node) {
    const auto status = node.try_status();
    return status && (*status)["store"].value("inSync", false);
  }
};
class OnEtcd : public OnServer {};
INSTANTIATE_MESH_TESTS(OnEtcd);

class OnKubernetes : public OnServer {
 protected:
  void SetUp() override {
    if (kube_apiserver().empty())
      SKIP_UNLESS_REQUIRED("kube-apiserver",
                           "no kube-apiserver: netns-harness/kubernetes/build-apiserver.sh builds "
                           "it, and said why it could not");
    OnServer::SetUp();
  }
};
INSTANTIATE_MESH_TESTS(OnKubernetes);

void OnServer::peers_are_as_on_a_directory(StoreKind kind) {
  LabSpec wanted = server_spec(kind, 5);
  wanted.nodes[3].backend = "none";
  Lab& lab = make(wanted);
  const Family underlay = list(GetParam().underlay).front();
  lab.store_server().write(
      "node-e",
      fmt::format(R"({{"name":"node-e","addresses":["{}"],"cidrs":["{}"]}})",
                  lab[4].address(underlay).to_string(), plan::prefix(5, family()).to_string()));
  for (int i = 0; i < 4; ++i) lab[static_cast<std::size_t>(i)].start();
  ASSERT_TRUE(lab.wait_all_encrypted({"node-a", "node-b", "node-c"}, kSoon));
  for (const char* name : {"node-a", "node-b", "node-c"}) {
    ASSERT_TRUE(lab.node(name).wait_for_state("node-d", "plaintext", kSoon));
    EXPECT_EQ(lab.node(name).reason_of("node-d"), "peer-unsupported");
    ASSERT_TRUE(lab.node(name).wait_for_state("node-e", "plaintext", kSoon));
    EXPECT_EQ(lab.node(name).reason_of("node-e"), "no-public-key");
  }
  expect_encrypted_traffic(lab[0], lab[1]);
  expect_plaintext_traffic(lab[0], lab[3]);
  EXPECT_EQ(lab[0].status()["store"]["type"], kind == StoreKind::kEtcd ? "etcd" : "kubernetes");
}

TEST_P(OnEtcd, PeersAreEncryptedOrInPlaintextAsOnADirectory) {
  peers_are_as_on_a_directory(StoreKind::kEtcd);
}
TEST_P(OnKubernetes, PeersAreEncryptedOrInPlaintextAsOnADirectory) {
  peers_are_as_on_a_directory(StoreKind::kKubernetes);
}

void OnServer::a_killed_server_costs_nothing(StoreKind kind) {
  Lab& lab = make(server_spec(kind, 4));
  for (std::size_t i = 0; i < 3; ++i) lab[i].start();
  ASSERT_TRUE(lab.wait_all_encrypted({"node-a", "node-b", "node-c"}, kSoon));
  Pinger pinger(lab[0].workload(), lab[1].workload(), family());
  pinger.let_pass(100);
  lab.store_server().kill();
  for (std::size_t i = 0; i < 3; ++i)
    EXPECT_TRUE(wait_until([&] { return !in_sync(lab[i]); }, milliseconds(10'000)));
  pinger.let_pass(probes_of(GetParam(), 10));
  for (const char* name : {"node-b", "node-c"})
    EXPECT_EQ(lab[0].state_of(name), "encrypted") << "no peer is dropped meanwhile";

  lab.store_server().start();
  lab[3].start();
  ASSERT_TRUE(wait_until([&] { return lab.store_server().has("node-d"); }, kSoon));
  EXPECT_TRUE(lab.wait_all_encrypted({}, kEncryptedWithin));
  EXPECT_TRUE(wait_until([&] { return in_sync(lab[0]); }, milliseconds(5'000)));
  pinger.let_pass(200);
  const PingReport report = pinger.stop();
  EXPECT_TRUE(report.lossless()) << report.to_string();
  // One line when it goes and one when it is back.
  const std::string log = lab[0].log();
  std::size_t lines = 0;
  for (auto at = log.find("the store is out"); at != std::string::npos;
       at = log.find("the store is out", at + 1))
    ++lines;
  EXPECT_EQ(lines, 1U);
}

TEST_P(OnEtcd, AServerThatIsKilledCostsNoPacketAndWhoJoinsAfterItIsEncryptedAtOnce) {
  a_killed_server_costs_nothing(StoreKind::kEtcd);
}
TEST_P(OnKubernetes, AServerThatIsKilledCostsNoPacketAndWhoJoinsAfterItIsEncryptedAtOnce) {
  a_killed_server_costs_nothing(StoreKind::kKubernetes);
}

TEST_P(OnEtcd, ARunningMeshMovesFromADirectoryToEtcdWithoutALostPacket) {
  Lab& lab = make(server_spec(StoreKind::kEtcd, 3));
  const std::string directory =
      fmt::format("store: {{type: directory, directory: {{path: {}}}}}", lab.store().path());
  for (auto& node : lab.nodes()) node->configure(directory);
  lab.start_all();
  ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon));
  Pinger pinger(lab[0].workload(), lab[1].workload(), family());
  pinger.let_pass(100);

  const std::string from = lab[0].directory() + "/from.yaml";
  const std::string to = lab[0].directory() + "/to.yaml";
  write_file(from, directory + "\n");
  write_file(to, lab.store_server().configuration("node-a") + "\n");
  const Outcome copied = lab[0].meshctl({"store", "copy", "--from", from, "--to", to});
  ASSERT_TRUE(copied.ok()) << copied.output << copied.errors;
  EXPECT_THAT(copied.output, HasSubstr("3 nodes"));
  for (auto& node : lab.nodes()) {
    node->configure(lab.store_server().configuration(node->name()));
    node->restart();
    ASSERT_TRUE(wait_until([&] { return in_sync(*node); }, kSoon));
    ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon));
  }
  pinger.let_pass(200);
  const PingReport report = pinger.stop();
  EXPECT_TRUE(report.lossless()) << report.to_string();
  EXPECT_EQ(lab[0].status()["store"]["type"], "etcd");
}

}  // namespace
}  // namespace mesh::lab
