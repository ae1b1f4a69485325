// Things break under an encrypted pair, or somebody else interferes.
#include <sstream>

#include "faults/damage.h"
#include "fixture.h"
#include "lab/socket_address.h"

namespace mesh::lab {
namespace {

using testing::HasSubstr;

class Fault : public MeshTest {
 protected:
  void break_device(Lab& lab, Node& node) {
    if (GetParam().backend == "kernel") {
      node.must({"ip", "link", "del", "mesh0"});
      return;
    }
    kill_wireguard_go(lab, node);
  }
};
INSTANTIATE_MESH_TESTS(Fault);

TEST_P(Fault, ALostDeviceShowsNotOneInnerPacketBeforeItIsBack) {
  Lab& lab = make_encrypted_mesh(2);
  const std::string key = lab[1].status().value("publicKey", "");
  Capture capture(lab);
  std::vector<std::unique_ptr<Pinger>> pingers;
  for (const Family family : families())
    pingers.push_back(std::make_unique<Pinger>(lab[0].workload(), lab[1].workload(), family));
  for (auto& pinger : pingers) pinger->let_pass(50);
  break_device(lab, lab[1]);
  for (auto& pinger : pingers) pinger->let_pass(200);
  const IpAddress target = lab[1].workload().address(family());
  EXPECT_TRUE(wait_until([&] { return lab[0].workload().reaches(target); }, kSoon * 2))
      << "the device does not come back";
  for (auto& pinger : pingers) (void)pinger->stop();
  const Verdict verdict = capture.between("node-a", "node-b");
  EXPECT_EQ(verdict.plaintext(), 0U) << verdict.to_string();
  EXPECT_EQ(lab[1].status().value("publicKey", ""), key) << "a recreated device has the same key";
}

TEST_P(Fault, ALostDeviceWhileMeshdIsStoppedShowsNotOneInnerPacketEither) {
  Lab& lab = make_encrypted_mesh(2);
  Capture capture(lab);
  Pinger pinger(lab[0].workload(), lab[1].workload(), family());
  pinger.let_pass(20);
  lab[1].kill();
  break_device(lab, lab[1]);
  pinger.let_pass(200);
  const Verdict down = capture.between("node-a", "node-b");
  EXPECT_EQ(down.plaintext(), 0U) << down.to_string();
  lab[1].start();
  const IpAddress target = lab[1].workload().address(family());
  EXPECT_TRUE(wait_until([&] { return lab[0].workload().reaches(target); }, kSoon * 2));
  (void)pinger.stop();
  const Verdict verdict = capture.between("node-a", "node-b");
  EXPECT_EQ(verdict.plaintext(), 0U) << verdict.to_string();
}

TEST_P(Fault, APublishedKeyThatSomebodyOverwroteIsPutBackAndNothingIsLost) {
  Lab& lab = make_encrypted_mesh(2);
  constexpr const char* kKey = "meshd.io/wireguard-public-key";
  const std::string key = lab.store().annotation("node-b", kKey);
  Pinger pinger(lab[0].workload(), lab[1].workload(), family());
  lab.store().set_annotation("node-b", kKey, "");
  EXPECT_TRUE(wait_until([&] { return lab.store().annotation("node-b", kKey) == key; },
                         milliseconds(2000)));
  std::string other = run_or_throw({.argv = {"wg", "genkey"}});
  other = run_or_throw({.argv = {"wg", "pubkey"}, .input = other});
  other.pop_back();
  lab.store().set_annotation("node-b", kKey, other);
  EXPECT_TRUE(wait_until([&] { return lab.store().annotation("node-b", kKey) == key; },
                         milliseconds(2000)));
  pinger.let_pass(50);
  EXPECT_TRUE(lab[0].wait_for_state("node-b", "encrypted", kSoon));
  const PingReport report = pinger.stop();
  EXPECT_TRUE(report.lossless()) << report.to_string();
}

TEST_P(Fault, ForeignRoutesRulesTablesAndDevicesAreUntouched) {
  Lab& lab = make_mesh(2);
  Node& node = lab[0];
  node.network().ip(
      "link add foreign0 type bridge\nlink set foreign0 up\n"
      "addr add 198.51.100.1/24 dev foreign0\n"
      "route add 198.51.101.0/24 dev foreign0 table 77\n"
      "route add unreachable 10.2.0.128/25 table 5190\n"
      "rule add pref 90 to 198.51.101.0/24 lookup 77\n"
      "rule add pref 98 fwmark 0x1/0x1 lookup 77\n");
  (void)run_or_throw({.argv = {"nft", "-f", "-"},
                      .place = node.place(),
                      .input =
                          "table inet foreign { set s { type ipv4_addr; elements = { 1.2.3.4 } "
                          "}\n chain c { type filter hook forward priority 10; ip daddr @s "
                          "counter drop; }\n }\n"});
  const auto foreign = [&] {
    return node.must({"ip", "rule", "show", "pref", "90"}) +
           node.must({"ip", "rule", "show", "pref", "98"}) +
           node.must({"ip", "route", "show", "table", "77"}) +
           node.must({"ip", "route", "show", "table", "5190"}) +
           node.must({"ip", "route", "show", "table", "main"}) +
           node.must({"ip", "-6", "route", "show", "table", "main"}) +
           node.must({"ip", "-o", "addr", "show", "dev", "foreign0"}) +
           node.must({"ip", "-o", "addr", "show", "dev", "eth0"}) +
           node.must({"nft", "list", "table", "inet", "foreign"});
  };
  const auto without_mesh_device = [](const std::string& text) {
    std::string kept;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);)
      if (line.find("mesh0") == std::string::npos) kept += line + "\n";
    return kept;
  };
  const std::string before = foreign();
  lab.start_all();
  ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon));
  EXPECT_EQ(without_mesh_device(foreign()), before);
  break_device(lab, node);
  ASSERT_TRUE(wait_until(
      [&] { return lab[1].workload().reaches(node.workload().address(family())); }, kSoon * 2));
  EXPECT_EQ(without_mesh_device(foreign()), before);
  EXPECT_EQ(node.stop(), 0);
  EXPECT_EQ(without_mesh_device(foreign()), before);
}

