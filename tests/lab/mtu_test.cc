// The MTU of the way between nodes: links of any size, and narrow hops in between that no node
// sees.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "fixture.h"
#include "lab/process.h"
#include "lab/socket_address.h"

namespace mesh::lab {
namespace {

constexpr std::size_t kTransferred = 400'000;
constexpr milliseconds kFollowsWithin(60'000);

std::size_t take(int socket) {
  std::vector<char> buffer(65536);
  std::size_t total = 0;
  for (ssize_t size = 0; (size = ::recv(socket, buffer.data(), buffer.size(), 0)) > 0;)
    total += static_cast<std::size_t>(size);
  return total;
}

// Bytes that arrive by TCP from one workload at another; patience is the socket's own.
std::size_t transfer(const Workload& from, const Workload& to, Family family) {
  const timeval patience_of_socket{20 * patience(), 0};
  const UniqueFd listening = to.network().socket(to_af(family), SOCK_STREAM, 0);
  const SocketAddress server(to.address(family), 4712);
  const int on = 1;
  check(::setsockopt(listening.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "SO_REUSEADDR");
  check(::setsockopt(listening.get(), SOL_SOCKET, SO_RCVTIMEO, &patience_of_socket,
                     sizeof patience_of_socket),
        "SO_RCVTIMEO");
  check(::bind(listening.get(), server.raw(), server.size()), "bind");
  check(::listen(listening.get(), 1), "listen");
  std::size_t arrived = 0;
  std::thread receiver([&] {
    const UniqueFd accepted(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!accepted) return;
    (void)::setsockopt(accepted.get(), SOL_SOCKET, SO_RCVTIMEO, &patience_of_socket,
                       sizeof patience_of_socket);
    arrived = take(accepted.get());
  });
  {
    const UniqueFd client = from.network().socket(to_af(family), SOCK_STREAM, 0);
    (void)::setsockopt(client.get(), SOL_SOCKET, SO_SNDTIMEO, &patience_of_socket,
                       sizeof patience_of_socket);
    const std::vector<char> data(kTransferred, 'x');
    if (::connect(client.get(), server.raw(), server.size()) == 0)
      (void)!::send(client.get(), data.data(), data.size(), MSG_NOSIGNAL);
  }
  receiver.join();
  return arrived;
}

class Mtu : public MeshTest {
 protected:
  Lab& make_mesh_of(unsigned underlay_mtu) {
    LabSpec wanted = spec(2);
    wanted.underlay_mtu = underlay_mtu;
    Lab& lab = make(wanted);
    lab.start_all();
    if (!lab.wait_all_encrypted({}, kSoon)) fail("the mesh does not become encrypted");
    return lab;
  }
  // A hop that swallows what is larger, without a word.
  static void narrow(Lab& lab, unsigned mtu) {
    lab.drop_nothing();
    lab.drop(fmt::format("meta length > {}", mtu));
  }
  static std::optional<unsigned> number(const Node& node, const std::string& peer,
                                        const std::string& field) {
    const auto found = node.peer(peer);
    if (!found.contains(field) || found[field].is_null()) return std::nullopt;
    return found[field].get<unsigned>();
  }
  static bool wait_for_path_mtu(Lab& lab, unsigned mtu) {
    return wait_until(
        [&] {
          return number(lab[0], "node-b", "pathMtu") == mtu &&
                 number(lab[1], "node-a", "pathMtu") == mtu;
        },
        kFollowsWithin);
  }
  static void expect_transfers(Lab& lab) {
    for (const Family family : families()) {
      EXPECT_EQ(transfer(lab[0].workload(), lab[1].workload(), family), kTransferred);
      EXPECT_EQ(transfer(lab[1].workload(), lab[0].workload(), family), kTransferred);
    }
  }
  // Of the endpoints' addresses, as meshd chooses them.
  static unsigned overhead() { return has(GetParam().underlay, Family::kIpv4) ? 60 : 80; }
};
INSTANTIATE_MESH_TESTS(Mtu);

class LinkMtu : public Mtu {
 protected:
  void works_over(unsigned underlay_mtu) {
    Lab& lab = make_mesh_of(underlay_mtu);
    EXPECT_TRUE(wait_for_path_mtu(lab, underlay_mtu));
    EXPECT_EQ(number(lab[0], "node-b", "mtu"),
              underlay_mtu - (has(GetParam().underlay, Family::kIpv6) ? 80 : 60));
    expect_transfers(lab);
  }
};
INSTANTIATE_MESH_TESTS(LinkMtu);

TEST_P(LinkMtu, Of1400Works) { works_over(1400); }
TEST_P(LinkMtu, Of1500Works) { works_over(1500); }
TEST_P(LinkMtu, Of9000Works) { works_over(9000); }

TEST_P(Mtu, AHopThatNoNodeSeesIsFoundAndFollowedAsItChanges) {
  Lab& lab = make_mesh_of(1500);
  ASSERT_TRUE(wait_for_path_mtu(lab, 1500));

  narrow(lab, 1400);
  EXPECT_TRUE(wait_for_path_mtu(lab, 1400));
  EXPECT_LE(number(lab[0], "node-b", "mtu"), 1400 - overhead());
  EXPECT_GE(number(lab[0], "node-b", "mtu"), 1280U);
  const Outcome shown = lab[0].meshctl({"peer", "node-b"});
  EXPECT_THAT(shown.output, testing::ContainsRegex("path mtu: +1400\n"));
  expect_transfers(lab);
  EXPECT_EQ(lab[0].state_of("node-b"), "encrypted");

  narrow(lab, 1380);
  EXPECT_TRUE(wait_for_path_mtu(lab, 1380));
  expect_transfers(lab);

  lab.drop_nothing();
  EXPECT_TRUE(wait_for_path_mtu(lab, 1500));
  expect_transfers(lab);
}

TEST_P(Mtu, ARestartKeepsTheMtuOfItsRoutesAndWritesNothing) {
  Lab& lab = make_mesh_of(1500);
  narrow(lab, 1400);
  ASSERT_TRUE(wait_for_path_mtu(lab, 1400));
  const std::string prefix = plan::prefix(2, family()).to_string();
  const auto route = [&] {
    return lab[0].must(
        {"ip", family() == Family::kIpv4 ? "-4" : "-6", "route", "show", "table", "5182", prefix});
  };
  const std::string before = route();
  EXPECT_THAT(before, testing::HasSubstr("mtu "));
  lab[0].restart();
  ASSERT_TRUE(lab[0].wait_for_state("node-b", "encrypted", kSoon));
  EXPECT_EQ(route(), before);
  ASSERT_TRUE(wait_for_path_mtu(lab, 1400));
  EXPECT_EQ(route(), before);
}

TEST_P(Mtu, AFixedMtuIsNotMeasured) {
  LabSpec wanted = spec(2);
  Lab& lab = make(wanted);
  lab[0].configure("wireguard: {mtu: 1300}");
  lab.start_all();
  ASSERT_TRUE(lab.wait_all_encrypted({}, kSoon));
  EXPECT_EQ(number(lab[0], "node-b", "mtu"), 1300U);
  EXPECT_EQ(number(lab[0], "node-b", "pathMtu"), std::nullopt);
  EXPECT_THAT(lab[0].peer("node-b")["mtuReason"].get<std::string>(),
              testing::HasSubstr("wireguard.mtu"));
}

}  // namespace
}  // namespace mesh::lab
