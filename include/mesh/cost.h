// What work costs, and the pause after it that keeps it to a share of a core.
//
// Costs are processor time of this thread: what others make us wait for is not our cost, and a busy
// host is no reason to look less often. One thread each.
#pragma once

#include <algorithm>
#include <ctime>

#include "mesh/clock.h"

namespace mesh {

class CpuStopwatch {
 public:
  CpuStopwatch() : start_(now()) {}
  Duration elapsed() const { return now() - start_; }

 private:
  static Duration now() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
  }
  Duration start_;
};

// The pause after something that cost so much: one part in `share` of the time, but at least
// `shortest`, and never longer than `longest`, after which what is known is too old.
inline Duration pause_after(Duration cost, int share, Duration shortest, Duration longest) {
  return std::clamp(cost * share, shortest, std::max(shortest, longest));
}

}  // namespace mesh