TEST_P(Fault, AFlushedRulesetAndADeletedRuleAreRepaired) {
  Lab& lab = make_encrypted_mesh(2);
  Capture capture(lab);
  lab[0].must({"nft", "flush", "ruleset"});
  EXPECT_TRUE(wait_until(
      [&] {
        return lab[0].run({"nft", "list", "table", "inet", "meshd"}).ok();
      },
      kSoon));
  lab[0].must({"ip", family() == Family::kIpv4 ? "-4" : "-6", "rule", "del", "pref", "99"});
  EXPECT_TRUE(wait_until(
      [&] {
        return lab[0]
                   .must({"ip", family() == Family::kIpv4 ? "-4" : "-6", "rule", "show", "pref",
                          "99"})
                   .find("5182") != std::string::npos;
      },
      kSoon));
  expect_encrypted_traffic(lab[0], lab[1]);
  EXPECT_GE(lab[0].status().value("repairs", 0), 2);
}

// --- errors that must say what to do ---

class Refusal : public MeshTest {
 protected:
  // Waits until meshd's log names the problem, or it has ended.
  static std::string complaint(Node& node, const std::string& word) {
    (void)wait_until([&] { return node.log().find(word) != std::string::npos || !node.running(); },
                     kSoon);
    return node.log();
  }
};
INSTANTIATE_MESH_TESTS(Refusal);

TEST_P(Refusal, WithoutNetAdminItSaysWhichCapabilityIsMissing) {
  Lab& lab = make_mesh(1);
  lab[0].start(true);
  EXPECT_THAT(complaint(lab[0], "CAP_NET_ADMIN"), HasSubstr("CAP_NET_ADMIN"));
}

TEST_P(Refusal, ANameThatAnotherKindOfLinkHasIsNamed) {
  Lab& lab = make_mesh(1);
  lab[0].network().ip("link add mesh0 type bridge\n");
  lab[0].start();
  const std::string log = complaint(lab[0], "bridge");
  EXPECT_THAT(log, HasSubstr("mesh0"));
  EXPECT_THAT(log, HasSubstr("bridge"));
  EXPECT_THAT(log, HasSubstr("wireguard.interface"));
  EXPECT_THAT(lab[0].must({"ip", "-d", "link", "show", "mesh0"}), HasSubstr("bridge"));
}

TEST_P(Refusal, APortInUseIsNamed) {
  Lab& lab = make_mesh(1);
  const UniqueFd taken = lab[0].network().socket(AF_INET6, SOCK_DGRAM, 0);
  const SocketAddress port(*IpAddress::parse("::"), 51820);
  ASSERT_EQ(::bind(taken.get(), port.raw(), port.size()), 0);
  lab[0].start();
  const std::string log = complaint(lab[0], "51820");
  EXPECT_THAT(log, HasSubstr("51820"));
  EXPECT_THAT(log, HasSubstr("wireguard.listenPort"));
}

TEST_P(Refusal, WhereIpv6IsTurnedOffOnTheHostIpv4IsEncryptedAllTheSame) {
  Lab& lab = make_mesh(2);
  lab[1].must({"bash", "-c",
               "for c in all default; do echo 1 >/proc/sys/net/ipv6/conf/$c/disable_ipv6; done"});
  lab.start_all();
  ASSERT_TRUE(lab[1].wait_for_state("node-a", "encrypted", kSoon));
  Pinger pinger(lab[1].workload(), lab[0].workload(), Family::kIpv4);
  pinger.let_pass(100);
  EXPECT_TRUE(pinger.stop().lossless());
  EXPECT_THAT(lab[1].meshctl({"plan"}).output, HasSubstr("nothing"));
  EXPECT_EQ(lab[1].status().at("error"), "");
}

TEST_P(Refusal, WithoutAUserspaceProgramTheNodeSaysSoAndRunsWithoutWireguard) {
  if (GetParam().backend != "userspace") GTEST_SKIP() << "the kernel needs no program";
  Lab& lab = make_mesh(2);
  lab[0].configure("wireguard: {backend: auto, userspaceCommand: no-such-wireguard}");
  lab.start_all();
  ASSERT_TRUE(lab[0].wait_for_state("node-b", "plaintext", kSoon));
  EXPECT_EQ(lab[0].reason_of("node-b"), "local-unsupported");
  EXPECT_THAT(lab[0].status().dump(), HasSubstr("no-such-wireguard"));
  ASSERT_TRUE(lab[1].wait_for_state("node-a", "plaintext", kSoon));
  expect_plaintext_traffic(lab[0], lab[1]);
}

}  // namespace
}  // namespace mesh::lab
