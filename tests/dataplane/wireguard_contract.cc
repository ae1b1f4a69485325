#include "tests/dataplane/wireguard_contract.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <optional>

namespace mesh {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

void PrintTo(const TestBackend& backend, std::ostream* out) { *out << backend.name; }

void WireguardDeviceContract::SetUp() {
  if (!sandbox::available()) GTEST_SKIP() << sandbox::why_not();
  sandbox::NetworkNamespace fresh;
  if (const std::string why_not = GetParam().why_not(); !why_not.empty())
    GTEST_SKIP() << "NOT TESTED: " << why_not;
}

namespace {

Cidr cidr(std::string_view text) { return *Cidr::parse(text); }
Endpoint endpoint(std::string_view text) { return *Endpoint::parse(text); }

PublicKey peer_key(std::uint32_t number) {
  std::array<std::uint8_t, 32> bytes{};
  std::memcpy(bytes.data(), &number, sizeof number);
  bytes[31] = 0x42;
  return PublicKey(bytes);
}

WgPeerChange change_of(const PublicKey& key) {
  WgPeerChange change;
  change.key = key;
  return change;
}

// Each change must succeed.
void change_peers(WireguardDevice& device, const std::vector<WgPeerChange>& changes) {
  const auto results = device.change_peers(changes);
  ASSERT_EQ(results.size(), changes.size());
  for (const auto& result : results) ASSERT_TRUE(result) << result.error().message;
}

WgDevice read(WireguardDevice& device) {
  auto result = device.read();
  EXPECT_TRUE(result) << result.error().message;
  return result ? *result : WgDevice();
}

std::optional<WgPeer> peer_of(WireguardDevice& device, const PublicKey& key) {
  for (WgPeer& peer : read(device).peers)
    if (peer.key == key) return peer;
  return std::nullopt;
}

void configure(WireguardDevice& device, const PrivateKey& key, std::uint16_t port) {
  WgDeviceChange change;
  change.set_private_key = true;
  change.listen_port = port;
  change.fwmark = 0x2000;
  const auto result = device.configure(change, &key);
  ASSERT_TRUE(result) << result.error().message;
}

// Takes a UDP port in the current network namespace.
UniqueFd take_port(std::uint16_t port) {
  UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return fd;
}

TEST_P(WireguardDeviceContract, NewDeviceHasNoKeyAndNoPeers) {
  const auto wg = make("wga");
  const WgDevice device = read(wg->device());
  EXPECT_EQ(device.name, "wga");
  EXPECT_GT(device.ifindex, 0);
  EXPECT_TRUE(device.public_key.is_zero());
  EXPECT_THAT(device.peers, IsEmpty());
}

TEST_P(WireguardDeviceContract, SaysWhatWasConfigured) {
  const auto wg = make("wga");
  const PrivateKey key = PrivateKey::generate();
  configure(wg->device(), key, 51821);
  const WgDevice device = read(wg->device());
  EXPECT_EQ(device.public_key, key.public_key());
  EXPECT_EQ(device.listen_port, 51821);
  EXPECT_EQ(device.fwmark, 0x2000U);
}

TEST_P(WireguardDeviceContract, EmptyFieldsOfTheDeviceStayAsTheyAre) {
  const auto wg = make("wga");
  const PrivateKey key = PrivateKey::generate();
  configure(wg->device(), key, 51821);
  change_peers(wg->device(), {change_of(peer_key(1))});
  WgDeviceChange mark;
  mark.fwmark = 0;
  ASSERT_TRUE(wg->device().configure(mark, nullptr));
  const WgDevice device = read(wg->device());
  EXPECT_EQ(device.public_key, key.public_key());
  EXPECT_EQ(device.listen_port, 51821);
  EXPECT_EQ(device.fwmark, 0U);
  EXPECT_THAT(device.peers, SizeIs(1));
}

TEST_P(WireguardDeviceContract, SettingAKeyWithoutOneIsABug) {
  const auto wg = make("wga");
  WgDeviceChange change;
  change.set_private_key = true;
  const auto result = wg->device().configure(change, nullptr);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kInternal);
}

TEST_P(WireguardDeviceContract, PortInUseIsOneClearErrorAndKeepsTheOldPort) {
  const auto wg = make("wga");
  configure(wg->device(), PrivateKey::generate(), 51821);
  sandbox::set_up("wga");
  const UniqueFd other = take_port(51822);
  WgDeviceChange change;
  change.listen_port = 51822;
  const auto result = wg->device().configure(change, nullptr);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kBusy);
  EXPECT_THAT(result.error().message, HasSubstr("51822"));
  EXPECT_THAT(result.error().message, HasSubstr("wireguard.listenPort"));
  EXPECT_EQ(read(wg->device()).listen_port, 51821);
}

