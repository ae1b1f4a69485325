#include "meshd/dataplane/uapi_codec.h"

#include <sodium.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <iterator>

#include "meshd/dataplane/errors.h"
#include "meshd/dataplane/wireguard_changes.h"

namespace mesh {
namespace {

using Key = std::array<std::uint8_t, PublicKey::kSize>;

constexpr std::size_t kHexSize = PublicKey::kSize * 2;

// Constant time, unlike a table: private keys go through it.
void append_hex(std::string& text, std::span<const std::uint8_t, PublicKey::kSize> bytes) {
  std::array<char, kHexSize + 1> hex{};
  sodium_bin2hex(hex.data(), hex.size(), bytes.data(), bytes.size());
  text.append(hex.data(), kHexSize);
  explicit_bzero(hex.data(), hex.size());
}

bool decode_hex(std::string_view hex, Key& bytes) {
  std::size_t size = 0;
  return hex.size() == kHexSize &&
         sodium_hex2bin(bytes.data(), bytes.size(), hex.data(), hex.size(), nullptr, &size,
                        nullptr) == 0 &&
         size == bytes.size();
}

Error malformed(std::string_view what) {
  return make_error(ErrorCode::kInvalid, "the userspace WireGuard's answer is malformed: {}", what);
}

template <class T>
Result<void> store_number(std::string_view text, T& target, std::string_view what) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return malformed(what);
  target = value;
  return {};
}

Result<void> store_public_key_of(std::string_view hex_private_key, PublicKey& target) {
  if (sodium_init() < 0) return make_error(ErrorCode::kInternal, "libsodium does not start");
  Key secret{};
  Key derived{};
  const bool ok = decode_hex(hex_private_key, secret) &&
                  crypto_scalarmult_curve25519_base(derived.data(), secret.data()) == 0;
  explicit_bzero(secret.data(), secret.size());
  if (!ok) return malformed("a private key");
  target = PublicKey(derived);
  return {};
}

// As the kernel's interface does, without the zone of a link-local address.
Result<Endpoint> parse_endpoint(std::string_view text) {
  const std::size_t zone = text.find('%');
  const std::size_t bracket = text.find(']');
  if (zone == std::string_view::npos || bracket == std::string_view::npos || zone > bracket)
    return Endpoint::parse(text);
  return Endpoint::parse(std::string(text.substr(0, zone)).append(text.substr(bracket)));
}

constexpr std::int64_t kMaxSeconds = 9'000'000'000;  // a WallTime's end, in 2255

}  // namespace

void wipe(std::string& secret) {
  explicit_bzero(secret.data(), secret.size());
  secret.clear();
}

std::string encode_uapi_device(const WgDeviceChange& change, const PrivateKey* key) {
  std::string text;
  text.reserve(256);  // never outgrown: no unwiped copy stays behind
  text += "set=1\n";
  if (change.set_private_key && key != nullptr) {
    text += "private_key=";
    append_hex(text, key->reveal());
    text += '\n';
  }
  const auto out = std::back_inserter(text);
  if (change.listen_port) fmt::format_to(out, "listen_port={}\n", *change.listen_port);
  if (change.fwmark) fmt::format_to(out, "fwmark={}\n", *change.fwmark);
  text += '\n';
  return text;
}

std::string encode_uapi_peer(const WgPeerChange& change) {
  std::string text = "public_key=";
  append_hex(text, change.key.bytes());
  text += '\n';
  if (change.remove) return text += "remove=true\n";

  const std::string head = text;
  if (change.anew) text += "remove=true\n" + head;
  const auto out = std::back_inserter(text);
  if (change.update_only) text += "update_only=true\n";
  for (const Cidr& prefix : change.add_allowed_ips)
    fmt::format_to(out, "allowed_ip={}\n", prefix.to_string());
  if (change.kick)
    text += "persistent_keepalive_interval=0\n";
  else if (change.keepalive)
    fmt::format_to(out, "persistent_keepalive_interval={}\n", *change.keepalive);
  if (change.endpoint) fmt::format_to(out, "endpoint={}\n", change.endpoint->to_string());
  // A keepalive is sent when a block ends that turned the interval from 0 to anything.
  if (change.kick)
    for (const std::uint16_t keepalive : keepalives_of_kick(change))
      fmt::format_to(out, "{}update_only=true\npersistent_keepalive_interval={}\n", head,
                     keepalive);
  return text;
}

