// WireguardUserspace: a device of wireguard-go, over its socket. See WireguardDevice. The process
// itself is userspace_process.h's business.
#pragma once

#include <string>

#include "meshd/dataplane/uapi_client.h"
#include "meshd/dataplane/wireguard_device.h"

namespace mesh {

class WireguardUserspace final : public WireguardDevice {
 public:
  // The socket as UserspaceProcess::socket_path() gives it.
  WireguardUserspace(std::string name, std::string socket_path,
                     std::chrono::milliseconds timeout = UapiClient::kTimeout)
      : name_(std::move(name)), client_(std::move(socket_path), timeout) {}

  Result<WgDevice> read() override;
  // wireguard-go binds its port at once, whether the link is up or not. When the new port is in
  // use it would be left with none: it is given the old one back.
  Result<void> configure(const WgDeviceChange& change, const PrivateKey* key) override;
  std::vector<Result<void>> change_peers(std::span<const WgPeerChange> changes) override;

 private:
  std::vector<Result<void>> send(std::span<const WgPeerChange> changes);
  Result<void> set(std::string_view request);

  std::string name_;
  UapiClient client_;
};

}  // namespace mesh
