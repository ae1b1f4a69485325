#include "meshd/dataplane/wireguard_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/genetlink.h>
#include <linux/wireguard.h>
#include <netinet/in.h>

#include <map>
#include <random>
#include <set>

#include "meshd/dataplane/wireguard_changes.h"

namespace mesh {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using Octets = std::vector<std::uint8_t>;

constexpr WgTarget kTarget{0x21, "mesh0"};

PublicKey key(std::uint8_t first) {
  std::array<std::uint8_t, 32> bytes{};
  bytes[0] = first;
  bytes[31] = 0x42;
  return PublicKey(bytes);
}

Cidr cidr(std::string_view text) { return *Cidr::parse(text); }
Endpoint endpoint(std::string_view text) { return *Endpoint::parse(text); }

Octets operator+(Octets left, const Octets& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

Octets key_octets(std::uint8_t first) {
  const PublicKey value = key(first);
  return {value.bytes().begin(), value.bytes().end()};
}

// Behind nlmsghdr, whose sequence and port are the transport's.
Octets payload_of(NetlinkMessage& message) {
  const Bytes bytes = message.bytes();
  return {bytes.begin() + NLMSG_HDRLEN, bytes.end()};
}

const Octets kSetHeader = {1, 1, 0, 0};  // WG_CMD_SET_DEVICE, version 1
const Octets kName = {10, 0, 2, 0, 'm', 'e', 's', 'h', '0', 0, 0, 0};

TEST(WireguardEncoding, AsksForADeviceByName) {
  NetlinkMessage message = encode_get_device(kTarget);
  EXPECT_EQ(payload_of(message), Octets({0, 1, 0, 0}) + kName);
  EXPECT_EQ(message.header().nlmsg_type, 0x21);
}

TEST(WireguardEncoding, DeviceHasOnlyWhatChanges) {
  WgDeviceChange change;
  change.listen_port = 51820;
  NetlinkMessage port = encode_device(kTarget, change, nullptr);
  EXPECT_EQ(payload_of(port), kSetHeader + kName + Octets({6, 0, 6, 0, 0x6c, 0xca, 0, 0}));

  WgDeviceChange mark;
  mark.fwmark = 0x2000;
  NetlinkMessage message = encode_device(kTarget, mark, nullptr);
  EXPECT_EQ(payload_of(message), kSetHeader + kName + Octets({8, 0, 7, 0, 0, 0x20, 0, 0}));
}

TEST(WireguardEncoding, PeerAttributesAreByteForByteWhatTheHeaderSays) {
  WgPeerChange change;
  change.key = key(7);
  change.keepalive = 25;
  change.endpoint = endpoint("192.0.2.1:51820");
  change.add_allowed_ips = {cidr("10.1.0.0/24"), cidr("fd00::/64")};
  auto messages = encode_peers(kTarget, {&change, 1});
  ASSERT_THAT(messages, SizeIs(1));
  const Octets allowed_ip4 = {28, 0, 0, 0x80,                // nested, index 0
                              6,  0, 1, 0,    2,  0, 0, 0,   // family
                              8,  0, 2, 0,    10, 1, 0, 0,   // address
                              5,  0, 3, 0,    24, 0, 0, 0};  // length
  const Octets allowed_ip6 =
      Octets({40, 0, 0, 0x80, 6, 0, 1, 0, 10, 0, 0, 0, 20, 0, 2, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0}) +
      Octets({0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 3, 0, 64, 0, 0, 0});
  const Octets peer = Octets({36, 0, 1, 0}) + key_octets(7) +                  // key
                      Octets({8, 0, 3, 0, 0, 0, 0, 0}) +                       // flags: none
                      Octets({72, 0, 9, 0x80}) + allowed_ip4 + allowed_ip6 +   // AllowedIPs
                      Octets({6, 0, 5, 0, 25, 0, 0, 0}) +                      // keepalive
                      Octets({20, 0, 4, 0, 2, 0, 0xca, 0x6c, 192, 0, 2, 1}) +  // endpoint
                      Octets(8, 0);
  const auto size = static_cast<std::uint8_t>(peer.size() + 4);
  EXPECT_EQ(payload_of(messages[0].message),
            kSetHeader + kName + Octets({static_cast<std::uint8_t>(size + 4), 0, 8, 0x80}) +
                Octets({size, 0, 0, 0x80}) + peer);
}

TEST(WireguardEncoding, RemovalIsKeyAndFlagAlone) {
  WgPeerChange change;
  change.key = key(9);
  change.remove = true;
  change.keepalive = 5;
  change.add_allowed_ips = {cidr("10.0.0.0/8")};
  auto messages = encode_peers(kTarget, {&change, 1});
  ASSERT_THAT(messages, SizeIs(1));
  EXPECT_EQ(payload_of(messages[0].message),
            kSetHeader + kName + Octets({52, 0, 8, 0x80, 48, 0, 0, 0x80, 36, 0, 1, 0}) +
                key_octets(9) + Octets({8, 0, 3, 0, WGPEER_F_REMOVE_ME, 0, 0, 0}));
}

// A device that does with set messages what drivers/net/wireguard/netlink.c does.
class ModelDevice {
 public:
  struct Peer {
    std::optional<Octets> endpoint;
    std::uint16_t keepalive = 0;
    std::set<Octets> allowed_ips;
    int keepalives_sent = 0;
    friend bool operator==(const Peer&, const Peer&) = default;
  };

  void apply(NetlinkMessage& message) {
    AttributeReader reader(attributes_of(message.header(), GENL_HDRLEN));
    while (const auto attribute = reader.next()) {
      EXPECT_NE(attribute->type, WGDEVICE_A_FLAGS) << "never replaces the peers";
      if (attribute->type != WGDEVICE_A_PEERS) continue;
      AttributeReader list(attribute->payload);
      while (const auto peer = list.next()) apply_peer(peer->payload);
      EXPECT_FALSE(list.malformed());
    }
    EXPECT_FALSE(reader.malformed());
  }

  std::map<PublicKey, Peer> peers;

 private:
  void apply_peer(Bytes attributes) {
    std::map<std::uint16_t, Bytes> values;
    AttributeReader reader(attributes);
    while (const auto attribute = reader.next()) values[attribute->type] = attribute->payload;
    ASSERT_FALSE(reader.malformed());
    ASSERT_EQ(values[WGPEER_A_PUBLIC_KEY].size(), 32U);
    std::array<std::uint8_t, 32> bytes{};
    std::copy(values[WGPEER_A_PUBLIC_KEY].begin(), values[WGPEER_A_PUBLIC_KEY].end(),
              bytes.begin());
    const PublicKey name(bytes);
    const auto flags = NetlinkAttribute{0, values[WGPEER_A_FLAGS]}.as<std::uint32_t>().value_or(0);
    ASSERT_EQ(flags & WGPEER_F_REPLACE_ALLOWEDIPS, 0U) << "never replaces AllowedIPs";
    if (!peers.contains(name) && (flags & (WGPEER_F_REMOVE_ME | WGPEER_F_UPDATE_ONLY)) != 0) return;
    if ((flags & WGPEER_F_REMOVE_ME) != 0) {
      peers.erase(name);
      return;
    }
    Peer& peer = peers[name];
    if (values.contains(WGPEER_A_ENDPOINT))
      peer.endpoint = Octets(values[WGPEER_A_ENDPOINT].begin(), values[WGPEER_A_ENDPOINT].end());
    AttributeReader prefixes(values[WGPEER_A_ALLOWEDIPS]);
    while (const auto prefix = prefixes.next()) {
      const Octets octets(prefix->payload.begin(), prefix->payload.end());
      for (auto& [other, holder] : peers) holder.allowed_ips.erase(octets);
      peer.allowed_ips.insert(octets);
    }
    if (values.contains(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL)) {
      const auto interval = NetlinkAttribute{0, values[WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL]}
                                .as<std::uint16_t>()
                                .value_or(0);
      if (peer.keepalive == 0 && interval != 0) ++peer.keepalives_sent;
      peer.keepalive = interval;
    }
  }
};

ModelDevice apply_all(std::span<const WgPeerChange> changes, std::size_t limit) {
  ModelDevice device;
  std::size_t expected_first = 0;
  for (WgPeerMessage& part : encode_peers(kTarget, changes, limit)) {
    EXPECT_LE(part.message.size(), std::max<std::size_t>(limit, 160));
    EXPECT_LE(part.first, part.last);
    EXPECT_LE(part.first, expected_first) << "no change is left out";
    expected_first = part.last + 1;
    device.apply(part.message);
  }
  EXPECT_EQ(expected_first, changes.size());
  return device;
}

std::vector<WgPeerChange> random_changes(std::mt19937& random) {
  const auto roll = [&](unsigned sides) { return static_cast<unsigned>(random() % sides); };
  std::vector<WgPeerChange> changes(1 + roll(12));
  for (WgPeerChange& change : changes) {
    change.key = key(static_cast<std::uint8_t>(1 + roll(6)));
    change.remove = roll(8) == 0;
    change.update_only = roll(4) == 0;
    change.kick = roll(4) == 0;
    if (roll(2) == 0) change.keepalive = static_cast<std::uint16_t>(roll(3) * 10);
    if (change.kick && change.keepalive == 0) change.keepalive = 15;
    if (roll(2) == 0)
      change.endpoint = roll(2) == 0 ? endpoint("192.0.2.1:51820") : endpoint("[fd00::1]:1");
    for (unsigned count = roll(3) == 0 ? roll(60) : roll(4); count > 0; --count)
      change.add_allowed_ips.push_back(roll(2) == 0
                                           ? Cidr::host(IpAddress::v4(0x0a000000 + roll(50)))
                                           : cidr(fmt::format("fd00:{:x}::/64", roll(50))));
  }
  return changes;
}

TEST(WireguardEncoding, EveryBufferSizeHasTheSameEffect) {
  std::mt19937 random(20261122);
  for (int round = 0; round < 400; ++round) {
    SCOPED_TRACE(round);
    const std::vector<WgPeerChange> changes = random_changes(random);
    const ModelDevice expected = apply_all(changes, kWgMessageLimit);
    for (const std::size_t limit : {0U, 200U, 333U, 1000U, 4096U})
      EXPECT_EQ(apply_all(changes, limit).peers, expected.peers) << "limit " << limit;
  }
}

TEST(WireguardEncoding, KickTurnsTheKeepaliveOffAndOnInOneMessage) {
  std::vector<WgPeerChange> changes(2);
  changes[0].key = key(1);
  changes[0].keepalive = 10;
  changes[1].key = key(1);
  changes[1].kick = true;
  changes[1].update_only = true;
  EXPECT_THAT(encode_peers(kTarget, changes), SizeIs(1));
  const ModelDevice device = apply_all(changes, kWgMessageLimit);
  EXPECT_EQ(device.peers.at(key(1)).keepalive, kKickKeepalive);
  EXPECT_EQ(device.peers.at(key(1)).keepalives_sent, 2);
}

TEST(WireguardEncoding, KickOfAPeerWithoutKeepaliveLeavesItWithout) {
  std::vector<WgPeerChange> changes(1);
  changes[0].key = key(1);
  changes[0].kick = true;
  changes[0].keepalive = 0;
  const ModelDevice device = apply_all(changes, kWgMessageLimit);
  EXPECT_EQ(device.peers.at(key(1)).keepalive, 0);
  EXPECT_EQ(device.peers.at(key(1)).keepalives_sent, 1);
}

TEST(WireguardEncoding, APeerIsMadeAgainInOneMessage) {
  std::vector<WgPeerChange> changes(2);
  changes[0].key = key(1);
  changes[0].keepalive = 10;
  changes[1].key = key(1);
  changes[1].anew = true;
  EXPECT_THAT(encode_peers(kTarget, changes), SizeIs(1));
  const ModelDevice device = apply_all(changes, kWgMessageLimit);
  ASSERT_TRUE(device.peers.contains(key(1)));
  EXPECT_EQ(device.peers.at(key(1)).keepalive, 0) << "nothing of the old one is left";
}

TEST(WireguardEncoding, KickOfAnAbsentPeerDoesNotMakeIt) {
  WgPeerChange change;
  change.key = key(1);
  change.kick = true;
  change.update_only = true;
  EXPECT_THAT(apply_all({&change, 1}, kWgMessageLimit).peers, IsEmpty());
}

TEST(WireguardEncoding, RestOfAPeerThatWasRefusedDoesNotMakeIt) {
  WgPeerChange change;
  change.key = key(1);
  change.endpoint = endpoint("192.0.2.1:1");
  for (std::uint32_t i = 0; i < 100; ++i)
    change.add_allowed_ips.push_back(Cidr::host(IpAddress::v4(i)));
  auto messages = encode_peers(kTarget, {&change, 1}, 500);
  ASSERT_GT(messages.size(), 3U);
  ModelDevice device;
  for (std::size_t i = 1; i < messages.size(); ++i) device.apply(messages[i].message);
  EXPECT_THAT(device.peers, IsEmpty());
}

TEST(WireguardEncoding, TenThousandPeersNeedFewMessages) {
  std::vector<WgPeerChange> changes(10'000);
  for (std::uint32_t i = 0; i < changes.size(); ++i) {
    std::array<std::uint8_t, 32> bytes{};
    std::memcpy(bytes.data(), &i, sizeof i);
    changes[i].key = PublicKey(bytes);
    changes[i].endpoint = endpoint("192.0.2.1:51820");
    changes[i].add_allowed_ips = {cidr("10.0.0.0/24"), cidr("fd00::/64")};
  }
  EXPECT_LT(encode_peers(kTarget, changes).size(), 60U);
}

// A dump as the kernel writes one, cut where the test wants it cut.
class Dump {
 public:
  Dump() { begin(); }

  void begin() {
    messages_.emplace_back(std::uint16_t{0x21}, std::uint16_t{0});
    messages_.back().put_header(genlmsghdr{WG_CMD_GET_DEVICE, 1, 0});
    messages_.back().put_string(WGDEVICE_A_IFNAME, "mesh0");
  }
  NetlinkMessage& message() { return messages_.back(); }

  void put_peer(const WgPeer& peer, std::span<const Cidr> allowed_ips, bool first) {
    const auto peers = message().begin_nest(WGDEVICE_A_PEERS);
    const auto nest = message().begin_nest(0);
    message().put(WGPEER_A_PUBLIC_KEY, peer.key.bytes());
    if (first) {
      message().put(WGPEER_A_PRESHARED_KEY, std::array<std::uint8_t, 32>{});
      message().put_value(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, peer.keepalive);
      const Duration time = peer.last_handshake.value_or(WallTime()).time_since_epoch();
      const std::int64_t timespec[] = {time.count() / 1'000'000'000, time.count() % 1'000'000'000};
      message().put(WGPEER_A_LAST_HANDSHAKE_TIME, bytes_of(timespec));
      message().put_value(WGPEER_A_RX_BYTES, peer.rx_bytes);
      message().put_value(WGPEER_A_TX_BYTES, peer.tx_bytes);
      message().put_value(WGPEER_A_PROTOCOL_VERSION, std::uint32_t{1});
      message().put_value(std::uint16_t{77}, std::uint32_t{1});  // of a later kernel
      if (peer.endpoint) put_endpoint(*peer.endpoint);
    }
    const auto list = message().begin_nest(WGPEER_A_ALLOWEDIPS);
    for (const Cidr& prefix : allowed_ips) {
      const auto entry = message().begin_nest(0);
      message().put_value(WGALLOWEDIP_A_CIDR_MASK, static_cast<std::uint8_t>(prefix.length()));
      message().put_value(WGALLOWEDIP_A_FAMILY, static_cast<std::uint16_t>(to_af(prefix.family())));
      message().put(WGALLOWEDIP_A_IPADDR, prefix.base().bytes());
      message().end_nest(entry);
    }
    message().end_nest(list);
    message().end_nest(nest);
    message().end_nest(peers);
  }

  Result<WgDevice> decode() {
    WgDeviceDecoder decoder;
    for (NetlinkMessage& each : messages_)
      if (auto added = decoder.add(each.header()); !added) return added.error();
    return std::move(decoder).finish();
  }

 private:
  void put_endpoint(const Endpoint& value) {
    if (value.address.family() == Family::kIpv4) {
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(value.port);
      std::memcpy(&address.sin_addr, value.address.bytes().data(), 4);
      message().put(WGPEER_A_ENDPOINT, bytes_of(address));
    } else {
      sockaddr_in6 address{};
      address.sin6_family = AF_INET6;
      address.sin6_port = htons(value.port);
      std::memcpy(&address.sin6_addr, value.address.bytes().data(), 16);
      message().put(WGPEER_A_ENDPOINT, bytes_of(address));
    }
  }

  std::vector<NetlinkMessage> messages_;
};

TEST(WireguardDecoding, ReadsTheDeviceAndNeverItsPrivateKey) {
  Dump dump;
  dump.message().put_value(WGDEVICE_A_IFINDEX, std::uint32_t{7});
  dump.message().put_value(WGDEVICE_A_LISTEN_PORT, std::uint16_t{51820});
  dump.message().put_value(WGDEVICE_A_FWMARK, std::uint32_t{0x2000});
  dump.message().put(WGDEVICE_A_PRIVATE_KEY, key(0x99).bytes());
  dump.message().put(WGDEVICE_A_PUBLIC_KEY, key(5).bytes());
  const auto device = dump.decode();
  ASSERT_TRUE(device);
  EXPECT_EQ(device->name, "mesh0");
  EXPECT_EQ(device->ifindex, 7);
  EXPECT_EQ(device->listen_port, 51820);
  EXPECT_EQ(device->fwmark, 0x2000U);
  EXPECT_EQ(device->public_key, key(5));
}

TEST(WireguardDecoding, JoinsPeersThatWereSplitOverMessages) {
  std::mt19937 random(5);
  for (int round = 0; round < 100; ++round) {
    SCOPED_TRACE(round);
    Dump dump;
    std::vector<WgPeer> expected;
    for (std::uint8_t i = 1; i <= 5; ++i) {
      WgPeer peer;
      peer.key = key(i);
      peer.endpoint = endpoint(i % 2 == 0 ? "192.0.2.1:9" : "[2001:db8::1]:9");
      peer.keepalive = i;
      peer.rx_bytes = random();
      peer.tx_bytes = std::uint64_t{1} << 40;
      if (i != 2) peer.last_handshake = WallTime(std::chrono::milliseconds(1'795'000'000'123 + i));
      for (auto n = static_cast<std::uint32_t>(random() % 40); n > 0; --n)
        peer.allowed_ips.push_back(Cidr::host(IpAddress::v4(i * 1000U + n)));
      std::span<const Cidr> rest(peer.allowed_ips);
      bool first = true;
      do {
        if (random() % 2 == 0) dump.begin();
        const std::size_t count = std::min<std::size_t>(rest.size(), 1 + random() % 20);
        dump.put_peer(peer, rest.first(count), first);
        rest = rest.subspan(count);
        first = false;
      } while (!rest.empty());
      std::sort(peer.allowed_ips.begin(), peer.allowed_ips.end());
      expected.push_back(peer);
    }
    const auto device = dump.decode();
    ASSERT_TRUE(device);
    EXPECT_EQ(device->peers, expected);
  }
}

TEST(WireguardDecoding, NoMessageIsNoDevice) {
  const auto device = WgDeviceDecoder().finish();
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, ErrorCode::kNotFound);
}

// Every truncation of a good message is either refused or read: never a crash (run with ASan).
TEST(WireguardDecoding, SurvivesEveryTruncation) {
  WgPeer peer;
  peer.key = key(1);
  peer.endpoint = endpoint("[2001:db8::1]:9");
  peer.allowed_ips = {cidr("10.0.0.0/8"), cidr("fd00::/8")};
  Dump dump;
  dump.put_peer(peer, peer.allowed_ips, true);
  const Bytes whole = dump.message().bytes();
  for (std::size_t size = NLMSG_HDRLEN; size < whole.size(); ++size) {
    const std::unique_ptr<std::uint8_t[]> copy(new std::uint8_t[size]);  // exactly `size`, for ASan
    std::memcpy(copy.get(), whole.data(), size);
    auto& header = *reinterpret_cast<nlmsghdr*>(copy.get());
    header.nlmsg_len = static_cast<std::uint32_t>(size);
    WgDeviceDecoder decoder;
    const auto added = decoder.add(header);
    EXPECT_TRUE(added || added.error().code == ErrorCode::kInvalid);
  }
}

struct BadAttribute {
  const char* name;
  std::uint16_t type;
  Octets payload;
};

TEST(WireguardDecoding, RefusesValuesOfTheWrongSizeOrRange) {
  Octets timespec(16, 0xff);
  sockaddr_in unknown_family{};
  unknown_family.sin_family = AF_UNIX;
  const Bytes unknown = bytes_of(unknown_family);
  const BadAttribute cases[] = {
      {"short key", WGPEER_A_PUBLIC_KEY, Octets(31)},
      {"long key", WGPEER_A_PUBLIC_KEY, Octets(33)},
      {"short endpoint", WGPEER_A_ENDPOINT, Octets(8)},
      {"endpoint of no family", WGPEER_A_ENDPOINT, Octets(16)},
      {"endpoint of another family", WGPEER_A_ENDPOINT, Octets(unknown.begin(), unknown.end())},
      {"short keepalive", WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, Octets(1)},
      {"negative handshake time", WGPEER_A_LAST_HANDSHAKE_TIME, timespec},
      {"short handshake time", WGPEER_A_LAST_HANDSHAKE_TIME, Octets(8)},
      {"short counter", WGPEER_A_RX_BYTES, Octets(4)},
      {"garbage AllowedIPs", WGPEER_A_ALLOWEDIPS, Octets({1, 2, 3})},
      {"empty AllowedIP", WGPEER_A_ALLOWEDIPS, Octets({4, 0, 0, 0x80})},
  };
  for (const BadAttribute& bad : cases) {
    Dump dump;
    const auto peers = dump.message().begin_nest(WGDEVICE_A_PEERS);
    const auto nest = dump.message().begin_nest(0);
    dump.message().put(WGPEER_A_PUBLIC_KEY, key(1).bytes());
    dump.message().put(bad.type, bad.payload);
    dump.message().end_nest(nest);
    dump.message().end_nest(peers);
    const auto device = dump.decode();
    ASSERT_FALSE(device) << bad.name;
    EXPECT_EQ(device.error().code, ErrorCode::kInvalid) << bad.name;
  }
}

TEST(WireguardDecoding, RefusesAllowedIpsLongerThanTheirFamily) {
  for (const auto& [family, size, length] :
       {std::tuple<std::uint16_t, std::size_t, std::uint8_t>{AF_INET, 4, 33},
        {AF_INET6, 16, 129},
        {AF_INET, 16, 24},
        {AF_INET6, 4, 24},
        {AF_UNIX, 4, 24}}) {
    Dump dump;
    const auto peers = dump.message().begin_nest(WGDEVICE_A_PEERS);
    const auto nest = dump.message().begin_nest(0);
    dump.message().put(WGPEER_A_PUBLIC_KEY, key(1).bytes());
    const auto list = dump.message().begin_nest(WGPEER_A_ALLOWEDIPS);
    const auto entry = dump.message().begin_nest(0);
    dump.message().put_value(WGALLOWEDIP_A_FAMILY, family);
    dump.message().put(WGALLOWEDIP_A_IPADDR, Octets(size));
    dump.message().put_value(WGALLOWEDIP_A_CIDR_MASK, length);
    for (const auto open : {entry, list, nest, peers}) dump.message().end_nest(open);
    EXPECT_FALSE(dump.decode()) << family << " " << size << "/" << int{length};
  }
}

TEST(WireguardDecoding, RefusesAPeerWithoutItsKey) {
  Dump dump;
  const auto peers = dump.message().begin_nest(WGDEVICE_A_PEERS);
  const auto nest = dump.message().begin_nest(0);
  dump.message().put_value(WGPEER_A_RX_BYTES, std::uint64_t{1});
  dump.message().end_nest(nest);
  dump.message().end_nest(peers);
  EXPECT_FALSE(dump.decode());
}

}  // namespace
}  // namespace mesh
