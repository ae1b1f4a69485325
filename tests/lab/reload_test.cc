// What a reload and a restart may cost: nothing.
#include <functional>
#include <sstream>

#include "fixture.h"
#include "lab/socket_address.h"

namespace mesh::lab {
namespace {

using testing::HasSubstr;

// Datagrams that lie unread in the sockets of a port. Between binding its new socket and saying who
// receives from it, the kernel's WireGuard takes what arrives and never looks at it: microseconds,
// longer on a processor that is emulated. At the most: their number is reckoned from their bytes.
std::uint32_t unread_at(Node& node, std::uint16_t port) {
  constexpr std::uint32_t kLeastOfADatagram = 768;  // as the kernel accounts for it
  std::uint32_t unread = 0;
  std::istringstream lines(node.must({"cat", "/proc/net/udp", "/proc/net/udp6"}));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string slot, local, remote, state, queues;
    if (!(fields >> slot >> local >> remote >> state >> queues)) continue;
    const auto hex = [](const std::string& text) {
      return static_cast<std::uint32_t>(std::strtoul(text.c_str(), nullptr, 16));
    };
    const auto colon = local.rfind(':');
    if (colon == std::string::npos || hex(local.substr(colon + 1)) != port) continue;
    const std::uint32_t bytes = hex(queues.substr(queues.find(':') + 1));
    unread += (bytes + kLeastOfADatagram - 1) / kLeastOfADatagram;
  }
  return unread;
}

class Reload : public MeshTest {
 protected:
  // node-b reads `patch` under traffic; both sides are encrypted afterwards, nothing was lost and
  // nothing leaked.
  void expect_free(const std::string& patch, const std::function<bool(Lab&)>& applied,
                   const std::function<std::uint32_t(Lab&)>& most_lost = {}) {
    Lab& lab = make_encrypted_mesh(2);
    Capture capture(lab, {51820, 51999});
    std::vector<std::unique_ptr<Pinger>> pingers;
    for (const Family family : families())
      pingers.push_back(std::make_unique<Pinger>(lab[0].workload(), lab[1].workload(), family));
    capture.reset();
    lab[1].configure(patch);
    const Outcome reloaded = lab[1].meshctl({"reload"});
    EXPECT_EQ(reloaded.exit_code, 0) << reloaded.errors;
    EXPECT_TRUE(wait_until([&] { return applied(lab); }, kSoon));
    std::uint32_t lost = 0;
    std::string reports;
    for (auto& pinger : pingers) {
      pinger->let_pass(200);
      const PingReport report = pinger->stop();
      lost += report.there.lost;
      reports += report.to_string() + "\n";
      EXPECT_EQ(report.back.lost, 0U) << report.to_string();
    }
    EXPECT_LE(lost, most_lost ? most_lost(lab) : 0) << reports;
    EXPECT_EQ(lab[0].state_of("node-b"), "encrypted");
    EXPECT_EQ(lab[1].state_of("node-a"), "encrypted");
    const Verdict verdict = capture.between("node-a", "node-b");
    EXPECT_TRUE(verdict.encrypted_both_ways()) << verdict.to_string();
    EXPECT_EQ(lab[1].status().at("repairs"), 0);
    EXPECT_THAT(lab[1].meshctl({"plan"}).output, HasSubstr("nothing"));
  }
};
INSTANTIATE_MESH_TESTS(Reload);

TEST_P(Reload, AnotherListenPortCostsNoPacket) {
  // wireguard-go closes its socket, waits for its readers and opens another: what arrives in these
  // milliseconds has nowhere to go, whatever meshd does around it. The kernel has no such gap: all
  // that can be missing is what its new socket took before it was WireGuard's.
  constexpr std::uint32_t kGapOfWireguardGo = 40;  // probes, 200 ms: on a machine with no time
  expect_free(
      "wireguard: {listenPort: 51999}",
      [](Lab& lab) {
        const auto device = lab[1].wireguard();
        return device && device->listen_port == 51999 &&
               lab[0].peer("node-b").at("endpoint").get<std::string>().ends_with(":51999");
      },
      [this](Lab& lab) {
        const auto each = static_cast<std::uint32_t>(families().size());
        return GetParam().backend == "userspace" ? each * kGapOfWireguardGo
                                                 : unread_at(lab[1], 51999);
      });
}

TEST_P(Reload, AnotherMarkTablesAndPriorityCostNoPacket) {
  expect_free("wireguard: {fwmark: 0x4000, routingTable: 6000, rulePriority: 500}", [](Lab& lab) {
    const auto device = lab[1].wireguard();
    return device && device->fwmark == 0x4000 &&
           lab[1].must({"ip", "rule"}).find("5182") == std::string::npos &&
           lab[1].must({"ip", "route", "show", "table", "all"}).find("5182") == std::string::npos;
  });
}

TEST_P(Reload, AnotherMtuKeepaliveLabelsAndLogLevelCostNoPacket) {
  expect_free(
      "wireguard: {mtu: 1300, persistentKeepalive: 5s}\nnode: {labels: {role: db}}\n"
      "log: {level: debug}",
      [](Lab& lab) {
        return lab[1].must({"ip", "link", "show", "mesh0"}).find("mtu 1300") != std::string::npos;
      });
}

TEST_P(Reload, AnotherInterfaceIsRefusedAndChangesNothing) {
  Lab& lab = make_encrypted_mesh(2);
  lab[1].configure("wireguard: {interface: mesh7}");
  const Outcome refused = lab[1].meshctl({"reload"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.errors, HasSubstr("wireguard.interface"));
  EXPECT_THAT(refused.errors, HasSubstr("meshctl drain"));
  EXPECT_EQ(lab[1].state_of("node-a"), "encrypted");
}

TEST_P(Reload, APortInUseIsRefusedAndCostsNoPacket) {
  Lab& lab = make_encrypted_mesh(2);
  const UniqueFd taken = lab[1].network().socket(AF_INET, SOCK_DGRAM, 0);
  const SocketAddress port(*IpAddress::parse("0.0.0.0"), 51999);
  ASSERT_EQ(::bind(taken.get(), port.raw(), port.size()), 0);
  Pinger pinger(lab[0].workload(), lab[1].workload(), family());
  lab[1].configure("wireguard: {listenPort: 51999}");
  const Outcome refused = lab[1].meshctl({"reload"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.errors, HasSubstr("wireguard.listenPort"));
  EXPECT_THAT(refused.errors, HasSubstr("51999"));
  pinger.let_pass(200);
  const PingReport report = pinger.stop();
  EXPECT_TRUE(report.lossless()) << report.to_string();
  EXPECT_EQ(lab[1].state_of("node-a"), "encrypted");
}

TEST_P(Reload, ARestartWritesNothingToTheKernel) {
  Lab& lab = make_encrypted_mesh(2);
  lab[1].restart();
  ASSERT_TRUE(lab[1].wait_for_state("node-a", "encrypted", kSoon));
  // A whole comparison later, too.
  Pinger pinger(lab[0].workload(), lab[1].workload(), family());
  pinger.let_pass(1200);
  const PingReport report = pinger.stop();
  EXPECT_TRUE(report.lossless()) << report.to_string();
  const std::string metrics =
      lab[1].must({"bash", "-c",
                   "exec 3<>/dev/tcp/127.0.0.1/9586; printf 'GET /metrics HTTP/1.1\\r\\nHost: "
                   "localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3"});
  EXPECT_THAT(metrics, HasSubstr("meshd_kernel_operations_total 0\n"));
}

}  // namespace
}  // namespace mesh::lab
