#include "meshd/daemon/device_keeper.h"

#include <fmt/format.h>

#include <utility>

#include "meshd/daemon/log.h"

namespace mesh {
namespace {

constexpr Duration kRetry = std::chrono::seconds(30);       // perhaps a module was loaded
constexpr Duration kRetryClosed = std::chrono::seconds(1);  // packets are dropped meanwhile
const std::string kPlace = "device";

}  // namespace

bool DeviceKeeper::ensure(const Config& config, const Mirror& mirror, bool carries_traffic,
                          Instant now) {
  const std::string& device = config.wireguard.interface;
  // Gone, or never there: by the link, which has events, not by the device, which has none.
  if (known_ && choice_.backend != Backend::kNone && mirror.index_of(device) == 0) {
    known_ = false;
    if (now.monotonic - made_at_ > kRetry) remake_.reset();
    retry_at_ = made_at_ + remake_.next();
  }
  if (known_ && choice_.backend != Backend::kNone) return false;
  if (now.monotonic < retry_at_) return false;
  const BackendPreference preference = config.wireguard.backend;
  auto choice = dataplane_.ensure_device({device, preference, config.wireguard.userspace_command});
  if (!choice) metrics_.count_error("ensure-device");
  const bool unusable = !choice || choice->backend == Backend::kNone;
  if (unusable && preference != BackendPreference::kNone && carries_traffic) {
    known_ = false;
    retry_at_ = now.monotonic + kRetryClosed;
    problems_.note(
        kPlace,
        fmt::format(
            "{} cannot be made again ({}); traffic of encrypted peers is dropped until it can, "
            "or until wireguard.backend is set to none",
            device, choice ? choice->reason : choice.error().message));
    return false;
  }
  if (!choice) {
    retry_at_ = now.monotonic + pause_.next();
    problems_.note(kPlace, choice.error().message);
    return false;
  }
  pause_.reset();
  retry_at_ =
      preference == BackendPreference::kNone ? MonotonicTime::max() : now.monotonic + kRetry;
  problems_.clear(kPlace);
  note(*choice, config, now);
  return choice_.backend != Backend::kNone;
}

bool DeviceKeeper::release(const Config& config, Instant now) {
  if (released_ || (release_again_ && now.monotonic < *release_again_)) return false;
  const auto removed = dataplane_.remove_device(
      {config.wireguard.interface, config.wireguard.backend, config.wireguard.userspace_command});
  if (!removed) {
    metrics_.count_error("remove-device");
    release_again_ = now.monotonic + pause_.next();
    problems_.note(kPlace, removed.error().message);
    return false;
  }
  problems_.clear(kPlace);
  pause_.reset();
  choice_ = {Backend::kNone, "drained: `meshctl resume` brings this node back", false};
  known_ = released_ = true;
  release_again_.reset();
  retry_at_ = MonotonicTime::max();
  return true;
}

void DeviceKeeper::look_again() {
  release_again_.reset();
  if (!std::exchange(released_, false)) {
    problems_.clear(kPlace);  // it was not taken down, and need not be
    return;
  }
  known_ = false;
  retry_at_ = {};
}

void DeviceKeeper::note(const BackendChoice& choice, const Config& config, Instant now) {
  const bool changed =
      !known_ || choice.backend != choice_.backend || choice.reason != choice_.reason;
  choice_ = choice;
  known_ = true;
  if (changed)
    log::info(choice_.created ? "made the device" : "looked for the device",
              {{"device", config.wireguard.interface},
               {"backend", std::string(to_string(choice_.backend))},
               {"reason", choice_.reason}});
  if (choice_.backend != Backend::kNone) made_at_ = now.monotonic;
}

void DeviceKeeper::assume(const Config& config, const Mirror& mirror) {
  const Link* link = mirror.link(config.wireguard.interface);
  known_ = true;
  choice_.backend = link == nullptr             ? Backend::kNone
                    : link->kind == "wireguard" ? Backend::kKernel
                                                : Backend::kUserspace;
  if (link == nullptr) choice_.reason = "the device does not exist yet: a start would make it";
}

std::optional<MonotonicTime> DeviceKeeper::next() const {
  if (release_again_) return release_again_;
  if (known_ && choice_.backend != Backend::kNone) return std::nullopt;
  return retry_at_;
}

}  // namespace mesh
