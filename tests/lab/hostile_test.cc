// Records that are wrong or mean harm: each costs itself alone. node-a and node-b are encrypted and
// under traffic meanwhile; "mallory" is what somebody else wrote into the store.
#include "fixture.h"

namespace mesh::lab {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kKey = "meshd.io/wireguard-public-key";
constexpr const char* kEndpoint = "meshd.io/wireguard-endpoint";

class Hostile : public MeshTest {
 protected:
  void SetUp() override {
    MeshTest::SetUp();
    if (IsSkipped()) return;
    (void)make_encrypted_mesh(2);
    for (auto& node : lab().nodes()) keys_.push_back(lab().store().annotation(node->name(), kKey));
    capture_ = std::make_unique<Capture>(lab());
    pinger_ = std::make_unique<Pinger>(lab()[0].workload(), lab()[1].workload(), family());
  }

  // Nobody else's state changed, no packet was lost, none was seen.
  void TearDown() override {
    if (pinger_) {
      pinger_->let_pass(60);
      const PingReport report = pinger_->stop();
      EXPECT_TRUE(report.lossless()) << report.to_string();
      const Verdict verdict = capture_->between("node-a", "node-b");
      EXPECT_TRUE(verdict.encrypted_both_ways()) << verdict.to_string();
      for (auto [node, peer] : {std::pair(0U, 1U), std::pair(1U, 0U)}) {
        const auto found = lab()[node].peer(lab()[peer].name());
        EXPECT_EQ(found.value("state", ""), "encrypted");
        EXPECT_EQ(found.value("publicKey", ""), keys_[peer]);
        EXPECT_TRUE(found.value("warnings", nlohmann::json::array()).empty())
            << "the victim is blamed: " << found.dump();
      }
    }
    pinger_.reset();
    capture_.reset();
    MeshTest::TearDown();
  }

  [[nodiscard]] static std::string address() {
    return plan::underlay(66, list(GetParam().underlay).front()).to_string();
  }
  [[nodiscard]] static std::string prefix() { return plan::prefix(66, family()).to_string(); }
  static std::string annotations(const std::string& key, const std::string& endpoint = "") {
    std::string text = "annotations:\n";
    if (!key.empty()) text += fmt::format("  {}: \"{}\"\n", kKey, key);
    if (!endpoint.empty()) text += fmt::format("  {}: \"{}\"\n", kEndpoint, endpoint);
    return text;
  }
  void write(const std::string& cidr, const std::string& more = "",
             const std::string& from = address()) {
    lab().store().write("mallory", hand_written("mallory", from, cidr, more));
  }
  [[nodiscard]] static std::string fresh_key() {
    std::string key = run_or_throw({.argv = {"wg", "genkey"}});
    key = run_or_throw({.argv = {"wg", "pubkey"}, .input = key});
    key.pop_back();
    return key;
  }

  // What node-a says of mallory.
  void expect_mallory(const std::string& state, const std::string& reason) {
    EXPECT_TRUE(wait_until(
        [&] {
          const auto mallory = lab()[0].peer("mallory");
          return mallory.value("state", "") == state && mallory.value("reason", "") == reason;
        },
        kSoon))
        << lab()[0].peer("mallory").dump();
  }
  void expect_warning(const std::string& text) {
    EXPECT_TRUE(wait_until(
        [&] {
          return lab()[0]
                     .peer("mallory")
                     .value("warnings", nlohmann::json::array())
                     .dump()
                     .find(text) != std::string::npos;
        },
        kSoon))
        << "no warning of " << text << ": " << lab()[0].peer("mallory").dump();
  }

