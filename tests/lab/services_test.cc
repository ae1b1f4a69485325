// Services keep their meaning: what other programs do to packets (translate, masquerade, mark,
// encapsulate, answer from elsewhere) goes on to work over the mesh, and where both ends are
// encrypted nothing of it is seen in clear on the underlay.
#include <poll.h>

#include <atomic>
#include <thread>

#include "fixture.h"
#include "lab/process.h"
#include "lab/socket_address.h"

namespace mesh::lab {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr std::uint16_t kPort = 8080;
constexpr std::uint16_t kNodePort = 30080;
const IpAddress kVip = *IpAddress::parse("203.0.113.10");
constexpr Family kFamily = Family::kIpv4;

// Answers each datagram with the address and port it came from.
class Server {
 public:
  Server(const Workload& workload, const IpAddress& address)
      : socket_(workload.network().socket(AF_INET, SOCK_DGRAM, 0)) {
    const SocketAddress here(address, kPort);
    if (::bind(socket_.get(), here.raw(), here.size()) != 0) throw LabError("bind the server");
    thread_ = std::thread([this] { work(); });
  }
  ~Server() {
    stop_ = true;
    thread_.join();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

 private:
  void work() {
    std::array<char, 2048> data{};
    while (!stop_) {
      pollfd ready{socket_.get(), POLLIN, 0};
      if (::poll(&ready, 1, 20) <= 0) continue;
      SocketAddress from;
      if (::recvfrom(socket_.get(), data.data(), data.size(), 0, from.raw(), from.capacity()) < 0)
        continue;
      const std::string answer = fmt::format("{}:{}", from.address().to_string(), from.port());
      (void)::sendto(socket_.get(), answer.data(), answer.size(), 0, from.raw(), from.size());
    }
  }

  UniqueFd socket_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// One connection, as connection tracking sees it: one socket, connected.
class Client {
 public:
  Client(const NetworkNamespace& network, const IpAddress& target, std::uint16_t port,
         const std::optional<IpAddress>& source = std::nullopt)
      : socket_(network.socket(AF_INET, SOCK_DGRAM, 0)) {
    if (source) {
      const SocketAddress here(*source, 0);
      if (::bind(socket_.get(), here.raw(), here.size()) != 0) throw LabError("bind the client");
    }
    const SocketAddress there(target, port);
    if (::connect(socket_.get(), there.raw(), there.size()) != 0) throw LabError("no route");
  }
  // What the server says it came from; "" when nothing came back.
  std::string ask(std::size_t size = 64) const {
    const std::string question(size, 'q');
    (void)::send(socket_.get(), question.data(), question.size(), 0);
    pollfd ready{socket_.get(), POLLIN, 0};
    if (::poll(&ready, 1, 1000 * patience()) <= 0) return "";
    std::array<char, 256> answer{};
    const ssize_t count = ::recv(socket_.get(), answer.data(), answer.size(), 0);
    return count < 0 ? "" : std::string(answer.data(), static_cast<std::size_t>(count));
  }

 private:
  UniqueFd socket_;
};

class Services : public MeshTest {
 protected:
  void SetUp() override {
    MeshTest::SetUp();
    if (!IsSkipped() && !has(GetParam().underlay, kFamily))
      GTEST_SKIP() << "the services here are IPv4's, over an IPv4 underlay";
  }

  static void nft(const Node& node, const std::string& ruleset) {
    (void)run_or_throw({.argv = {"nft", "-f", "-"}, .place = node.place(), .input = ruleset});
  }
  // A service's address, and a port of the node, lead to the workload of node-b; `more` rules stand
  // before.
  static void translate(Node& node, const IpAddress& backend, bool masquerade) {
    nft(node, fmt::format(
                  "table ip services {{\n"
                  "chain prerouting {{ type nat hook prerouting priority dstnat;\n"
                  "ip daddr {0} udp dport 80 dnat to {1}:{2}\n"
                  "ip daddr {3} udp dport {4} dnat to {1}:{2}\n}}\n"
                  "chain postrouting {{ type nat hook postrouting priority srcnat;\n{5}\n}}\n}}\n",
                  kVip.to_string(), backend.to_string(), kPort, node.address(kFamily).to_string(),
                  kNodePort, masquerade ? "ct status dnat masquerade" : ""));
  }
  void expect_encrypted(Capture& capture, const std::string& a, const std::string& b) {
    const Verdict verdict = capture.between(a, b);
    EXPECT_TRUE(verdict.encrypted_both_ways()) << verdict.to_string();
  }
};
INSTANTIATE_MESH_TESTS(Services);

TEST_P(Services, AClusterAddressTranslatedOnTheClientsNodeKeepsTheClientsAddress) {
  Lab& lab = make_encrypted_mesh(2);
  const Server server(lab[1].workload(), lab[1].workload().address(kFamily));
  translate(lab[0], lab[1].workload().address(kFamily), false);
  Capture capture(lab);
  const Client client(lab[0].workload().network(), kVip, 80);
  for (int i = 0; i < 20; ++i)
    ASSERT_THAT(client.ask(), StartsWith(lab[0].workload().address(kFamily).to_string() + ":"));
  expect_encrypted(capture, "node-a", "node-b");
}

TEST_P(Services, ANodePortMasqueradedOnTheEntryNodeCrossesTheMeshEncrypted) {
  LabSpec wanted = spec(2);
  wanted.outside_client = true;
  Lab& lab = make(wanted);
  lab.start_all();
  ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon));
  const Server server(lab[1].workload(), lab[1].workload().address(kFamily));
  translate(lab[0], lab[1].workload().address(kFamily), true);
  Capture capture(lab);
  const Client client(lab.outside().network(), lab[0].address(kFamily), kNodePort);
  for (int i = 0; i < 20; ++i)
    ASSERT_THAT(client.ask(), StartsWith(plan::gateway(1, kFamily).to_string() + ":"))
        << "the entry node's address inside the mesh";
  expect_encrypted(capture, "node-a", "node-b");
}

// The client's node sends to the balancer, that to the backend's node; the answer comes from there,
// with the service's address as its source.
TEST_P(Services, AnAnswerStraightFromTheBackendsNodeKeepsThePathItHad) {
  Lab& lab = make_encrypted_mesh(3);
  lab[1].workload().add_address(kVip);
  const auto route = [&](int node, const std::string& how) {
    lab[static_cast<std::size_t>(node)].network().ip(
        fmt::format("route add {}/32 {}\n", kVip.to_string(), how));
  };
  route(0, "via " + lab[2].address(kFamily).to_string());
  route(2, "via " + lab[1].address(kFamily).to_string());
  route(1, "via " + lab[1].workload().address(kFamily).to_string());
  const Server server(lab[1].workload(), kVip);
  const Client client(lab[0].workload().network(), kVip, kPort);
  for (int i = 0; i < 20; ++i)
    ASSERT_THAT(client.ask(), StartsWith(lab[0].workload().address(kFamily).to_string() + ":"));
  EXPECT_TRUE(wait_until(
      [&] { return lab[1].peer("node-a").value("foreignSourcePackets", std::uint64_t{0}) >= 20; },
      kSoon));
  expect_encrypted_traffic(lab[0], lab[1]);
}

TEST_P(Services, OverlaysBetweenTheNodesGoOnAsBefore) {
  Lab& lab = make_encrypted_mesh(2);
  int made = 0;
  for (const std::string kind : {"vxlan", "ipip"}) {
    const std::string net = kind == "vxlan" ? "10.77" : "10.78";
    bool possible = true;
    for (int i = 0; i < 2; ++i) {
      const Node& node = lab[static_cast<std::size_t>(i)];
      const Node& other = lab[static_cast<std::size_t>(1 - i)];
      const std::string how =
          kind == "vxlan" ? "type vxlan id 7 dstport 4789 dev eth0" : "type ipip";
      possible =
          possible && node.run({"sh", "-c",
                                fmt::format("ip link add {} {} local {} remote {}", kind + "0", how,
                                            node.address(kFamily).to_string(),
                                            other.address(kFamily).to_string())})
                          .ok();
      if (!possible) break;
      node.network().ip(fmt::format(
          "addr add {0}.0.{1}/24 dev {2}0\nlink set {2}0 up\nroute add {0}.{1}.2/32 dev pods\n"
          "route add {0}.{3}.0/24 via {0}.0.{3} dev {2}0 onlink\n",
          net, i + 1, kind, 2 - i));
      lab[static_cast<std::size_t>(i)].workload().add_address(
          *IpAddress::parse(fmt::format("{}.{}.2", net, i + 1)));
    }
    if (!possible) {
      GTEST_LOG_(WARNING) << "NOT TESTED: this kernel makes no " << kind << " links";
      continue;
    }
    ++made;
    const IpAddress there = *IpAddress::parse(net + ".2.2");
    const Server server(lab[1].workload(), there);
    Capture capture(lab);
    const Client client(lab[0].workload().network(), there, kPort,
                        IpAddress::parse(net + ".1.2").value());
    for (int i = 0; i < 20; ++i) ASSERT_NE(client.ask(1372), "") << kind;
    const Verdict verdict = capture.between("node-a", "node-b");
    EXPECT_GE(verdict.ab.host, 20U) << "from host to host, as before: " << verdict.to_string();
    EXPECT_EQ(verdict.plaintext(), 0U) << verdict.to_string();
  }
  expect_encrypted_traffic(lab[0], lab[1]);
  if (made == 0) GTEST_SKIP() << "NOT TESTED: this kernel makes neither vxlan nor ipip links";
}

// kube-proxy's marks, and programs that keep marks with the connection.
TEST_P(Services, MarksOfOthersStayAndMeshdsIsNotAmongThem) {
  Lab& lab = make_encrypted_mesh(2);
  const Server server(lab[1].workload(), lab[1].workload().address(kFamily));
  nft(lab[0],
      "table ip marks {\n"
      "counter kept {}\ncounter lost {}\ncounter bypass {}\n"
      "chain before { type filter hook prerouting priority mangle - 1;\n"
      "udp dport 8080 meta mark set ct mark\n"
      "udp dport 8080 meta mark set meta mark | 0x0000c000\n}\n"
      "chain after { type filter hook postrouting priority srcnat + 10;\n"
      "udp dport 8080 ct mark set meta mark\n"
      "udp dport 8080 meta mark & 0x0000c000 == 0x0000c000 counter name kept\n"
      "udp dport 8080 meta mark & 0x0000c000 != 0x0000c000 counter name lost\n"
      "udp dport 8080 meta mark & 0x00002000 != 0 counter name bypass\n}\n}\n");
  Capture capture(lab);
  const Client client(lab[0].workload().network(), lab[1].workload().address(kFamily), kPort);
  for (int i = 0; i < 20; ++i) ASSERT_NE(client.ask(), "");
  expect_encrypted(capture, "node-a", "node-b");
  const std::string counters = lab[0].must({"nft", "list", "counters"});
  EXPECT_THAT(counters, HasSubstr("counter kept {\n\t\tpackets 20 "));
  EXPECT_THAT(counters, HasSubstr("counter lost {\n\t\tpackets 0 "));
  EXPECT_THAT(counters, HasSubstr("counter bypass {\n\t\tpackets 0 "));
}

TEST_P(Services, ATranslatedConnectionMadeInPlaintextGoesOnThroughTheTunnel) {
  Lab& lab = make_mesh(2);
  lab[0].start();
  const Server server(lab[1].workload(), lab[1].workload().address(kFamily));
  translate(lab[0], lab[1].workload().address(kFamily), false);
  const Client client(lab[0].workload().network(), kVip, 80);
  const std::string seen = client.ask();
  ASSERT_THAT(seen, StartsWith(lab[0].workload().address(kFamily).to_string() + ":"));
  lab[1].start();
  ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon));
  Capture capture(lab);
  for (int i = 0; i < 20; ++i) ASSERT_EQ(client.ask(), seen) << "the same connection";
  expect_encrypted(capture, "node-a", "node-b");
}

