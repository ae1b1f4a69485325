// WireguardDevice: one WireGuard device, whichever backend runs it. The device exists already;
// making the link and setting it up is rtnetlink's business.
//
// One thread at a time. Calls block for as long as the kernel (micro- to milliseconds) or
// wireguard-go (milliseconds, bounded by a few seconds) takes. Never replaces a list where a
// difference was asked, never touches a peer that is not named.
#pragma once

#include <span>
#include <vector>

#include "mesh/private_key.h"
#include "mesh/result.h"
#include "mesh/wireguard.h"

namespace mesh {

class WireguardDevice {
 public:
  virtual ~WireguardDevice() = default;
  // Everything the device says of itself, but its private key. kNotFound: it is gone.
  virtual Result<WgDevice> read() = 0;
  // `key` is needed with set_private_key (kInternal without). kBusy: the port is in use. A device
  // that is down may take a port that is in use and fail when it goes up (EADDRINUSE of the link).
  virtual Result<void> configure(const WgDeviceChange& change, const PrivateKey* key) = 0;
  // In order, in as few messages as possible; one result for each change, and one bad change costs
  // that peer only. remove_allowed_ips reads the device first, so that a prefix which another peer
  // holds by now stays there.
  virtual std::vector<Result<void>> change_peers(std::span<const WgPeerChange> changes) = 0;
};

}  // namespace mesh
