// WireGuard's cross-platform userspace interface as text: requests from changes, a device from an
// answer. Pure; one thread at a time.
//
// Source: https://www.wireguard.com/xplatform/ and wireguard-go 0.0.20220316, Debian 12's. Keys are
// hexadecimal there, numbers decimal.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "mesh/private_key.h"
#include "mesh/wireguard.h"

namespace mesh {

inline constexpr std::string_view kUapiGet = "get=1\n\n";

// Precondition: `key` is there when the change sets it. The text then holds the key: wipe() it.
std::string encode_uapi_device(const WgDeviceChange& change, const PrivateKey* key);
void wipe(std::string& secret);

// One change's block of a set request, which is "set=1\n", blocks, "\n". Ignores remove_allowed_ips
// (wireguard_changes.h).
std::string encode_uapi_peer(const WgPeerChange& change);

// Reads an answer to get or set, line by line. A line that holds the private key is used only to
// derive the device's public key, which the interface does not tell.
class UapiDecoder {
 public:
  // One line without its newline. kInvalid: not what the interface says; the decoder is then of no
  // further use. The error never quotes the line.
  Result<void> add(std::string_view line);
  // The empty line that ends every answer was read.
  bool done() const { return done_; }
  // kInvalid when the answer did not end, or the error of its "errno=" line.
  Result<WgDevice> finish() &&;

 private:
  Result<void> add_device(std::string_view key, std::string_view value);
  Result<void> add_peer(std::string_view key, std::string_view value, WgPeer& peer);

  WgDevice device_;
  std::unordered_map<PublicKey, std::size_t> index_;  // into device_.peers
  std::optional<std::size_t> current_;                // the peer whose block we are in
  std::int64_t handshake_seconds_ = 0;                // of the current peer; they come in two lines
  std::int64_t handshake_nanoseconds_ = 0;
  std::int64_t errno_ = 0;
  bool has_errno_ = false;
  bool done_ = false;
};

}  // namespace mesh
