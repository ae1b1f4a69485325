// TrafficKeeper: when the counts of traffic are written down, so that they survive this process.
// Loop thread only.
//
// The kernel's counters outlive meshd, so that what it must write down is what they no longer show:
// soon after one went, now and then for a host that crashes, and at an orderly stop.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "mesh/clock.h"
#include "meshd/daemon/problems.h"
#include "meshd/daemon/traffic.h"

namespace mesh {

struct TrafficPort {
  std::optional<std::string> found;           // at the start
  std::string damage;                         // why what was there cannot be read; "": nothing
  std::function<void(std::string)> save;      // returns at once; none: nothing is kept
  std::function<std::string()> save_problem;  // why the last save failed; "" when it did not
};

class TrafficKeeper {
 public:
  // From a meter that went to the writing; what only a crash of the host would lose is at most this
  // old.
  static constexpr Duration kSettle = std::chrono::seconds(5);
  static constexpr Duration kPause = std::chrono::minutes(10);

  // What was found goes to `traffic`.
  TrafficKeeper(TrafficPort port, Traffic& traffic, Problems& problems);
  void keep(Traffic& traffic, MonotonicTime now, bool at_once = false);
  std::optional<MonotonicTime> next() const { return due_; }

 private:
  TrafficPort port_;
  Problems& problems_;
  std::optional<MonotonicTime> due_;
  bool soon_ = false;
};

}  // namespace mesh