  std::vector<std::string> keys_;
  std::unique_ptr<Capture> capture_;
  std::unique_ptr<Pinger> pinger_;
};
INSTANTIATE_MESH_TESTS(Hostile);

TEST_P(Hostile, AKeyThatIsAnotherNodesIsADuplicate) {
  write(prefix(), annotations(keys_[1]));
  expect_mallory("plaintext", "duplicate-public-key");
}

TEST_P(Hostile, AKeyThatIsMineIsADuplicate) {
  write(prefix(), annotations(keys_[0]));
  expect_mallory("plaintext", "duplicate-public-key");
}

TEST_P(Hostile, TheAllZeroKeyIsInvalid) {
  write(prefix(), annotations(std::string(43, 'A') + "="));
  expect_mallory("plaintext", "invalid-public-key");
}

TEST_P(Hostile, AKeyThatIsNoKeyIsInvalid) {
  write(prefix(), annotations("not a key \\u0007\\e[31m"));
  expect_mallory("plaintext", "invalid-public-key");
}

TEST_P(Hostile, AnEqualPrefixStaysWithItsHolder) {
  write(plan::prefix(2, family()).to_string(), annotations(fresh_key()));
  expect_warning(plan::prefix(2, family()).to_string());
}

TEST_P(Hostile, APrefixEqualToMineIsRefused) {
  write(plan::prefix(1, family()).to_string());
  expect_warning(plan::prefix(1, family()).to_string());
}

TEST_P(Hostile, APrefixOverMyOwnIsRefused) {
  const std::string wide = family() == Family::kIpv4 ? "10.0.0.0/8" : "fd00::/16";
  write(wide);
  expect_warning(wide);
}

TEST_P(Hostile, APrefixOverAnotherNodesAddressIsRefused) {
  const std::string prefix =
      Cidr::host(lab()[1].address(list(GetParam().underlay).front())).to_string();
  write(prefix, annotations(fresh_key()));
  expect_warning(prefix);
}

TEST_P(Hostile, ADefaultRouteIsRefused) {
  const std::string everything = family() == Family::kIpv4 ? "0.0.0.0/0" : "::/0";
  write(everything, annotations(fresh_key()));
  expect_warning(everything);
}

TEST_P(Hostile, AnEndpointInsideTheMeshIsRefused) {
  const Endpoint inside{lab()[1].workload().address(family()), 51820};
  write(prefix(), annotations(fresh_key(), inside.to_string()));
  expect_mallory("plaintext", "no-endpoint");
}

TEST_P(Hostile, AnotherNodesAddressIsRefusedToTheNewcomer) {
  const std::string taken = lab()[1].address(list(GetParam().underlay).front()).to_string();
  write(prefix(), annotations(fresh_key()), taken);
  expect_warning(taken);
}

TEST_P(Hostile, ATruncatedFileOfAnUnknownNodeIsNoPeer) {
  lab().store().write("mallory", "name: mallory\naddresses: [\"192.0.2.");
  lab().store().write("zz-later", hand_written("zz-later", address(), prefix()));
  ASSERT_TRUE(lab()[0].wait_for_state("zz-later", "plaintext", kSoon));
  EXPECT_EQ(lab()[0].state_of("mallory"), "");
}

TEST_P(Hostile, AFileOfTenMegabytesIsNoPeer) {
  lab().store().write("mallory", "name: mallory\n" + std::string(10 << 20, '#') + "\n");
  lab().store().write("zz-later", hand_written("zz-later", address(), prefix()));
  ASSERT_TRUE(lab()[0].wait_for_state("zz-later", "plaintext", kSoon));
  EXPECT_EQ(lab()[0].state_of("mallory"), "");
}

TEST_P(Hostile, AKnownNodesTruncatedFileKeepsItsLastGoodVersion) {
  write(prefix());
  expect_mallory("plaintext", "no-public-key");
  lab().store().write("mallory", "name: mallory\naddresses: [\"192.0.2.");
  expect_warning("the last good one stays in force");
  EXPECT_EQ(lab()[0].reason_of("mallory"), "no-public-key");
}

TEST_P(Hostile, ARecordWithAnotherNodesNameIsNoPeerAndHarmsNobody) {
  lab().store().write("mallory",
                      hand_written("node-b", address(), prefix(), annotations(fresh_key())));
  lab().store().write("zz-later", hand_written("zz-later", address(), prefix()));
  ASSERT_TRUE(lab()[0].wait_for_state("zz-later", "plaintext", kSoon));
  EXPECT_EQ(lab()[0].state_of("mallory"), "");
}

}  // namespace
}  // namespace mesh::lab