TEST_P(WireguardDeviceContract, SaysOfAPeerWhatWasChanged) {
  const auto wg = make("wga");
  WgPeerChange change = change_of(peer_key(1));
  change.endpoint = endpoint("[2001:db8::1]:51820");
  change.keepalive = 25;
  change.add_allowed_ips = {cidr("fd00:1::/64"), cidr("10.1.0.0/24"), cidr("10.1.0.7/32")};
  change_peers(wg->device(), {change});
  const auto peer = peer_of(wg->device(), peer_key(1));
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->endpoint, change.endpoint);
  EXPECT_EQ(peer->keepalive, 25);
  EXPECT_THAT(peer->allowed_ips,
              ElementsAre(cidr("10.1.0.0/24"), cidr("10.1.0.7/32"), cidr("fd00:1::/64")));
  EXPECT_FALSE(peer->last_handshake);
}

TEST_P(WireguardDeviceContract, EmptyFieldsOfAPeerStayAsTheyAre) {
  const auto wg = make("wga");
  WgPeerChange change = change_of(peer_key(1));
  change.endpoint = endpoint("192.0.2.1:51820");
  change.keepalive = 25;
  change.add_allowed_ips = {cidr("10.1.0.0/24")};
  WgPeerChange more = change_of(peer_key(1));
  more.add_allowed_ips = {cidr("10.2.0.0/24")};
  change_peers(wg->device(), {change, change_of(peer_key(2))});
  change_peers(wg->device(), {more});
  const auto peer = peer_of(wg->device(), peer_key(1));
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->endpoint, change.endpoint);
  EXPECT_EQ(peer->keepalive, 25);
  EXPECT_THAT(peer->allowed_ips, ElementsAre(cidr("10.1.0.0/24"), cidr("10.2.0.0/24")));
  EXPECT_TRUE(peer_of(wg->device(), peer_key(2)));
}

TEST_P(WireguardDeviceContract, AddedPrefixLeavesThePeerThatHeldIt) {
  const auto wg = make("wga");
  WgPeerChange old_owner = change_of(peer_key(1));
  old_owner.add_allowed_ips = {cidr("10.1.0.0/24"), cidr("10.3.0.0/24")};
  change_peers(wg->device(), {old_owner});
  WgPeerChange new_owner = change_of(peer_key(2));
  new_owner.add_allowed_ips = {cidr("10.1.0.0/24")};
  change_peers(wg->device(), {new_owner});
  EXPECT_THAT(peer_of(wg->device(), peer_key(1))->allowed_ips, ElementsAre(cidr("10.3.0.0/24")));
  EXPECT_THAT(peer_of(wg->device(), peer_key(2))->allowed_ips, ElementsAre(cidr("10.1.0.0/24")));
}

TEST_P(WireguardDeviceContract, RemovesSinglePrefixesAndLeavesNoTrace) {
  const auto wg = make("wga");
  WgPeerChange change = change_of(peer_key(1));
  change.endpoint = endpoint("192.0.2.1:51820");
  change.add_allowed_ips = {cidr("10.1.0.0/24"), cidr("10.1.0.0/16"), cidr("fd00:1::/64")};
  change_peers(wg->device(), {change});
  WgPeerChange removal = change_of(peer_key(1));
  removal.remove_allowed_ips = {cidr("10.1.0.0/24"), cidr("fd00:1::/64")};
  change_peers(wg->device(), {removal});
  const WgDevice device = read(wg->device());
  ASSERT_THAT(device.peers, SizeIs(1)) << "the dummy is gone";
  EXPECT_THAT(device.peers[0].allowed_ips, ElementsAre(cidr("10.1.0.0/16")));
  EXPECT_EQ(device.peers[0].endpoint, change.endpoint);
}

