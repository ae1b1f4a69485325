// MeshDevice: the one WireGuard device of this node: finds it, adopts it, or makes it with the best
// backend there is.
//
// One thread at a time; in the calling thread's network namespace. It never replaces a link,
// deletes one only when told to, and never touches one that is neither WireGuard nor our
// wireguard-go's TUN.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "mesh/dataplane.h"
#include "meshd/dataplane/rtnetlink.h"
#include "meshd/dataplane/userspace_process.h"
#include "meshd/dataplane/wireguard_device.h"

namespace mesh {

class MeshDevice {
 public:
  // See Dataplane::ensure_device. Asked again, it finds what has become of the device since.
  Result<BackendChoice> ensure(Rtnetlink& links, const DeviceSpec& spec);

  // See Dataplane::remove_device.
  Result<void> remove(Rtnetlink& links, const DeviceSpec& spec);

  // The device found or made last; null: none. It may be gone from the kernel.
  WireguardDevice* wireguard() const { return wireguard_.get(); }
  const std::string& name() const { return name_; }
  // wireguard-go of that device; null with the other backends.
  UserspaceProcess* process() { return process_ ? &*process_ : nullptr; }

 private:
  using Attempt = Result<void>;

  Result<BackendChoice> adopt(const Link& link, const DeviceSpec& spec);
  Result<BackendChoice> adopt_kernel(const DeviceSpec& spec);
  Result<BackendChoice> adopt_userspace(const DeviceSpec& spec);
  Attempt make_kernel(Rtnetlink& links, const DeviceSpec& spec);
  Attempt make_userspace(const DeviceSpec& spec);
  void forget();
  Result<void> take_back_name(Rtnetlink& links, const DeviceSpec& spec);
  void remember(Rtnetlink& links, const DeviceSpec& spec);

  int index_ = 0;  // of the device adopted or made last; with its kind
  std::string kind_;
  std::string name_;
  std::unique_ptr<WireguardDevice> wireguard_;
  std::optional<UserspaceProcess> process_;
  bool module_tried_ = false;
};

}  // namespace mesh
