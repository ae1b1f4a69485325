// WireGuard devices and peers as values: what a device says of itself, and the change asked of it.
// Any thread.
//
// Source: linux/wireguard.h (generic netlink) and the cross-platform userspace interface; both
// backends speak these types.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mesh/clock.h"
#include "mesh/ip.h"
#include "mesh/public_key.h"

namespace mesh {

enum class Backend { kNone, kKernel, kUserspace };
std::string_view to_string(Backend backend);  // "none", "kernel", "userspace"

struct WgPeer {
  PublicKey key;
  std::optional<Endpoint> endpoint;  // configured, or learned by roaming
  std::vector<Cidr> allowed_ips;     // sorted
  std::uint16_t keepalive = 0;       // seconds; 0: off
  std::optional<WallTime> last_handshake;
  std::uint64_t rx_bytes = 0;  // includes WireGuard's own keepalives and handshakes
  std::uint64_t tx_bytes = 0;
  friend bool operator==(const WgPeer&, const WgPeer&) = default;
};

struct WgDevice {
  std::string name;
  int ifindex = 0;
  PublicKey public_key;  // zero: the device has no private key
  std::uint16_t listen_port = 0;
  std::uint32_t fwmark = 0;
  std::vector<WgPeer> peers;  // each key once, however many messages it came in
};

// One peer's difference. Fields left empty stay as they are; AllowedIPs are never replaced as a
// list, because packets are lost between the clearing and the filling.
struct WgPeerChange {
  PublicKey key;
  bool remove = false;  // with it every other field is ignored
  bool anew = false;    // removed and made again in one message: its sessions go, and all not named
  bool update_only = false;  // do not create the peer when it is not there
  std::optional<Endpoint> endpoint;
  std::optional<std::uint16_t> keepalive;  // seconds
  // Send something to the peer now, which starts a handshake when there is no session: keepalive
  // off, then on again with `keepalive` (or 25 when empty), and off again when that is 0; in one
  // message.
  bool kick = false;
  std::vector<Cidr> add_allowed_ips;  // taken in one step from whichever peer holds them
  std::vector<Cidr>
      remove_allowed_ips;  // only those this peer holds now; the others are left alone
  friend bool operator==(const WgPeerChange&, const WgPeerChange&) = default;
};

// Fields left empty stay as they are.
struct WgDeviceChange {
  bool set_private_key =
      false;  // the key itself is given to the data plane once, never through a plan
  std::optional<std::uint16_t> listen_port;
  std::optional<std::uint32_t> fwmark;
  friend bool operator==(const WgDeviceChange&, const WgDeviceChange&) = default;
};

}  // namespace mesh
