// A node's life: it is started again, with and without what it knew.
#include <filesystem>
#include <stop_token>
#include <thread>

#include "fixture.h"

namespace mesh::lab {
namespace {

// An outage of the directory store: moved away, as when a file system is not mounted.
class Outage {
 public:
  explicit Outage(const RecordStore& store) : path_(store.path()) {
    std::filesystem::rename(path_, away());
  }
  ~Outage() { end(); }
  Outage(const Outage&) = delete;
  Outage& operator=(const Outage&) = delete;
  void end() {
    if (std::filesystem::exists(away())) std::filesystem::rename(away(), path_);
  }

 private:
  std::string away() const { return path_ + ".away"; }
  std::string path_;
};

// Echo requests, one after the other, until the end. The other side only answers: a host that boots
// sends nothing of its own before its meshd runs.
class Echoes {
 public:
  Echoes(const Workload& from, IpAddress to)
      : thread_([&from, to = std::move(to)](const std::stop_token& stop) {
          while (!stop.stop_requested()) (void)ping(from.network(), to, milliseconds(10));
        }) {}

 private:
  std::jthread thread_;
};

class BootWithoutStore : public MeshTest {
 protected:
  // What a reboot leaves of meshd in the kernel: nothing.
  static void forget_everything(Node& node) {
    node.kill();
    node.must({"ip", "link", "del", "mesh0"});
    (void)node.run({"nft", "delete", "table", "inet", "meshd"});
    for (const char* version : {"-4", "-6"}) {
      for (const char* table : {"5182", "5183"})
        (void)node.run({"ip", version, "route", "flush", "table", table});
      for (const char* priority : {"99", "100", "101"})
        (void)node.run({"ip", version, "rule", "del", "pref", priority});
    }
    ASSERT_EQ(node.must({"ip", "rule"}).find("5182"), std::string::npos);
    ASSERT_FALSE(node.wireguard());
  }

  static bool has_snapshot(const Node& node) {
    return std::filesystem::exists(node.directory() + "/" + node.name() + ".snapshot");
  }
};
INSTANTIATE_MESH_TESTS(BootWithoutStore);

TEST_P(BootWithoutStore, ItsEncryptedPeersAreEncryptedAgainAndNotOnePacketIsPlaintext) {
  Lab& lab = make_encrypted_mesh(2);
  Node& b = lab[1];
  ASSERT_TRUE(wait_until([&] { return has_snapshot(b); }, kSoon));
  EXPECT_EQ(b.stop(), 0) << "what is not yet written down is written now";
  b.start();
  ASSERT_TRUE(b.wait_for_state("node-a", "encrypted", kSoon));

  Outage outage(lab.store());
  Capture capture(lab);
  std::vector<std::unique_ptr<Echoes>> echoes;
  for (const Family family : families())
    echoes.push_back(std::make_unique<Echoes>(lab[0].workload(), b.workload().address(family)));
  forget_everything(b);
  b.start();
  ASSERT_TRUE(b.wait_for_state("node-a", "encrypted", kSoon)) << b.log();
  const nlohmann::json status = b.status();
  EXPECT_FALSE(status["store"]["inSync"].get<bool>());
  EXPECT_TRUE(status["store"]["snapshot"].is_string()) << status["store"];
  for (const Family family : families())
    EXPECT_TRUE(
        wait_until([&] { return lab[0].workload().reaches(b.workload().address(family)); }, kSoon));
  expect_encrypted_traffic(lab[0], b);
  echoes.clear();
  EXPECT_EQ(capture.between("node-a", "node-b").plaintext(), 0U)
      << capture.between("node-a", "node-b").to_string();

  std::vector<std::unique_ptr<Pinger>> pingers;
  for (const Family family : families())
    pingers.push_back(std::make_unique<Pinger>(lab[0].workload(), b.workload(), family));
  outage.end();
  EXPECT_TRUE(wait_until([&] { return b.status()["store"]["inSync"].get<bool>(); }, kSoon));
  for (auto& pinger : pingers) {
    pinger->let_pass(100);
    const PingReport report = pinger->stop();
    EXPECT_TRUE(report.lossless()) << report.to_string();
  }
  EXPECT_EQ(b.state_of("node-a"), "encrypted");
  EXPECT_TRUE(b.status()["store"]["snapshot"].is_null());
  EXPECT_EQ(capture.between("node-a", "node-b").plaintext(), 0U)
      << capture.between("node-a", "node-b").to_string();
}

TEST_P(BootWithoutStore, ADamagedSnapshotIsReportedAndLeftAsItIs) {
  Lab& lab = make_encrypted_mesh(2);
  Node& b = lab[1];
  ASSERT_TRUE(wait_until([&] { return has_snapshot(b); }, kSoon));
  EXPECT_EQ(b.stop(), 0);
  const std::string file = b.directory() + "/node-b.snapshot";
  std::string text = read_file(file);
  text[text.size() / 2] ^= 1;
  write_file(file, text);
  Outage outage(lab.store());
  b.start();
  ASSERT_TRUE(wait_until([&] { return b.log().find(file) != std::string::npos; }, kSoon));
  EXPECT_EQ(read_file(file), text);
  outage.end();
  ASSERT_TRUE(b.wait_for_state("node-a", "encrypted", kSoon));
  EXPECT_TRUE(wait_until([&] { return read_file(file) != text; }, kSoon));
}

}  // namespace
}  // namespace mesh::lab
