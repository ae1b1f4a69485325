// Pace: how often something may be done whose cost grows with the mesh, so that it never takes more
// than a share of a core however large the mesh is.
//
// Costs are processor time of this thread: what others make us wait for is not our cost, and a busy
// host is no reason to look less often. Loop thread only.
#pragma once

#include <algorithm>
#include <ctime>
#include <optional>

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

// When the status is made anew: with every pass while that costs next to nothing; in a large mesh
// soon after something happened, and now and then for the counters' sake.
class ReportPace {
 public:
  void news() { news_ = true; }
  bool due(MonotonicTime now) const { return now >= next_time(); }
  void made(MonotonicTime now, Duration cost) {
    news_ = put_off_ = false;
    const bool cheap = cost < kCheap;
    soon_ = cheap ? now : now + pause_after(cost, kShareOfNews, Duration(0), kLongestOfNews);
    later_ = cheap ? now : now + pause_after(cost, kShare, Duration(0), kLongest);
  }
  void put_off() { put_off_ = true; }
  // When to make one that was put off.
  std::optional<MonotonicTime> next() const {
    return put_off_ ? std::optional(next_time()) : std::nullopt;
  }

 private:
  static constexpr Duration kCheap = std::chrono::milliseconds(1);
  static constexpr int kShareOfNews = 10;
  static constexpr Duration kLongestOfNews = std::chrono::milliseconds(500);
  static constexpr int kShare = 400;
  static constexpr Duration kLongest = std::chrono::seconds(10);

  MonotonicTime next_time() const { return news_ ? soon_ : later_; }

  bool news_ = false;
  bool put_off_ = false;
  MonotonicTime soon_{};
  MonotonicTime later_{};
};

}  // namespace mesh
