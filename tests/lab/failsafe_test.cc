// With require and host traffic on everything, a mistake never cuts SSH or the store: a real sshd
// and a real etcd on a node that nobody may talk to.
#include <filesystem>

#include "fixture.h"

namespace mesh::lab {
namespace {

class Failsafe : public MeshTest {
 protected:
  void SetUp() override {
    MeshTest::SetUp();
    if (IsSkipped()) return;
    need_installed({"/usr/sbin/sshd", "ssh", "ssh-keygen", "etcd", "etcdctl"});
    if (IsSkipped() || HasFatalFailure()) return;
    Lab& lab = make_mesh(2);
    for (auto& node : lab.nodes())
      node->configure("encryption: {mode: require, hostTraffic: true}");
    start_sshd(lab[1]);
    start_etcd(lab[1]);
  }
  void TearDown() override {
    services_.clear();
    MeshTest::TearDown();
  }

  void start_sshd(Node& node) {
    const std::string folder = node.directory();
    for (const char* key : {"host", "client"})
      (void)run_or_throw({.argv = {"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                                   fmt::format("{}/{}", folder, key)}});
    node.must({"mkdir", "-p", "/run/sshd"});
    services_.emplace_back(
        Command{.argv = {find_program("/usr/sbin/sshd"), "-D", "-e", "-f", "/dev/null", "-h",
                         folder + "/host", "-o", "AuthorizedKeysFile=" + folder + "/client.pub",
                         "-o", "StrictModes=no", "-o", "UsePAM=no", "-o", "PidFile=none"},
                .place = node.place(),
                .log_path = folder + "/sshd.log"});
  }
  void start_etcd(Node& node) {
    std::string listen = "http://127.0.0.1:2379";
    for (const Family family : list(GetParam().underlay)) listen += "," + url(node, family);
    services_.emplace_back(
        Command{.argv = {"etcd", "--data-dir", node.directory() + "/etcd", "--listen-client-urls",
                         listen, "--advertise-client-urls", "http://127.0.0.1:2379",
                         "--listen-peer-urls", "http://127.0.0.1:2380"},
                .place = node.place(),
                .log_path = node.directory() + "/etcd.log"});
  }
  static std::string url(const Node& node, Family family) {
    return "http://" + Endpoint{node.address(family), 2379}.to_string();
  }

  // From node-a.
  bool ssh_works(Family family) {
    const Outcome outcome = lab()[0].run(
        {"ssh", "-i", lab()[1].directory() + "/client", "-o", "BatchMode=yes", "-o",
         "ConnectTimeout=5", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
         "root@" + lab()[1].address(family).to_string(), "echo", "reached"});
    if (!outcome.ok()) said_ = outcome.errors;
    return outcome.ok() && outcome.output == "reached\n";
  }
  bool store_works(Family family) {
    const Outcome outcome =
        run({.argv = {"etcdctl", "--endpoints", url(lab()[1], family), "put", "key", "value"},
             .place = lab()[0].place(),
             .environment = {{"ETCDCTL_API", "3"}}});
    if (!outcome.ok()) said_ = outcome.errors;
    return outcome.ok();
  }
  void expect_both_reached() {
    for (const Family family : list(GetParam().underlay)) {
      EXPECT_TRUE(wait_until([&] { return ssh_works(family); }, kSoon)) << said_;
      EXPECT_TRUE(wait_until([&] { return store_works(family); }, kSoon)) << said_;
    }
  }
  bool wait_for_host_path(const std::string& path) {
    return wait_until(
        [&] {
          return lab()[0].peer("node-b").value("hostPath", "") == path &&
                 lab()[1].peer("node-a").value("hostPath", "") == path;
        },
        kSoon);
  }

  std::vector<Process> services_;
  std::string said_;
};
INSTANTIATE_MESH_TESTS(Failsafe);

TEST_P(Failsafe, SshAndTheStoreAreReachedThoughEverythingElseIsBlocked) {
  lab()[1].configure("wireguard: {backend: none}");
  lab().start_all();
  ASSERT_TRUE(wait_for_host_path("drop"));
  expect_both_reached();
  EXPECT_FALSE(lab()[0].workload().reaches(lab()[1].workload().address(family())));
}

TEST_P(Failsafe, TheyTakeTheUnderlayAlsoWhereTheHostsAreEncryptedAndWorkloadsOnThosePortsDoNot) {
  lab().start_all();
  ASSERT_TRUE(wait_for_host_path("wireguard"));
  Capture capture(lab());
  expect_both_reached();
  const Verdict verdict = capture.between("node-a", "node-b");
  EXPECT_GT(verdict.ab.host, 0U) << verdict.to_string();
  EXPECT_EQ(verdict.ab.plaintext + verdict.ba.plaintext, 0U) << verdict.to_string();
  // The daemon of the peer dies, its keys and its device with it.
  lab()[1].kill();
  lab()[1].must({"ip", "link", "del", "mesh0"});
  expect_both_reached();
  // From a workload the port is a workload's: into the mesh, or nowhere.
  capture.reset();
  (void)lab()[0].workload().run(
      {"bash", "-c",
       "timeout 2 bash -c '</dev/tcp/" +
           lab()[1].address(list(GetParam().underlay).front()).to_string() + "/22' 2>/dev/null"});
  const Verdict workload = capture.between("node-a", "node-b");
  EXPECT_EQ(workload.plaintext(), 0U) << workload.to_string();
}

TEST_P(Failsafe, EveryExemptionIsShown) {
  lab()[0].configure("encryption: {failsafePorts: ['tcp:22', 'udp:5000-5001']}");
  lab()[0].start();
  ASSERT_TRUE(wait_until([&] { return lab()[0].try_status().has_value(); }, kSoon));
  const auto exemptions = lab()[0].status()["hostTraffic"]["exemptions"].dump();
  for (const char* word : {"tcp:22", "udp:5000-5001", "udp:51820 (WireGuard)", "echo", "neighbour"})
    EXPECT_THAT(exemptions, testing::HasSubstr(word));
  EXPECT_THAT(lab()[0].meshctl({"status", "-o", "wide"}).output,
              testing::HasSubstr("always on the underlay: tcp:22, udp:5000-5001"));
}

}  // namespace
}  // namespace mesh::lab
