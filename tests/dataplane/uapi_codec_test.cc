#include "meshd/dataplane/uapi_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mesh {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

PublicKey key(std::uint8_t byte) {
  std::array<std::uint8_t, 32> bytes{};
  bytes.fill(byte);
  return PublicKey(bytes);
}

std::string hex(std::string_view byte) {
  std::string text;
  for (int i = 0; i < 32; ++i) text += byte;
  return text;
}

Cidr cidr(std::string_view text) { return *Cidr::parse(text); }

Result<WgDevice> decode(std::string_view text) {
  UapiDecoder decoder;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (auto added = decoder.add(text.substr(0, end)); !added) return added.error();
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return std::move(decoder).finish();
}

TEST(UapiEncoding, DeviceHasOnlyWhatChanges) {
  WgDeviceChange change;
  EXPECT_EQ(encode_uapi_device(change, nullptr), "set=1\n\n");
  change.listen_port = 51820;
  change.fwmark = 0x2000;
  EXPECT_EQ(encode_uapi_device(change, nullptr), "set=1\nlisten_port=51820\nfwmark=8192\n\n");
}

TEST(UapiEncoding, PeerSaysWhatChangesAndEndpointLast) {
  WgPeerChange change;
  change.key = key(0xab);
  EXPECT_EQ(encode_uapi_peer(change), "public_key=" + hex("ab") + "\n");
  change.update_only = true;
  change.keepalive = 25;
  change.endpoint = *Endpoint::parse("[2001:db8::1]:51820");
  change.add_allowed_ips = {cidr("10.1.0.0/24"), cidr("fd00::/64")};
  EXPECT_EQ(encode_uapi_peer(change),
            "public_key=" + hex("ab") +
                "\nupdate_only=true\nallowed_ip=10.1.0.0/24\nallowed_ip=fd00::/64\n"
                "persistent_keepalive_interval=25\nendpoint=[2001:db8::1]:51820\n");
}

TEST(UapiEncoding, NeverReplacesAList) {
  WgPeerChange change;
  change.key = key(1);
  change.kick = true;
  change.remove_allowed_ips = {cidr("10.1.0.0/24")};
  EXPECT_THAT(encode_uapi_peer(change), Not(HasSubstr("replace")));
}

TEST(UapiEncoding, RemovalIsAlone) {
  WgPeerChange change;
  change.key = key(0xab);
  change.remove = true;
  change.keepalive = 5;
  EXPECT_EQ(encode_uapi_peer(change), "public_key=" + hex("ab") + "\nremove=true\n");
}

TEST(UapiEncoding, KickTurnsTheKeepaliveOffAndOn) {
  WgPeerChange change;
  change.key = key(0xab);
  change.kick = true;
  change.endpoint = *Endpoint::parse("192.0.2.1:1");
  EXPECT_EQ(
      encode_uapi_peer(change),
      "public_key=" + hex("ab") + "\npersistent_keepalive_interval=0\nendpoint=192.0.2.1:1\n" +
          "public_key=" + hex("ab") + "\nupdate_only=true\npersistent_keepalive_interval=25\n");
}

TEST(UapiDecoding, ReadsDeviceAndPeers) {
  const auto device = decode(
      "listen_port=51820\nfwmark=8192\npublic_key=" + hex("aa") + "\npreshared_key=" + hex("00") +
      "\nprotocol_version=1\nendpoint=[2001:db8::1]:51820\nlast_handshake_time_sec=1795000000\n"
      "last_handshake_time_nsec=5\ntx_bytes=148\nrx_bytes=18446744073709551615\n"
      "persistent_keepalive_interval=25\nallowed_ip=fd00::/64\nallowed_ip=10.0.0.0/24\n"
      "public_key=" +
      hex("bb") + "\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\nerrno=0\n\n");
  ASSERT_TRUE(device);
  EXPECT_EQ(device->listen_port, 51820);
  EXPECT_EQ(device->fwmark, 8192U);
  ASSERT_THAT(device->peers, SizeIs(2));
  const WgPeer& peer = device->peers[0];
  EXPECT_EQ(peer.key, key(0xaa));
  EXPECT_EQ(peer.endpoint, *Endpoint::parse("[2001:db8::1]:51820"));
  EXPECT_EQ(peer.last_handshake, WallTime(Duration(1'795'000'000'000'000'005)));
  EXPECT_EQ(peer.tx_bytes, 148U);
  EXPECT_EQ(peer.rx_bytes, ~std::uint64_t{0});
  EXPECT_EQ(peer.keepalive, 25);
  EXPECT_THAT(peer.allowed_ips, ElementsAre(cidr("10.0.0.0/24"), cidr("fd00::/64")));
  EXPECT_FALSE(device->peers[1].last_handshake);
  EXPECT_FALSE(device->peers[1].endpoint);
}

