// Bad records: each costs its own node, its key or its prefix, with its reason, and nobody else.
#include "lab/scenario.h"

namespace mesh::lab {
namespace {

class BadInput : public MeshTest {
 protected:
  // Three nodes run meshd; records of others are written by hand.
  Lab& make_running_mesh() {
    Lab& lab = make(dual(3));
    lab.start_all();
    EXPECT_TRUE(all_encrypted());
    for (auto& node : lab.nodes()) before_[node->name()] = others(*node);
    return lab;
  }
  void TearDown() override { MeshTest::TearDown(); }
  // States of the three among themselves, which nothing in these tests may change.
  static nlohmann::json others(Node& node) {
    nlohmann::json states;
    for (const auto& peer : node.status()["peers"])
      if (peer["node"].get<std::string>().starts_with("node-"))
        states[peer["node"].get<std::string>()] = {peer["state"], peer["since"], peer["publicKey"]};
    return states;
  }
  void expect_nobody_else_changed(Lab& lab) {
    for (auto& node : lab.nodes()) EXPECT_EQ(others(*node), before_[node->name()]) << node->name();
    EXPECT_TRUE(lab[0].workload().reaches(lab[1].workload().address(Family::kIpv4)));
  }
  static std::string record(const std::string& name, const std::string& rest) {
    return "name: " + name + "\naddresses: [192.0.2.99]\ncidrs: [10.99.0.0/24]\n" + rest;
  }
  static std::string with_key(const std::string& name, const std::string& key,
                              const std::string& more = "") {
    return record(name, "annotations:\n  meshd.io/wireguard-public-key: \"" + key + "\"\n" + more);
  }

