// Pairs change between plaintext and WireGuard under traffic, whichever side notices first.
#include "fixture.h"

namespace mesh::lab {
namespace {

// Which node's store is late.
enum class Late { kNobody, kFirst, kSecond };

class Transition : public MeshTest {
 protected:
  // Two nodes with a store each.
  Lab& make_pair(Late late) {
    LabSpec wanted = spec(2);
    wanted.separate_stores = true;
    Lab& lab = make(wanted);
    if (late != Late::kNobody)
      lab.relay().delay(late == Late::kFirst ? "node-a" : "node-b", milliseconds(2000));
    return lab;
  }

  static bool both(Lab& lab, const std::string& state) {
    return lab[0].wait_for_state("node-b", state, kSoon) &&
           lab[1].wait_for_state("node-a", state, kSoon);
  }

  // node-b joins with WireGuard, leaves it, and joins again, all under traffic.
  void join_leave_and_join_again(Late late) {
    Lab& lab = make_pair(late);
    lab[1].configure("wireguard: {backend: none}");
    lab.start_all();
    ASSERT_TRUE(both(lab, "plaintext"));

    std::vector<std::unique_ptr<Pinger>> pingers;
    for (const Family family : families())
      pingers.push_back(std::make_unique<Pinger>(lab[0].workload(), lab[1].workload(), family));
    lab[1].configure("wireguard: {backend: " + GetParam().backend + "}");
    lab[1].restart();
    EXPECT_TRUE(both(lab, "encrypted"));
    for (auto& pinger : pingers) pinger->let_pass(100);

    lab[1].configure("encryption: {mode: 'off'}");
    lab[1].reload();
    EXPECT_TRUE(both(lab, "plaintext"));
    for (auto& pinger : pingers) pinger->let_pass(100);

    lab[1].configure("encryption: {mode: prefer}");
    lab[1].reload();
    EXPECT_TRUE(both(lab, "encrypted"));
    for (auto& pinger : pingers) {
      pinger->let_pass(100);
      const PingReport report = pinger->stop();
      EXPECT_TRUE(report.lossless()) << report.to_string();
    }
  }
};
INSTANTIATE_MESH_TESTS(Transition);

TEST_P(Transition, JoiningAndLeavingCostsNoPacket) { join_leave_and_join_again(Late::kNobody); }

TEST_P(Transition, JoiningAndLeavingCostsNoPacketWhenTheOtherSideLearnsLate) {
  join_leave_and_join_again(Late::kFirst);
}

TEST_P(Transition, JoiningAndLeavingCostsNoPacketWhenTheNodeItselfLearnsLate) {
  join_leave_and_join_again(Late::kSecond);
}

TEST_P(Transition, RestartingMeshdCostsNoPacketAndShowsNone) {
  Lab& lab = make_encrypted_mesh(2);
  Capture capture(lab);
  Pinger pinger(lab[0].workload(), lab[1].workload(), family());
  lab[1].restart();
  ASSERT_TRUE(lab[1].wait_for_state("node-a", "encrypted", kSoon));
  pinger.let_pass(50);
  lab[1].kill();
  pinger.let_pass(50);
  lab[1].start();
  ASSERT_TRUE(lab[1].wait_for_state("node-a", "encrypted", kSoon));
  pinger.let_pass(50);
  const PingReport report = pinger.stop();
  EXPECT_TRUE(report.lossless()) << report.to_string();
  const Verdict verdict = capture.between("node-a", "node-b");
  EXPECT_TRUE(verdict.encrypted_both_ways()) << verdict.to_string();
}

TEST_P(Transition, AStoreThatIsAwayChangesNothing) {
  Lab& lab = make_encrypted_mesh(2);
  const std::string path = lab.store().path();
  Pinger pinger(lab[0].workload(), lab[1].workload(), family());
  ASSERT_EQ(std::rename(path.c_str(), (path + ".away").c_str()), 0);
  EXPECT_TRUE(wait_until(
      [&] {
        const auto status = lab[0].try_status();
        return status && !status->at("store").at("inSync").get<bool>();
      },
      kSoon));
  pinger.let_pass(100);
  ASSERT_EQ(std::rename((path + ".away").c_str(), path.c_str()), 0);
  EXPECT_TRUE(
      wait_until([&] { return lab[0].status().at("store").at("inSync").get<bool>(); }, kSoon));
  const PingReport report = pinger.stop();
  EXPECT_TRUE(report.lossless()) << report.to_string();
  EXPECT_EQ(lab[0].state_of("node-b"), "encrypted");
}

}  // namespace
}  // namespace mesh::lab