TEST_P(WireguardDeviceContract, NeverRemovesAPrefixThatAnotherPeerHolds) {
  const auto wg = make("wga");
  WgPeerChange holder = change_of(peer_key(2));
  holder.add_allowed_ips = {cidr("10.1.0.0/24")};
  change_peers(wg->device(), {change_of(peer_key(1)), holder});
  WgPeerChange removal = change_of(peer_key(1));
  removal.remove_allowed_ips = {cidr("10.1.0.0/24"), cidr("10.9.0.0/24")};
  change_peers(wg->device(), {removal});
  EXPECT_THAT(peer_of(wg->device(), peer_key(2))->allowed_ips, ElementsAre(cidr("10.1.0.0/24")));
  EXPECT_THAT(read(wg->device()).peers, SizeIs(2));
}

TEST_P(WireguardDeviceContract, RemovesAPeerAndOnlyThat) {
  const auto wg = make("wga");
  change_peers(wg->device(), {change_of(peer_key(1)), change_of(peer_key(2))});
  WgPeerChange removal = change_of(peer_key(1));
  removal.remove = true;
  change_peers(wg->device(), {removal});
  EXPECT_FALSE(peer_of(wg->device(), peer_key(1)));
  EXPECT_TRUE(peer_of(wg->device(), peer_key(2)));
  change_peers(wg->device(), {removal});  // what is gone already is success
}

TEST_P(WireguardDeviceContract, UpdateOnlyMakesNoPeer) {
  const auto wg = make("wga");
  WgPeerChange change = change_of(peer_key(1));
  change.update_only = true;
  change.kick = true;
  change.add_allowed_ips = {cidr("10.1.0.0/24")};
  change_peers(wg->device(), {change});
  EXPECT_THAT(read(wg->device()).peers, IsEmpty());
  change_peers(wg->device(), {change_of(peer_key(1)), change});
  EXPECT_THAT(peer_of(wg->device(), peer_key(1))->allowed_ips, SizeIs(1));
}

TEST_P(WireguardDeviceContract, KickSetsTheKeepaliveItWasGiven) {
  const auto wg = make("wga");
  WgPeerChange change = change_of(peer_key(1));
  change.kick = true;
  change_peers(wg->device(), {change});
  EXPECT_EQ(peer_of(wg->device(), peer_key(1))->keepalive, 25);
  change.keepalive = 7;
  change_peers(wg->device(), {change});
  EXPECT_EQ(peer_of(wg->device(), peer_key(1))->keepalive, 7);
}

TEST_P(WireguardDeviceContract, ThreeHundredPeersWithSeveralPrefixesEach) {
  const auto wg = make("wga");
  std::vector<WgPeerChange> changes;
  for (std::uint32_t i = 0; i < 300; ++i) {
    WgPeerChange change = change_of(peer_key(i + 1));
    change.endpoint = Endpoint{IpAddress::v4(0xc0000200 + i % 200), 51820};
    for (std::uint32_t n = 0; n < 4; ++n)
      change.add_allowed_ips.push_back(Cidr(IpAddress::v4(0x0a000000 + i * 0x400 + n * 0x100), 24));
    change.add_allowed_ips.push_back(cidr(fmt::format("fd00:{:x}::/64", i + 1)));
    changes.push_back(std::move(change));
  }
  change_peers(wg->device(), changes);
  const WgDevice device = read(wg->device());
  ASSERT_THAT(device.peers, SizeIs(300));
  for (const WgPeer& peer : device.peers) {
    const auto change = std::find_if(changes.begin(), changes.end(), [&](const WgPeerChange& each) {
      return each.key == peer.key;
    });
    ASSERT_NE(change, changes.end());
    EXPECT_EQ(peer.allowed_ips, change->add_allowed_ips);
    EXPECT_EQ(peer.endpoint, change->endpoint);
  }
}

TEST_P(WireguardDeviceContract, OnePeerWithThousandsOfPrefixes) {
  const auto wg = make("wga");
  WgPeerChange change = change_of(peer_key(1));
  change.endpoint = endpoint("192.0.2.1:51820");
  change.keepalive = 11;
  for (std::uint32_t i = 0; i < 5000; ++i)
    change.add_allowed_ips.push_back(Cidr::host(IpAddress::v4(0x0a000000 + i)));
  change_peers(wg->device(), {change_of(peer_key(2)), change, change_of(peer_key(3))});
  EXPECT_THAT(read(wg->device()).peers, SizeIs(3));
  const auto peer = peer_of(wg->device(), peer_key(1));
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->allowed_ips, change.add_allowed_ips);
  EXPECT_EQ(peer->endpoint, change.endpoint);
  EXPECT_EQ(peer->keepalive, 11);

  WgPeerChange removal = change_of(peer_key(1));
  removal.remove_allowed_ips = change.add_allowed_ips;
  change_peers(wg->device(), {removal});
  EXPECT_THAT(peer_of(wg->device(), peer_key(1))->allowed_ips, IsEmpty());
}