TEST_P(Services, AMasqueradedConnectionThatBeganInPlaintextIsPinnedToItAndCounted) {
  LabSpec wanted = spec(2);
  wanted.outside_client = true;
  wanted.nodes[1].backend = "none";
  Lab& lab = make(wanted);
  const Server server(lab[1].workload(), lab[1].workload().address(kFamily));
  translate(lab[0], lab[1].workload().address(kFamily), true);
  lab.start_all();
  ASSERT_TRUE(lab[0].wait_for_state("node-b", "plaintext", kSoon));
  const Client client(lab.outside().network(), lab[0].address(kFamily), kNodePort);
  const std::string seen = client.ask();
  ASSERT_THAT(seen, StartsWith(lab[0].address(kFamily).to_string() + ":"));
  lab[1].configure("wireguard: {backend: " + GetParam().backend + "}");
  lab[1].restart();
  ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon));
  for (int i = 0; i < 20; ++i) ASSERT_EQ(client.ask(), seen) << "the kernel cuts it elsewhere";
  EXPECT_TRUE(wait_until(
      [&] { return lab[0].peer("node-b").value("pinnedPackets", std::uint64_t{0}) >= 20; }, kSoon));
  Capture capture(lab);
  const Client another(lab.outside().network(), lab[0].address(kFamily), kNodePort);
  for (int i = 0; i < 20; ++i) ASSERT_NE(another.ask(), "");
  expect_encrypted(capture, "node-a", "node-b");
  // Where encryption is required nothing is pinned.
  lab[0].configure("encryption: {mode: require}");
  lab[0].reload();
  ASSERT_TRUE(
      wait_until([&] { return lab[0].peer("node-b").value("mode", "") == "require"; }, kSoon));
  capture.reset();
  EXPECT_TRUE(wait_until([&] { return !client.ask().empty(); }, kSoon))
      << "a connection of its own again, through the tunnel";
  EXPECT_EQ(capture.between("node-a", "node-b").plaintext(), 0U);
}

}  // namespace
}  // namespace mesh::lab
