// Encryption policies over a running mesh, applied and deleted with meshctl under traffic.
#include <fstream>

#include "fixture.h"

namespace mesh::lab {
namespace {

class Policy : public MeshTest {
 protected:
  static std::string policy(const std::string& action, const std::string& selector = "all()") {
    return "apiVersion: meshd.io/v1\nkind: EncryptionPolicy\nmetadata: {name: p}\n"
           "spec: {selector: \"" +
           selector + "\", action: " + action + "}\n";
  }

  void apply(const std::string& text, int code = 0) {
    const std::string file = lab()[0].directory() + "/policy.yaml";
    std::ofstream(file) << text;
    const Outcome outcome = lab()[0].meshctl({"apply", "-f", file});
    ASSERT_EQ(outcome.exit_code, code) << outcome.errors;
  }

  // Whether both nodes come to say this of their pair.
  bool both_say(const std::string& state, const std::string& mode, const std::string& policy) {
    return wait_until(
        [&] {
          for (const auto& [node, other] : {std::pair(0, 1), std::pair(1, 0)}) {
            const auto peer = lab()[static_cast<std::size_t>(node)].peer(
                lab()[static_cast<std::size_t>(other)].name());
            if (peer.empty() || peer.at("state") != state || peer.at("mode") != mode ||
                peer.at("policy") != policy)
              return false;
          }
          return true;
        },
        kSoon);
  }
};
INSTANTIATE_MESH_TESTS(Policy);

TEST_P(Policy, ChangesPairsOnBothSidesWithoutALostPacket) {
  Lab& lab = make_encrypted_mesh(2);
  Capture capture(lab);
  Pinger pinger(lab[0].workload(), lab[1].workload(), family());
  // Between Require and Plaintext lies Prefer: whoever requires drops what the other, who has not
  // heard of it yet, sends in plaintext.
  for (const auto& [action, state, mode] :
       {std::tuple("Require", "encrypted", "require"), std::tuple("Prefer", "encrypted", "prefer"),
        std::tuple("Plaintext", "plaintext", "off"), std::tuple("Prefer", "encrypted", "prefer"),
        std::tuple("Require", "encrypted", "require")}) {
    apply(policy(action));
    ASSERT_TRUE(both_say(state, mode, "p")) << action;
    capture.reset();
    pinger.let_pass(100);
    const Verdict verdict = capture.between("node-a", "node-b");
    if (std::string(state) == "encrypted")
      EXPECT_TRUE(verdict.encrypted_both_ways()) << action << ": " << verdict.to_string();
    else
      EXPECT_GT(verdict.plaintext(), 0U) << "the capture sees what is not encrypted";
  }
  const Outcome deleted = lab[1].meshctl({"delete", "policy", "p"});
  EXPECT_EQ(deleted.exit_code, 0) << deleted.errors;
  EXPECT_TRUE(both_say("encrypted", "prefer", ""));
  pinger.let_pass(100);
  const PingReport report = pinger.stop();
  EXPECT_TRUE(report.lossless()) << report.to_string();
}

TEST_P(Policy, RequireBlocksAPlaintextPeerAndDeletingItRestoresThePath) {
  Lab& lab = make_mesh(2);
  lab[1].configure("wireguard: {backend: none}\nnode: {labels: {role: db}}");
  lab.start_all();
  ASSERT_TRUE(both_say("plaintext", "prefer", ""));
  apply(policy("Require", "role == 'db'"));
  ASSERT_TRUE(both_say("blocked", "require", "p"));
  Capture capture(lab);
  for (const Family family : families())
    EXPECT_FALSE(lab[0].workload().reaches(lab[1].workload().address(family)));
  EXPECT_EQ(capture.between("node-a", "node-b").plaintext(), 0U);
  const Outcome explained = lab[0].meshctl({"explain", "node-b"});
  EXPECT_EQ(explained.exit_code, 0) << explained.errors;
  EXPECT_THAT(explained.output, testing::HasSubstr("node-b and node-a: require, by the policy p"));
  EXPECT_EQ(lab[0].meshctl({"delete", "policy", "p"}).exit_code, 0);
  ASSERT_TRUE(both_say("plaintext", "prefer", ""));
  for (const Family family : families())
    EXPECT_TRUE(wait_until(
        [&] { return lab[0].workload().reaches(lab[1].workload().address(family)); }, kSoon));
}

TEST_P(Policy, ABadOneIsRefusedByMeshctlAndReportedWhenItIsInTheStore) {
  Lab& lab = make_encrypted_mesh(2);
  apply(policy("Require", "role = 'db'"), 1);
  EXPECT_FALSE(std::ifstream(lab.store().path() + "/policies/p.yaml").good());
  apply(policy("Require"));
  ASSERT_TRUE(both_say("encrypted", "require", "p"));
  std::ofstream(lab.store().path() + "/policies/p.yaml") << "spec: {action: Plaintext\n";
  EXPECT_TRUE(wait_until(
      [&] {
        const auto refused = lab[1].status().at("refusedPolicies");
        return refused.size() == 1 && refused[0].at("policy") == "p" &&
               refused[0].at("earlierInForce") == true;
      },
      kSoon));
  EXPECT_TRUE(both_say("encrypted", "require", "p")) << "the last good version stays";
}

}  // namespace
}  // namespace mesh::lab