TEST(UapiDecoding, DerivesThePublicKeyThatIsNotTold) {
  // RFC 7748 section 6.1: Alice's keys.
  const auto device = decode(
      "private_key=77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a\nerrno=0\n\n");
  ASSERT_TRUE(device);
  EXPECT_EQ(device->public_key.to_base64(), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
}

TEST(UapiDecoding, DeviceWithoutAKeyHasNone) {
  const auto device = decode("listen_port=1\nerrno=0\n\n");
  ASSERT_TRUE(device);
  EXPECT_TRUE(device->public_key.is_zero());
}

TEST(UapiDecoding, UnknownKeysAreIgnored) {
  const auto device =
      decode("colour=blue\npublic_key=" + hex("aa") + "\nshape=round\nerrno=0\nlater=1\n\n");
  ASSERT_TRUE(device);
  EXPECT_THAT(device->peers, SizeIs(1));
}

TEST(UapiDecoding, ZoneOfALinkLocalEndpointIsDropped) {
  const auto device =
      decode("public_key=" + hex("aa") + "\nendpoint=[fe80::1%eth0]:9\nerrno=0\n\n");
  ASSERT_TRUE(device);
  EXPECT_EQ(device->peers[0].endpoint, *Endpoint::parse("[fe80::1]:9"));
}

TEST(UapiDecoding, ErrnoIsTheError) {
  const auto refused = decode("errno=-98\n\n");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
  EXPECT_EQ(refused.error().sys_errno, 98);
}

TEST(UapiDecoding, RefusesWhatTheInterfaceDoesNotSay) {
  const std::string peer = "public_key=" + hex("aa") + "\n";
  for (const std::string& text : {
           std::string(""),
           std::string("errno=0\n"),
           std::string("\n"),
           std::string("garbage\n\n"),
           std::string("errno=\n\n"),
           std::string("errno=0x\n\n"),
           std::string("errno=99999999999999999999\n\n"),
           std::string("errno=-70000\n\n"),
           std::string("private_key=zz\nerrno=0\n\n"),
           "private_key=" + hex("0g") + "\nerrno=0\n\n",
           std::string("listen_port=70000\nerrno=0\n\n"),
           std::string("listen_port=-1\nerrno=0\n\n"),
           std::string("fwmark=0x10\nerrno=0\n\n"),
           std::string("public_key=\nerrno=0\n\n"),
           "public_key=" + hex("aa") + "a\nerrno=0\n\n",
           peer + "endpoint=nowhere\nerrno=0\n\n",
           peer + "endpoint=]%:1\nerrno=0\n\n",
           peer + "allowed_ip=10.0.0.0/33\nerrno=0\n\n",
           peer + "rx_bytes=1 \nerrno=0\n\n",
           peer + "last_handshake_time_sec=-1\nerrno=0\n\n",
           peer + "last_handshake_time_sec=9223372036854775807\nerrno=0\n\n",
           peer + "last_handshake_time_nsec=1000000000\nerrno=0\n\n",
           peer + "persistent_keepalive_interval=65536\nerrno=0\n\n",
           std::string("errno=0\n\nmore=1\n"),
       }) {
    const auto device = decode(text);
    ASSERT_FALSE(device) << text;
    EXPECT_EQ(device.error().code, ErrorCode::kInvalid) << text;
  }
}

TEST(UapiDecoding, ErrorsNeverQuoteAPrivateKey) {
  const auto device = decode("private_key=" + hex("5e") + "zz\nerrno=0\n\n");
  ASSERT_FALSE(device);
  EXPECT_THAT(device.error().message, Not(HasSubstr("5e5e")));
}

TEST(UapiDecoding, RepeatedHandshakeLinesReplaceEachOther) {
  std::string text = "public_key=" + hex("aa") + "\n";
  for (int i = 0; i < 3; ++i) text += "last_handshake_time_sec=8999999999\n";
  const auto device = decode(text + "errno=0\n\n");
  ASSERT_TRUE(device);
  EXPECT_EQ(device->peers[0].last_handshake, WallTime(std::chrono::seconds(8'999'999'999)));
}

}  // namespace
}  // namespace mesh
