// The WireGuard generic netlink family as bytes: requests from changes, a device from a dump. Pure;
// one thread at a time.
//
// Source: linux/wireguard.h. Separate from the transport, so that every byte can be tested and the
// decoder fuzzed.
#pragma once

#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "mesh/private_key.h"
#include "mesh/wireguard.h"
#include "meshd/dataplane/netlink_message.h"

namespace mesh {

// A message's size limit. The nest of peers has a 16-bit length, so 64 KiB is the end; beyond half
// of it nothing is gained.
inline constexpr std::size_t kWgMessageLimit = std::size_t{32} * 1024;

// The device a request is for: its name, at most 15 bytes, and the family's number on this kernel.
struct WgTarget {
  std::uint16_t family = 0;
  std::string_view name;
};

// To be sent as a dump; needs CAP_NET_ADMIN.
NetlinkMessage encode_get_device(const WgTarget& target);

// Precondition: `key` is there when the change sets it. The message is wiped when it dies.
NetlinkMessage encode_device(const WgTarget& target, const WgDeviceChange& change,
                             const PrivateKey* key);

struct WgPeerMessage {
  NetlinkMessage message;
  std::size_t first = 0;  // the changes it has a part of: first to last, inclusive
  std::size_t last = 0;
};

// Peers in order, as many to a message as fit in `limit` bytes (raised to what one AllowedIP needs;
// at most kWgMessageLimit). A peer is split only when it does not fit in a message of its own: then
// its AllowedIPs come first, over as many messages as it takes, and keepalive and endpoint in the
// last, so that no handshake starts before the peer may use it. Every part behind the first is
// update-only: a peer that was refused or removed meanwhile is not made again by its own rest.
// Ignores remove_allowed_ips (wireguard_changes.h). Never replaces a list.
std::vector<WgPeerMessage> encode_peers(const WgTarget& target,
                                        std::span<const WgPeerChange> changes,
                                        std::size_t limit = kWgMessageLimit);

// Joins the messages of one dump. The private key is not read, nor is any preshared key.
class WgDeviceDecoder {
 public:
  // kInvalid: the message is malformed; the decoder is then of no further use.
  Result<void> add(const nlmsghdr& message);
  // kNotFound when no message came.
  Result<WgDevice> finish() &&;

 private:
  Result<void> add_peer(Bytes attributes);

  WgDevice device_;
  std::unordered_map<PublicKey, std::size_t> index_;  // into device_.peers
  bool any_ = false;
};

}  // namespace mesh
