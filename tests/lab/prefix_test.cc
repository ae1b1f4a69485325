// Whose prefix is whose, and which path its packets take.
#include "fixture.h"

namespace mesh::lab {
namespace {

using testing::Not;

class Prefixes : public MeshTest {
 protected:
  static std::string host_prefix(const IpAddress& address) {
    return Cidr::host(address).to_string();
  }
  // The node's prefixes as a YAML patch of its configuration, with more added.
  static std::string cidrs(int index, const std::vector<std::string>& more) {
    std::string text = "node: {cidrs: [";
    for (const Family family : families())
      text += "\"" + plan::prefix(index, family).to_string() + "\", ";
    for (const auto& each : more) text += "\"" + each + "\", ";
    return text + "]}";
  }
  void expect_ping_encrypted(const NetworkNamespace& from, const IpAddress& source,
                             const IpAddress& target, const std::string& a, const std::string& b) {
    Capture capture(lab());
    EXPECT_TRUE(ping(from, target, milliseconds(2000), source).answered)
        << source.to_string() << " > " << target.to_string();
    const Verdict verdict = capture.between(a, b);
    EXPECT_TRUE(verdict.encrypted_both_ways()) << verdict.to_string();
  }
};
INSTANTIATE_MESH_TESTS(Prefixes);

TEST_P(Prefixes, AMoreSpecificPrefixThatLivesElsewhereIsReachedThereEncrypted) {
  Lab& lab = make_mesh(3);
  const IpAddress moved = plan::workload(2, 76, family());  // inside node-b's prefix, on node-c
  lab[2].configure(cidrs(3, {host_prefix(moved)}));
  lab[2].workload().add_address(moved);
  lab[2].network().ip(fmt::format("route add {} dev pods\n", host_prefix(moved)));
  lab.start_all();
  ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon));
  const IpAddress source = lab[0].workload().address(family());
  expect_ping_encrypted(lab[0].workload().network(), source, moved, "node-a", "node-c");
  expect_ping_encrypted(lab[0].workload().network(), source, lab[1].workload().address(family()),
                        "node-a", "node-b");
}

TEST_P(Prefixes, AMovedPrefixIsReachedAtItsNewNodeEncrypted) {
  Lab& lab = make_mesh(3);
  const std::string extra = family() == Family::kIpv4 ? "10.77.0.0/24" : "fd00:77::/64";
  const IpAddress inside =
      *IpAddress::parse(family() == Family::kIpv4 ? "10.77.0.9" : "fd00:77::9");
  for (Node* node : {&lab[1], &lab[2]}) {
    node->workload().add_address(inside);
    node->network().ip(fmt::format("route add {} dev pods\n", host_prefix(inside)));
  }
  lab[1].configure(cidrs(2, {extra}));
  lab.start_all();
  ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon));
  const IpAddress source = lab[0].workload().address(family());
  ASSERT_TRUE(wait_until([&] { return lab[0].workload().reaches(inside); }, kSoon));
  expect_ping_encrypted(lab[0].workload().network(), source, inside, "node-a", "node-b");

  lab[1].configure(cidrs(2, {}));
  lab[1].reload();
  lab[2].configure(cidrs(3, {extra}));
  lab[2].reload();
  ASSERT_TRUE(wait_until(
      [&] {
        Capture capture(lab);
        return lab[0].workload().reaches(inside) &&
               capture.between("node-a", "node-c").encrypted_both_ways();
      },
      kSoon));
}

TEST_P(Prefixes, HostsAndRemoteWorkloadsSpeakEncryptedBothWays) {
  Lab& lab = make_encrypted_mesh(2);
  for (const Family family : families()) {
    const IpAddress workload = lab[1].workload().address(family);
    // The host's own choice of source, its workload-side address, and its underlay address.
    Capture capture(lab);
    EXPECT_TRUE(wait_until([&] { return lab[0].reaches(workload, milliseconds(2000)); }, kSoon));
    const Verdict verdict = capture.between("node-a", "node-b");
    EXPECT_TRUE(verdict.encrypted_both_ways()) << verdict.to_string();
    if (!has(GetParam().underlay, family)) continue;
    const IpAddress host = lab[0].address(family);
    expect_ping_encrypted(lab[0].network(), host, workload, "node-a", "node-b");
    expect_ping_encrypted(lab[1].workload().network(), workload, host, "node-a", "node-b");
  }
}

TEST_P(Prefixes, AnOutsideClientRoutedThroughANodeStillReachesRemoteWorkloads) {
  LabSpec wanted = spec(2);
  wanted.outside_client = true;
  Lab& lab = make(wanted);
  const Family underlay = list(GetParam().underlay).front();
  if (!has(GetParam().workloads, underlay))
    GTEST_SKIP() << "the client speaks the underlay's family";
  const IpAddress target = lab[1].workload().address(underlay);
  lab.outside().network().ip(fmt::format("route add {} via {}\n",
                                         plan::prefix(2, underlay).to_string(),
                                         lab[0].address(underlay).to_string()));
  ASSERT_TRUE(wait_until([&] { return lab.outside().reaches(target); }, kSoon))
      << "it does without meshd";
  lab.start_all();
  ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon));
  EXPECT_TRUE(wait_until([&] { return lab.outside().reaches(target); }, kSoon));
  EXPECT_TRUE(wait_until(
      [&] { return lab[0].peer("node-b").value("foreignSourceBytes", std::uint64_t{0}) > 0; },
      kSoon));
  expect_encrypted_traffic(lab[0], lab[1]);
}

TEST_P(Prefixes, AVirtualAddressOnANodeStillReachesRemoteWorkloads) {
  Lab& lab = make_mesh(2);
  const Family family = MeshTest::family();
  const bool v4 = family == Family::kIpv4;
  const IpAddress vip = *IpAddress::parse(v4 ? "203.0.113.7" : "2001:db8:7::7");
  lab[0].network().ip(
      fmt::format("addr add {} dev pods{}\n", host_prefix(vip), v4 ? "" : " nodad"));
  const bool native = has(GetParam().underlay, family);
  lab[1].network().ip(fmt::format("route add {} via {}{}\n", host_prefix(vip),
                                  native ? "" : "inet6 ",
                                  lab[0].address(native ? family : Family::kIpv6).to_string()));
  const IpAddress target = lab[1].workload().address(family);
  ASSERT_TRUE(ping(lab[0].network(), target, milliseconds(2000), vip).answered);
  lab.start_all();
  ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon));
  EXPECT_TRUE(ping(lab[0].network(), target, milliseconds(2000), vip).answered);
}

TEST_P(Prefixes, OddNamesAndLabelsAreNodesLikeOthers) {
  LabSpec wanted = spec(2);
  wanted.nodes[0].name = "0";
  wanted.nodes[1].name = "a.b-c.example." + std::string(63, 'x') + ".9";
  Lab& lab = make(wanted);
  lab[0].configure(
      "node: {labels: {'a/b': '', 'quote': '\"''\\', 'uni': 'ä: #x', 'true': 'null'}}");
  lab.start_all();
  ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon));
  expect_encrypted_traffic(lab[0], lab[1]);
}

}  // namespace
}  // namespace mesh::lab
