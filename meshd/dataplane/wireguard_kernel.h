// WireguardKernel: a device of the kernel's WireGuard, over generic netlink. See WireguardDevice.
#pragma once

#include <memory>
#include <string>

#include "meshd/dataplane/netlink_socket.h"
#include "meshd/dataplane/wireguard_device.h"

namespace mesh {

class WireguardKernel final : public WireguardDevice {
 public:
  // Finds the family; the device may come later. In the calling thread's network namespace.
  // kUnsupported: this kernel has no WireGuard, or its module is not loaded.
  static Result<std::unique_ptr<WireguardKernel>> open(std::string name);

  Result<WgDevice> read() override;
  Result<void> configure(const WgDeviceChange& change, const PrivateKey* key) override;
  std::vector<Result<void>> change_peers(std::span<const WgPeerChange> changes) override;

 private:
  WireguardKernel(NetlinkSocket socket, std::uint16_t family, std::string name)
      : socket_(std::move(socket)), family_(family), name_(std::move(name)) {}
  std::vector<Result<void>> send(std::span<const WgPeerChange> changes);
  Error explain(const Error& error, std::string_view act) const;

  NetlinkSocket socket_;
  std::uint16_t family_;
  std::string name_;
};

}  // namespace mesh
