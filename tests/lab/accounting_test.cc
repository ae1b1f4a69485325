// What went unencrypted is counted over restarts and shown live; and a peer that withdraws is
// blocked where that is not allowed.
#include "fixture.h"

namespace mesh::lab {
namespace {

using testing::HasSubstr;

class Accounts : public MeshTest {
 protected:
  static std::uint64_t count(const Node& node, const std::string& peer, const char* field) {
    return node.peer(peer).value(field, std::uint64_t{0});
  }
};
INSTANTIATE_MESH_TESTS(Accounts);

TEST_P(Accounts, CountsSurviveAStopAndAKillAndLeaksSaysWhoSendsNow) {
  LabSpec wanted = spec(2);
  wanted.nodes[1].backend = "none";
  Lab& lab = make(wanted);
  lab.start_all();
  ASSERT_TRUE(lab[0].wait_for_state("node-b", "plaintext", kSoon));
  EXPECT_EQ(lab[0].meshctl({"leaks", "--check", "--interval", "0.3"}).exit_code, 0)
      << "nobody sends";
  std::uint64_t sent = 0;
  const auto send = [&] {
    Pinger pinger(lab[0].workload(), lab[1].workload(), family());
    pinger.let_pass(50);
    sent += pinger.stop().there.received;
  };
  const auto counted = [&] { return count(lab[0], "node-b", "plaintextTxPackets"); };
  send();
  lab[0].restart();
  ASSERT_TRUE(lab[0].wait_for_state("node-b", "plaintext", kSoon));
  EXPECT_TRUE(wait_until([&] { return counted() >= sent; }, kSoon)) << counted() << " of " << sent;
  const std::uint64_t before = counted();
  lab[0].kill();
  send();  // nobody looks, the kernel counts
  lab[0].start();
  ASSERT_TRUE(lab[0].wait_for_state("node-b", "plaintext", kSoon));
  EXPECT_TRUE(wait_until([&] { return counted() >= sent; }, kSoon)) << counted() << " of " << sent;
  EXPECT_LT(counted(), before + 100) << "nothing twice";

  Pinger pinger(lab[0].workload(), lab[1].workload(), family());
  pinger.let_pass(5);
  // meshd reads its counters once a second: shorter than that, all the same.
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(lab[0].meshctl({"leaks", "--check", "--interval", "0.2"}).exit_code, 3);
  const Outcome leaks = lab[0].meshctl({"leaks", "--interval", "0.2"});
  EXPECT_THAT(leaks.output, HasSubstr("node-b"));
  EXPECT_THAT(leaks.output, HasSubstr("it has no WireGuard"));
  (void)pinger.stop();
}

TEST_P(Accounts, APeerThatDrainsIsBlockedWhereItMayNotWithdrawUntilAnOperatorAllowsIt) {
  Lab& lab = make_mesh(2);
  lab[0].configure("encryption: {allowWithdrawal: false}");
  lab.start_all();
  ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon));
  Pinger pinger(lab[0].workload(), lab[1].workload(), family());
  Capture capture(lab);
  ASSERT_EQ(lab[1].meshctl({"drain", "--no-wait"}).exit_code, 0);
  ASSERT_TRUE(lab[0].wait_for_state("node-b", "blocked", kSoon));
  EXPECT_EQ(lab[0].peer("node-b")["downgrade"]["cause"], "peer-unsupported")
      << "it says that it is drained";
  EXPECT_THAT(lab[0].log(), HasSubstr("was encrypted and is so no more"));
  lab[0].kill();
  lab[0].start();
  ASSERT_TRUE(lab[0].wait_for_state("node-b", "blocked", kSoon)) << "also after a restart";
  pinger.let_pass(100);
  EXPECT_EQ(capture.between("node-a", "node-b").ab.plaintext, 0U)
      << capture.between("node-a", "node-b").to_string();
  EXPECT_EQ(lab[0].meshctl({"allow-plaintext", "node-x"}).exit_code, 1);
  EXPECT_EQ(lab[0].meshctl({"allow-plaintext", "node-b"}).exit_code, 0);
  EXPECT_TRUE(lab[0].wait_for_state("node-b", "plaintext", kSoon));
  EXPECT_TRUE(lab[0].workload().reaches(lab[1].workload().address(family())));
  EXPECT_GT(capture.between("node-a", "node-b").ab.plaintext, 0U) << "the capture would have seen";
  (void)pinger.stop();
}

}  // namespace
}  // namespace mesh::lab