Result<void> UapiDecoder::add(std::string_view line) {
  if (done_) return malformed("more after its end");
  if (line.empty()) {
    done_ = true;
    return {};
  }
  const std::size_t equals = line.find('=');
  if (equals == std::string_view::npos) return malformed("a line without '='");
  const std::string_view key = line.substr(0, equals);
  const std::string_view value = line.substr(equals + 1);
  if (key == "errno") {
    has_errno_ = true;
    return store_number(value, errno_, "errno");
  }
  if (key == "public_key") {
    Key bytes{};
    if (!decode_hex(value, bytes)) return malformed("a public key");
    const auto [place, is_new] = index_.try_emplace(PublicKey(bytes), device_.peers.size());
    if (is_new) device_.peers.emplace_back().key = PublicKey(bytes);
    current_ = place->second;
    handshake_seconds_ = 0;
    handshake_nanoseconds_ = 0;
    return {};
  }
  return current_ ? add_peer(key, value, device_.peers[*current_]) : add_device(key, value);
}

Result<void> UapiDecoder::add_device(std::string_view key, std::string_view value) {
  if (key == "private_key") return store_public_key_of(value, device_.public_key);
  if (key == "listen_port") return store_number(value, device_.listen_port, "a port");
  if (key == "fwmark") return store_number(value, device_.fwmark, "a mark");
  return {};
}

Result<void> UapiDecoder::add_peer(std::string_view key, std::string_view value, WgPeer& peer) {
  if (key == "endpoint") {
    const Result<Endpoint> endpoint = parse_endpoint(value);
    if (!endpoint) return malformed("an endpoint");
    peer.endpoint = *endpoint;
    return {};
  }
  if (key == "allowed_ip") {
    const Result<Cidr> prefix = Cidr::parse(value);
    if (!prefix) return malformed("an AllowedIP");
    peer.allowed_ips.push_back(*prefix);
    return {};
  }
  if (key == "last_handshake_time_sec" || key == "last_handshake_time_nsec") {
    const bool whole = key.ends_with("_sec");
    std::int64_t number = 0;
    if (auto stored = store_number(value, number, "a handshake time"); !stored) return stored;
    if (number < 0 || number > (whole ? kMaxSeconds : 999'999'999))
      return malformed("a handshake time");
    (whole ? handshake_seconds_ : handshake_nanoseconds_) = number;
    peer.last_handshake.reset();  // both zero: never
    if (handshake_seconds_ != 0 || handshake_nanoseconds_ != 0)
      peer.last_handshake = WallTime(std::chrono::seconds(handshake_seconds_) +
                                     std::chrono::nanoseconds(handshake_nanoseconds_));
    return {};
  }
  if (key == "persistent_keepalive_interval")
    return store_number(value, peer.keepalive, "a keepalive interval");
  if (key == "rx_bytes") return store_number(value, peer.rx_bytes, "a byte counter");
  if (key == "tx_bytes") return store_number(value, peer.tx_bytes, "a byte counter");
  return {};
}

Result<WgDevice> UapiDecoder::finish() && {
  if (!done_ || !has_errno_) return malformed("it ends too early");
  if (errno_ < -4095 || errno_ > 4095) return malformed("errno");
  if (errno_ != 0)
    return error_from_errno(static_cast<int>(errno_ < 0 ? -errno_ : errno_),
                            "the userspace WireGuard refuses");
  for (WgPeer& peer : device_.peers) std::sort(peer.allowed_ips.begin(), peer.allowed_ips.end());
  return std::move(device_);
}

}  // namespace mesh
