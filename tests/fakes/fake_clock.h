// A clock that stands still until a test moves it.
#pragma once

#include "mesh/clock.h"

namespace mesh::test {

class FakeClock final : public Clock {
 public:
  Instant now() const override { return now_; }

  void advance(Duration duration) {
    now_.monotonic += duration;
    now_.wall += duration;
  }
  // The wall clock alone, as an administrator or NTP sets it.
  void set_wall_by(Duration difference) { now_.wall += difference; }

 private:
  Instant now_{MonotonicTime(std::chrono::hours(1)),
               WallTime(std::chrono::sys_days(std::chrono::year(2026) / 11 / 22))};
};

}  // namespace mesh::test
