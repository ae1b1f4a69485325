// DeviceKeeper: finds or makes the mesh device, notices when it is gone, makes it again with
// back-off, and says with what backend. Loop thread only.
//
// What is encrypted does not become plaintext because a device cannot be made: while packets of
// encrypted peers are dropped for want of it, it is tried again every second, and no other backend
// is reported.
#pragma once

#include <optional>

#include "core/backoff.h"
#include "core/mirror.h"
#include "mesh/clock.h"
#include "mesh/dataplane.h"
#include "meshd/daemon/config.h"
#include "meshd/daemon/metrics.h"
#include "meshd/daemon/problems.h"

namespace mesh {

class DeviceKeeper {
 public:
  DeviceKeeper(Dataplane& dataplane, Metrics& metrics, Problems& problems)
      : dataplane_(dataplane), metrics_(metrics), problems_(problems) {}

  // `carries_traffic`: somebody's packets depend on the device. Returns true when it was made or
  // found by this call: all that is known of the kernel is out of date then.
  bool ensure(const Config& config, const Mirror& mirror, bool carries_traffic, Instant now);
  // The node is drained: takes the device down, and keeps it so until look_again(). Returns true
  // when it went by this call.
  bool release(const Config& config, Instant now);
  void look_again();
  // Without touching anything: what a start would find.
  void assume(const Config& config, const Mirror& mirror);

  // The answer holds for the device as it is now.
  bool known() const { return known_; }
  const BackendChoice& choice() const { return choice_; }
  // When to call again if nothing else happens.
  std::optional<MonotonicTime> next() const;

 private:
  void note(const BackendChoice& choice, const Config& config, Instant now);

  Dataplane& dataplane_;
  Metrics& metrics_;
  Problems& problems_;
  BackendChoice choice_;
  bool known_ = false;
  bool released_ = false;
  std::optional<MonotonicTime> release_again_;  // the device could not be taken down
  MonotonicTime retry_at_{};
  MonotonicTime made_at_{};
  Backoff pause_{std::chrono::seconds(1), std::chrono::seconds(30)};        // no answer at all
  Backoff remake_{std::chrono::milliseconds(10), std::chrono::seconds(5)};  // it goes away again
};

}  // namespace mesh