TEST_P(WireguardDeviceContract, VanishedDeviceIsNotFound) {
  const auto wg = make("wga");
  wg->destroy();
  const auto device = wg->device().read();
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, ErrorCode::kNotFound) << device.error().message;
  const std::vector<WgPeerChange> changes = {change_of(peer_key(1)), change_of(peer_key(2))};
  for (const auto& result : wg->device().change_peers(changes)) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kNotFound) << result.error().message;
  }
}

// Two nodes over a veth pair, each with the other as its peer.
class TwoNodes {
 public:
  explicit TwoNodes(const TestBackend& backend)
      : key_a_(PrivateKey::generate()), key_b_(PrivateKey::generate()) {
    sandbox::make_veth("veth0", "veth0", a_);  // we are in b_, which was entered last
    b = start(backend, "wgb", "192.0.2.2");
    a_.enter();
    a = start(backend, "wga", "192.0.2.1");
    configure(a->device(), key_a_, 51820);
    configure(b->device(), key_b_, 51820);
  }
  PublicKey key_a() const { return key_a_.public_key(); }
  PublicKey key_b() const { return key_b_.public_key(); }

 private:
  static std::unique_ptr<TestDevice> start(const TestBackend& backend, const std::string& name,
                                           std::string_view address) {
    sandbox::add_address("veth0", *IpAddress::parse(address), 24);
    sandbox::set_up("veth0");
    auto device = backend.make(name);
    sandbox::set_up(name);
    return device;
  }

  sandbox::NetworkNamespace a_;
  sandbox::NetworkNamespace b_;
  PrivateKey key_a_;
  PrivateKey key_b_;

 public:
  std::unique_ptr<TestDevice> a;
  std::unique_ptr<TestDevice> b;
};

TEST_P(WireguardDeviceContract, KickMakesAHandshakeWithoutTraffic) {
  TwoNodes nodes(GetParam());
  change_peers(nodes.b->device(), {change_of(nodes.key_a())});
  WgPeerChange change = change_of(nodes.key_b());
  change.endpoint = endpoint("192.0.2.2:51820");
  change.keepalive = 0;
  change_peers(nodes.a->device(), {change});
  EXPECT_FALSE(peer_of(nodes.a->device(), nodes.key_b())->last_handshake);

  WgPeerChange kick = change_of(nodes.key_b());
  kick.kick = true;
  kick.update_only = true;
  change_peers(nodes.a->device(), {kick});
  EXPECT_TRUE(sandbox::eventually([&] {
    return peer_of(nodes.a->device(), nodes.key_b())->last_handshake &&
           peer_of(nodes.b->device(), nodes.key_a())->last_handshake;
  })) << "proven on both sides";
  const auto at_b = peer_of(nodes.b->device(), nodes.key_a());
  EXPECT_EQ(at_b->endpoint, endpoint("192.0.2.1:51820")) << "learned from the handshake";
  EXPECT_GT(at_b->rx_bytes, 0U);
  EXPECT_GT(at_b->tx_bytes, 0U);
  const auto age = WallTime::clock::now() - *at_b->last_handshake;
  EXPECT_LT(age, std::chrono::minutes(1));
  EXPECT_GT(age, -std::chrono::minutes(1));
}

TEST_P(WireguardDeviceContract, NoHandshakeWithAPeerThatDoesNotKnowUs) {
  TwoNodes nodes(GetParam());
  WgPeerChange change = change_of(nodes.key_b());
  change.endpoint = endpoint("192.0.2.2:51820");
  change.kick = true;
  change_peers(nodes.a->device(), {change});
  EXPECT_TRUE(sandbox::eventually([&] {
    return peer_of(nodes.a->device(), nodes.key_b())->tx_bytes > 0;
  })) << "it tries";
  EXPECT_FALSE(peer_of(nodes.a->device(), nodes.key_b())->last_handshake);
  EXPECT_THAT(read(nodes.b->device()).peers, IsEmpty());
}

}  // namespace
}  // namespace mesh