 private:
  std::map<std::string, nlohmann::json> before_;
};

constexpr const char* kSomeKey = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

TEST_F(BadInput, AKeyThatIsNoneIsInvalidAndSoIsTheAllZeroKey) {
  Lab& lab = make_running_mesh();
  for (const std::string key : {"rubbish", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}) {
    lab.store().write("x-bad", with_key("x-bad", key));
    EXPECT_TRUE(becomes_reason(lab[0], "x-bad", "plaintext", "invalid-public-key"));
    lab.store().remove("x-bad");
    EXPECT_TRUE(wait_until([&] { return lab[0].peer("x-bad").is_null(); }, milliseconds(5000)));
  }
  expect_nobody_else_changed(lab);
}

TEST_F(BadInput, AKeyOfAnotherNodeIsADuplicateForTheNewcomerAloneAndMineForEverybody) {
  Lab& lab = make_running_mesh();
  const std::string victim = lab.store().annotation("node-b", "meshd.io/wireguard-public-key");
  lab.store().write("a-thief", with_key("a-thief", victim));
  for (const std::size_t i : {0U, 1U, 2U})
    EXPECT_TRUE(becomes_reason(lab[i], "a-thief", "plaintext", "duplicate-public-key"))
        << lab[i].name();
  expect_nobody_else_changed(lab);
}

TEST_F(BadInput, OfEqualPrefixesTheIncumbentKeepsIt) {
  Lab& lab = make_running_mesh();
  lab.store().write(
      "a-greedy", "name: a-greedy\naddresses: [192.0.2.99]\ncidrs: [10.2.0.0/24, 10.98.0.0/24]\n");
  EXPECT_TRUE(warns(lab[0], "a-greedy", "10.2.0.0/24"));
  EXPECT_TRUE(warns(lab[1], "a-greedy", "10.2.0.0/24"));
  EXPECT_THAT(lab[0].peer("a-greedy")["cidrs"].dump(), testing::HasSubstr("10.98.0.0/24"));
  expect_nobody_else_changed(lab);
}

TEST_F(BadInput, PrefixesOverAddressesOrTheWholeWorldAreRefused) {
  Lab& lab = make_running_mesh();
  lab.store().write("a-greedy",
                    "name: a-greedy\naddresses: [192.0.2.99]\ncidrs: [0.0.0.0/0, '::/0', "
                    "192.0.2.0/24, '2001:db8::/64', "
                    "10.0.0.0/8, 224.0.0.0/8, 127.0.0.0/8, 'fe80::/64', 10.98.0.0/24]\n");
  for (const std::string prefix : {"0.0.0.0/0", "::/0", "192.0.2.0/24", "2001:db8::/64",
                                   "10.0.0.0/8", "224.0.0.0/8", "127.0.0.0/8", "fe80::/64"})
    EXPECT_TRUE(warns(lab[0], "a-greedy", prefix)) << prefix;
  EXPECT_THAT(lab[0].peer("a-greedy")["cidrs"].dump(), testing::StrEq("[\"10.98.0.0/24\"]"));
  expect_nobody_else_changed(lab);
}

TEST_F(BadInput, AnEndpointInsideTheMeshIsRefused) {
  Lab& lab = make_running_mesh();
  lab.store().write("x-loop", with_key("x-loop", kSomeKey,
                                       "  meshd.io/wireguard-endpoint: \"10.2.0.2:51820\"\n"));
  EXPECT_TRUE(becomes_reason(lab[0], "x-loop", "plaintext", "no-endpoint"));
  EXPECT_TRUE(warns(lab[0], "x-loop", "10.2.0.2:51820"));
  expect_nobody_else_changed(lab);
}

TEST_F(BadInput, ATruncatedRecordOfAKnownNodeKeepsTheLastGoodOne) {
  Lab& lab = make_running_mesh();
  // node-c rests, so that it does not put its record right.
  (void)lab[2].stop();
  const std::string good = lab.store().read("node-c");
  lab.store().write("node-c", good.substr(0, good.size() / 2) + "\n  x: [");
  EXPECT_TRUE(becomes_reason(lab[0], "node-c", "encrypted", "invalid-record"));
  EXPECT_TRUE(lab[0].workload().reaches(lab[2].workload().address(Family::kIpv4)));
  lab.store().write("node-c", good);
  EXPECT_TRUE(becomes_reason(lab[0], "node-c", "encrypted", ""));
}

TEST_F(BadInput, UnreadableRecordsOfUnknownNodesAreNoPeers) {
  Lab& lab = make_running_mesh();
  lab.store().write("huge", std::string(10U << 20U, '#'));
  lab.store().write("half", "name: half\naddresses: [192.0.2.");
  lab.store().write("other", "name: somebody-else\naddresses: [192.0.2.98]\n");
  lab.store().write("marker", "name: marker\naddresses: [192.0.2.97]\n");
  EXPECT_TRUE(becomes(lab[0], "marker", "plaintext"));
  const auto refused = [&] { return lab[0].status()["refusedRecords"].size() == 3; };
  EXPECT_TRUE(wait_until(refused, milliseconds(5000))) << lab[0].status().dump(2);
  for (const std::string name : {"huge", "half", "other"})
    EXPECT_TRUE(lab[0].peer(name).is_null()) << name;
  expect_nobody_else_changed(lab);
}

TEST_F(BadInput, APublishedKeyOverwrittenBySomebodyElseIsPutBack) {
  Lab& lab = make_running_mesh();
  const std::string key = lab.store().annotation("node-b", "meshd.io/wireguard-public-key");
  lab.store().set_annotation("node-b", "meshd.io/wireguard-public-key", kSomeKey);
  const auto restored = [&] {
    return lab.store().annotation("node-b", "meshd.io/wireguard-public-key") == key;
  };
  EXPECT_TRUE(wait_until(restored, milliseconds(2000)));
  EXPECT_TRUE(becomes(lab[0], "node-b", "encrypted"));
  EXPECT_TRUE(becomes(lab[2], "node-b", "encrypted"));
}

}  // namespace
}  // namespace mesh::lab
