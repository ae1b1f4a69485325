// Time as meshd uses it: monotonic for intervals and decisions, wall clock only for what people and
// WireGuard read.
#pragma once

#include <chrono>

namespace mesh {

using Duration = std::chrono::nanoseconds;
using MonotonicTime = std::chrono::time_point<std::chrono::steady_clock, Duration>;
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

// One instant on both clocks, read once per pass so that a pass sees one time.
struct Instant {
  MonotonicTime monotonic{};
  WallTime wall{};
};

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant now() const = 0;
};

}  // namespace mesh
