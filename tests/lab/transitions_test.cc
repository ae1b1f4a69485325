// Changes under traffic: 200 probes a second each way, every one counted.
#include "lab/scenario.h"

namespace mesh::lab {
namespace {

struct Delay {
  std::string name;
  std::size_t late;  // which node hears two seconds later; 2: none
};

class Transitions : public MeshTest, public testing::WithParamInterface<Delay> {
 protected:
  Lab& make_pair_with_relay() {
    LabSpec spec = dual(2);
    spec.separate_stores = true;
    Lab& lab = make(std::move(spec));
    if (GetParam().late < 2) lab.relay().delay(lab[GetParam().late].name(), milliseconds(2000));
    return lab;
  }
  // Both families at once, while `change` happens and until `done`.
  void expect_lossless(Lab& lab, const std::function<void()>& change,
                       const std::function<bool()>& done) {
    Pinger ipv4(lab[0].workload(), lab[1].workload(), Family::kIpv4);
    Pinger ipv6(lab[0].workload(), lab[1].workload(), Family::kIpv6);
    change();
    EXPECT_TRUE(wait_until(done, milliseconds(15'000)));
    ipv4.let_pass(100);
    const PingReport report4 = ipv4.stop();
    const PingReport report6 = ipv6.stop();
    EXPECT_TRUE(report4.lossless()) << report4.to_string();
    EXPECT_TRUE(report6.lossless()) << report6.to_string();
  }
};

INSTANTIATE_TEST_SUITE_P(Delays, Transitions,
                         testing::Values(Delay{"BothAtOnce", 2}, Delay{"TheOtherHearsLate", 0},
                                         Delay{"ItselfHearsLate", 1}),
                         [](const auto& info) { return info.param.name; });

TEST_P(Transitions, ANodeThatGainsWireguardLosesNoPacket) {
  Lab& lab = make_pair_with_relay();
  lab[1].configure("wireguard: {backend: none}");
  lab.start_all();
  ASSERT_TRUE(
      becomes_reason(lab[0], "node-b", "plaintext", "peer-unsupported", milliseconds(10'000)));
  expect_lossless(
      lab,
      [&] {
        lab[1].configure("wireguard: {backend: auto}");
        lab[1].restart();
      },
      [&] {
        return lab[0].state_of("node-b") == "encrypted" && lab[1].state_of("node-a") == "encrypted";
      });
}

TEST_P(Transitions, ANodeThatWithdrawsItsKeyLosesNoPacketAndReturnsWithoutLoss) {
  Lab& lab = make_pair_with_relay();
  lab.start_all();
  ASSERT_TRUE(becomes(lab[0], "node-b", "encrypted", milliseconds(10'000)));
  ASSERT_TRUE(becomes(lab[1], "node-a", "encrypted", milliseconds(10'000)));
  expect_lossless(
      lab,
      [&] {
        lab[1].configure("encryption: {mode: 'off'}");
        lab[1].reload();
      },
      [&] {
        return lab[0].state_of("node-b") == "plaintext" && lab[1].state_of("node-a") == "plaintext";
      });
  expect_lossless(
      lab,
      [&] {
        lab[1].configure("encryption: {mode: prefer}");
        lab[1].reload();
      },
      [&] {
        return lab[0].state_of("node-b") == "encrypted" && lab[1].state_of("node-a") == "encrypted";
      });
}

using Restart = MeshTest;

TEST_F(Restart, RestartsOfMeshdAdoptTheDataPathAndLoseNoPacket) {
  Lab& lab = make(dual(2));
  lab.start_all();
  ASSERT_TRUE(all_encrypted());
  Capture capture(lab);
  Pinger pinger(lab[0].workload(), lab[1].workload(), Family::kIpv4);
  lab[0].restart();
  EXPECT_TRUE(becomes(lab[0], "node-b", "encrypted"));
  lab[1].kill();
  pinger.let_pass(100);
  lab[1].start();
  EXPECT_TRUE(becomes(lab[1], "node-a", "encrypted"));
  const PingReport report = pinger.stop();
  EXPECT_TRUE(report.lossless()) << report.to_string();
  EXPECT_EQ(capture.between("node-a", "node-b").plaintext(), 0U);
}

TEST_F(Restart, TheStoreBeingOutChangesNothingInTheDataPath) {
  Lab& lab = make(dual(2));
  lab.start_all();
  ASSERT_TRUE(all_encrypted());
  Pinger pinger(lab[0].workload(), lab[1].workload(), Family::kIpv4);
  lab[0].must({"mv", lab.store().path(), lab.store().path() + ".away"});
  const auto in_sync = [&](bool value) {
    return [&lab, value] { return lab[0].status()["store"]["inSync"] == value; };
  };
  EXPECT_TRUE(wait_until(in_sync(false), milliseconds(10'000)));
  EXPECT_EQ(lab[0].state_of("node-b"), "encrypted");
  lab[0].must({"mv", lab.store().path() + ".away", lab.store().path()});
  EXPECT_TRUE(wait_until(in_sync(true), milliseconds(10'000)));
  EXPECT_EQ(lab[0].state_of("node-b"), "encrypted");
  const PingReport report = pinger.stop();
  EXPECT_TRUE(report.lossless()) << report.to_string();
}

}  // namespace
}  // namespace mesh::lab
