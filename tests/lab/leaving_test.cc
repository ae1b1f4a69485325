// Leaving the mesh on purpose, coming back, and leaving nothing behind.
#include <regex>

#include "fixture.h"

namespace mesh::lab {
namespace {

using testing::HasSubstr;
using testing::Not;

class Leaving : public MeshTest {
 protected:
  std::vector<std::unique_ptr<Pinger>> ping_all(Lab& lab) {
    std::vector<std::unique_ptr<Pinger>> pingers;
    for (const Family family : families())
      pingers.push_back(std::make_unique<Pinger>(lab[0].workload(), lab[1].workload(), family));
    return pingers;
  }
  static void expect_lossless(std::vector<std::unique_ptr<Pinger>>& pingers) {
    for (auto& pinger : pingers) {
      pinger->let_pass(100);
      const PingReport report = pinger->stop();
      EXPECT_TRUE(report.lossless()) << report.to_string();
    }
  }
  // All that a node's kernel says of links, addresses, routes, rules, nftables and settings.
  static std::string kernel_of(Node& node) {
    std::string text;
    for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
             {"ip", "-o", "link"},
             {"ip", "-o", "addr"},
             {"ip", "rule"},
             {"ip", "-6", "rule"},
             {"ip", "route", "show", "table", "all"},
             {"ip", "-6", "route", "show", "table", "all"},
             {"nft", "list", "ruleset"},
             {"sh", "-c", "grep . /proc/sys/net/ipv4/conf/*/rp_filter"}})
      text += node.must(command);
    // Lifetimes, counters and states that time alone changes.
    return std::regex_replace(text, std::regex("expires [0-9]+sec|state [A-Z]+|<[A-Z_,]+>"), "");
  }
};
INSTANTIATE_MESH_TESTS(Leaving);

TEST_P(Leaving, DrainAndResumeCostNoPacket) {
  Lab& lab = make_encrypted_mesh(2);
  auto pingers = ping_all(lab);
  const Outcome drained = lab[1].meshctl({"drain"});
  ASSERT_EQ(drained.exit_code, 0) << drained.errors;
  EXPECT_THAT(drained.output, HasSubstr("left the mesh"));
  EXPECT_FALSE(lab[1].wireguard().has_value()) << "the device is gone";
  EXPECT_EQ(lab[0].state_of("node-b"), "plaintext");
  EXPECT_EQ(lab[0].reason_of("node-b"), "peer-unsupported");
  for (auto& pinger : pingers) pinger->let_pass(100);

  lab[1].restart();
  ASSERT_TRUE(lab[1].wait_for_state("node-a", "plaintext", kSoon));
  EXPECT_EQ(lab[1].status().at("drain").at("phase"), "left") << "a restart does not bring it back";
  EXPECT_FALSE(lab[1].wireguard().has_value());
  for (auto& pinger : pingers) pinger->let_pass(100);

  ASSERT_EQ(lab[1].meshctl({"resume"}).exit_code, 0);
  EXPECT_TRUE(lab[0].wait_for_state("node-b", "encrypted", kSoon));
  EXPECT_TRUE(lab[1].wait_for_state("node-a", "encrypted", kSoon));
  expect_lossless(pingers);
}

TEST_P(Leaving, CleanupRemovesAllThatMeshdMadeAndNothingElse) {
  LabSpec wanted = spec(2);
  Lab& lab = make(wanted);
  Node& node = lab[1];
  node.must({"sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1"});
  node.must({"ip", "rule", "add", "pref", "42", "lookup", "77"});
  node.must({"ip", "route", "add", "blackhole", "203.0.113.0/24", "table", "77"});
  node.must({"nft", "add", "table", "inet", "theirs"});
  const std::string before = kernel_of(node);
  lab.start_all();
  ASSERT_TRUE(node.wait_for_state("node-a", "encrypted", kSoon));
  EXPECT_NE(kernel_of(node), before);

  const std::string meshd = find_binary("meshd");
  const Outcome refused = node.run({meshd, "--config", node.config_path(), "--cleanup"});
  EXPECT_EQ(refused.exit_code, 1) << "a meshd runs";
  EXPECT_THAT(refused.errors, HasSubstr("stop it first"));

  node.kill();  // as after a crash
  const std::string store = lab.store().path();
  ASSERT_EQ(std::rename(store.c_str(), (store + ".away").c_str()), 0);
  const Outcome done = node.run({meshd, "--config", node.config_path(), "--cleanup"});
  EXPECT_EQ(done.exit_code, 0) << done.errors;
  EXPECT_THAT(done.output, HasSubstr("mesh0"));
  EXPECT_EQ(kernel_of(node), before);
  const Outcome again = node.run({meshd, "--config", node.config_path(), "--cleanup"});
  EXPECT_EQ(again.exit_code, 0) << again.errors;
  EXPECT_THAT(again.output, HasSubstr("nothing"));
  ASSERT_EQ(std::rename((store + ".away").c_str(), store.c_str()), 0);
}

}  // namespace
}  // namespace mesh::lab
