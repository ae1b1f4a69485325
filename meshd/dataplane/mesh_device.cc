#include "meshd/dataplane/mesh_device.h"

#include <utility>

#include "meshd/dataplane/kernel_module.h"
#include "meshd/dataplane/wireguard_kernel.h"
#include "meshd/dataplane/wireguard_userspace.h"

namespace mesh {
namespace {

constexpr std::string_view kKernelKind = "wireguard";
constexpr std::string_view kTunKind = "tun";

BackendChoice none(std::string reason) { return {Backend::kNone, std::move(reason), false}; }

BackendChoice taken(const Link& link, std::string_view why) {
  return none(
      fmt::format("link {} exists and is {} (kind {}): rename or remove it, or choose "
                  "another name with wireguard.interface",
                  link.name, why, link.kind.empty() ? "hardware" : link.kind));
}

std::string why_no_kernel_wireguard(const std::string& name) {
  const auto kernel = WireguardKernel::open(name);
  return kernel ? std::string() : kernel.error().message;
}

}  // namespace

void MeshDevice::forget() {
  wireguard_.reset();
  if (process_ && !process_->running()) {
    (void)process_->reap();
    process_.reset();
  }
}

Result<BackendChoice> MeshDevice::ensure(Rtnetlink& links, const DeviceSpec& spec) {
  name_ = spec.name;
  forget();
  if (spec.preference == BackendPreference::kNone) {
    process_.reset();  // it goes on running
    return none("the configuration says wireguard.backend: none");
  }
  auto link = links.find_link(spec.name);
  if (!link) return link.error();
  if (!*link) {
    if (auto back = take_back_name(links, spec); !back) return back.error();
    link = links.find_link(spec.name);
    if (!link) return link.error();
  }
  if (*link) return adopt(**link, spec);
  if (process_) {  // its device was deleted: it serves nothing any more
    if (auto stopped = process_->stop(); !stopped) return stopped.error();
    process_.reset();
  }

  std::string reason;
  const auto try_backend = [&](Backend backend, const Attempt& made) -> bool {
    if (made) {
      remember(links, spec);
      return true;
    }
    if (!reason.empty()) reason += "; ";
    reason += fmt::format("no {} WireGuard: {}", to_string(backend), made.error().message);
    return false;
  };
  if (spec.preference != BackendPreference::kUserspace &&
      try_backend(Backend::kKernel, make_kernel(links, spec)))
    return BackendChoice{Backend::kKernel, "", true};
  if (spec.preference == BackendPreference::kUserspace)
    reason = "the configuration says wireguard.backend: userspace";
  if (spec.preference != BackendPreference::kKernel &&
      try_backend(Backend::kUserspace, make_userspace(spec)))
    return BackendChoice{Backend::kUserspace, reason, true};
  return none(reason);
}

Result<void> MeshDevice::remove(Rtnetlink& links, const DeviceSpec& spec) {
  name_ = spec.name;
  forget();
  const auto link = links.find_link(spec.name);
  if (!link) return link.error();
  if (!*link) return {};
  const auto found = adopt(**link, spec);
  if (!found) return found.error();
  wireguard_.reset();
  if (process_) {
    auto stopped = process_->stop();
    process_.reset();
    return stopped;
  }
  if ((*link)->kind != kKernelKind) return {};
  auto deleted = links.delete_link((*link)->index);
  if (!deleted && deleted.error().code == ErrorCode::kNotFound) return {};
  return deleted;
}

void MeshDevice::remember(Rtnetlink& links, const DeviceSpec& spec) {
  const auto link = links.find_link(spec.name);
  index_ = link && *link ? (*link)->index : 0;
  kind_ = link && *link ? (*link)->kind : "";
}

// Somebody gave our device another name: it is still ours, with all its peers and sessions.
Result<void> MeshDevice::take_back_name(Rtnetlink& links, const DeviceSpec& spec) {
  if (index_ == 0) return {};
  const auto all = links.read_links();
  if (!all) return all.error();
  for (const Link& link : *all)
    if (link.index == index_ && link.kind == kind_) return links.rename_link(index_, spec.name);
  return {};
}

Result<BackendChoice> MeshDevice::adopt(const Link& link, const DeviceSpec& spec) {
  index_ = link.index;
  kind_ = link.kind;
  if (link.kind == kKernelKind) return adopt_kernel(spec);
  if (link.kind == kTunKind) return adopt_userspace(spec);
  process_.reset();
  return taken(link, "no WireGuard device");
}

Result<BackendChoice> MeshDevice::adopt_kernel(const DeviceSpec& spec) {
  process_.reset();
  auto device = WireguardKernel::open(spec.name);
  if (!device) return device.error().at("adopt " + spec.name);
  wireguard_ = std::move(*device);
  BackendChoice choice{Backend::kKernel, "", false};
  if (spec.preference == BackendPreference::kUserspace)
    choice.reason = fmt::format(
        "adopted the kernel's device {0}, although the configuration prefers userspace: drain the "
        "node and `ip link delete {0}` to change",
        spec.name);
  return choice;
}

Result<BackendChoice> MeshDevice::adopt_userspace(const DeviceSpec& spec) {
  if (!process_) {
    auto found = UserspaceProcess::find_running(spec.userspace_command, spec.name);
    if (!found) return none(found.error().message);
    if (!*found)
      return taken({.name = spec.name, .kind = std::string(kTunKind)},
                   fmt::format("a TUN device that no {} serves", spec.userspace_command));
    process_ = std::move(*found);
  }
  wireguard_ = std::make_unique<WireguardUserspace>(spec.name, process_->socket_path());
  BackendChoice choice{Backend::kUserspace, why_no_kernel_wireguard(spec.name), false};
  if (spec.preference == BackendPreference::kUserspace)
    choice.reason = "the configuration says wireguard.backend: userspace";
  else if (choice.reason.empty())
    choice.reason = fmt::format(
        "adopted {0} as {1} runs it, although the kernel has WireGuard: drain the node and stop "
        "that process to change",
        spec.name, spec.userspace_command);
  else
    choice.reason = "no kernel WireGuard: " + choice.reason;
  return choice;
}

MeshDevice::Attempt MeshDevice::make_kernel(Rtnetlink& links, const DeviceSpec& spec) {
  auto made = links.create_link(spec.name, kKernelKind);
  if (!made && made.error().code == ErrorCode::kUnsupported &&
      !std::exchange(module_tried_, true) && load_kernel_module("wireguard"))
    made = links.create_link(spec.name, kKernelKind);
  if (!made) {
    if (made.error().code != ErrorCode::kUnsupported) return made.error();
    return Error{ErrorCode::kUnsupported,
                 "this kernel cannot make WireGuard links (`modprobe wireguard`, or a kernel of "
                 "5.6 or later with CONFIG_WIREGUARD)",
                 made.error().sys_errno};
  }
  auto device = WireguardKernel::open(spec.name);
  if (!device) return device.error();
  wireguard_ = std::move(*device);
  return {};
}

MeshDevice::Attempt MeshDevice::make_userspace(const DeviceSpec& spec) {
  auto process = UserspaceProcess::start(spec.userspace_command, spec.name);
  if (!process) return process.error();
  process_ = std::move(*process);
  wireguard_ = std::make_unique<WireguardUserspace>(spec.name, process_->socket_path());
  return {};
}

}  // namespace mesh
