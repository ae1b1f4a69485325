// The status of the contract's example, and larger ones, for every test that shows or serves one.
#pragma once

#include "core/status.h"

namespace mesh::test {

inline WallTime at(std::string_view text) { return parse_time(text).value(); }

inline PublicKey sample_key(std::uint8_t seed) {
  std::array<std::uint8_t, PublicKey::kSize> bytes{};
  bytes.fill(seed);
  return PublicKey(bytes);
}

inline PeerStatus encrypted_peer(const std::string& name, std::uint8_t seed) {
  PeerStatus peer;
  peer.node = name;
  peer.state = State::kEncrypted;
  peer.path = Path::kWireguard;
  peer.since = at("2026-11-22T15:00:01Z");
  peer.backend = Backend::kKernel;
  peer.public_key = sample_key(seed);
  peer.endpoint = Endpoint{IpAddress::v4(0xC0000200U + seed), 51820};
  peer.addresses = {IpAddress::v4(0xC0000200U + seed)};
  peer.cidrs = {Cidr(IpAddress::v4(0x0A000000U + (std::uint32_t{seed} << 16U)), 24)};
  peer.labels = {{"role", "web"}};
  peer.last_handshake = at("2026-11-22T15:00:01Z");
  peer.rx_bytes = 1234;
  peer.tx_bytes = 5'000'000;
  peer.path_mtu = 1500;
  peer.mtu = 1440;
  return peer;
}

inline PeerStatus plaintext_peer(const std::string& name) {
  PeerStatus peer;
  peer.node = name;
  peer.state = State::kPlaintext;
  peer.reason = Reason::kPeerUnsupported;
  peer.detail = "it has no WireGuard: no /dev/net/tun";
  peer.path = Path::kPlaintext;
  peer.since = at("2026-11-22T14:00:00Z");
  peer.backend = Backend::kNone;
  peer.plaintext_rx_bytes = 2048;
  peer.plaintext_tx_bytes = 1024;
  peer.mtu_reason = "not measured: nothing is sent to it through WireGuard";
  peer.warnings = {"10.9.0.0/16 is refused: node-b has it"};
  peer.downgrade = Downgrade{at("2026-11-22T14:00:00Z"), Reason::kPeerUnsupported, false};
  return peer;
}

// node-a with two encrypted peers and one in plaintext, at 2026-11-22T15:01:32Z.
inline constexpr std::string_view kSampleNow = "2026-11-22T15:01:32Z";
inline Status sample_status() {
  Status status;
  status.node = "node-a";
  status.version = "0.1.0";
  status.backend = Backend::kKernel;
  status.interface = "mesh0";
  status.addresses = {IpAddress::v4(0xC0000201U)};
  status.cidrs = {Cidr(IpAddress::v4(0x0A010000U), 24)};
  status.public_key = sample_key(1);
  status.key_created = at("2026-11-22T14:00:00Z");
  status.listen_port = 51820;
  status.store = {"directory", true, at("2026-11-22T15:00:00Z"), "", {}};
  status.last_reconcile = at("2026-11-22T15:00:02Z");
  status.peers = {encrypted_peer("node-b", 2), plaintext_peer("node-c"),
                  encrypted_peer("node-d", 4)};
  return status;
}

}  // namespace mesh::test
