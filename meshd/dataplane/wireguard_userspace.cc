#include "meshd/dataplane/wireguard_userspace.h"

#include <net/if.h>

#include "meshd/dataplane/uapi_codec.h"
#include "meshd/dataplane/wireguard_changes.h"

namespace mesh {
namespace {

// A request's text; what one bad peer costs its neighbours is a second try each.
constexpr std::size_t kBatchBytes = std::size_t{32} * 1024;

}  // namespace

Result<WgDevice> WireguardUserspace::read() {
  Result<WgDevice> device = client_.exchange(kUapiGet);
  if (!device) return device.error().at(fmt::format("read WireGuard device {}", name_));
  device->name = name_;
  device->ifindex = static_cast<int>(if_nametoindex(name_.c_str()));
  return device;
}

Result<void> WireguardUserspace::set(std::string_view request) {
  const Result<WgDevice> answer = client_.exchange(request);
  if (!answer) return answer.error();
  return {};
}

Result<void> WireguardUserspace::configure(const WgDeviceChange& change, const PrivateKey* key) {
  if (change.set_private_key && key == nullptr)
    return make_error(ErrorCode::kInternal, "set the private key of {}: no key given", name_);
  std::uint16_t old_port = 0;
  if (change.listen_port) {
    const Result<WgDevice> now = read();
    if (!now) return now.error();
    old_port = now->listen_port;
  }
  std::string request = encode_uapi_device(change, key);
  const Result<void> result = set(request);
  wipe(request);
  if (result) return {};
  Error error = result.error().at(fmt::format("configure WireGuard device {}", name_));
  if (error.code == ErrorCode::kBusy && change.listen_port) {
    error.message +=
        fmt::format(" (UDP port {} is in use: stop what uses it, or set wireguard.listenPort)",
                    *change.listen_port);
    WgDeviceChange back;
    back.listen_port = old_port;
    if (old_port != 0) (void)set(encode_uapi_device(back, nullptr));
  }
  return error;
}

std::vector<Result<void>> WireguardUserspace::change_peers(std::span<const WgPeerChange> changes) {
  return apply_changes(
      {.read = [this] { return read(); }, .send = [this](auto part) { return send(part); }},
      changes);
}

// wireguard-go stops at the first bad line, so its error stands for the rest of that request.
std::vector<Result<void>> WireguardUserspace::send(std::span<const WgPeerChange> changes) {
  std::vector<Result<void>> results(changes.size());
  std::size_t next = 0;
  while (next < changes.size()) {
    const std::size_t first = next;
    std::string request = "set=1\n";
    while (next < changes.size() && request.size() < kBatchBytes)
      request += encode_uapi_peer(changes[next++]);
    request += '\n';
    const Result<void> result = set(request);
    if (result) continue;
    // Without an answer the next request would only wait as long again.
    const ErrorCode code = result.error().code;
    if (code == ErrorCode::kTimeout || code == ErrorCode::kUnavailable ||
        code == ErrorCode::kNotFound)
      next = changes.size();
    for (std::size_t i = first; i < next; ++i)
      results[i] = result.error().at(fmt::format("change peer {} of WireGuard device {}",
                                                 changes[i].key.abbreviated(), name_));
  }
  return results;
}

}  // namespace mesh
