// RetryPause: exponential back-off with jitter, so that thousands of nodes that lost one server do
// not come back in one moment. One thread.
#pragma once

#include <algorithm>
#include <random>

#include "mesh/clock.h"

namespace mesh {

class RetryPause {
 public:
  RetryPause(Duration first, Duration cap) : first_(first), cap_(cap), pause_(first) {}
  // Between a half and the whole of the pause, which doubles each time, up to `cap`.
  Duration next() {
    const Duration pause = pause_;
    pause_ = std::min(pause_ * 2, cap_);
    return pause / 2 + up_to(pause / 2);
  }
  void reset() { pause_ = first_; }
  Duration up_to(Duration limit) {
    return Duration(std::uniform_int_distribution<Duration::rep>(0, limit.count())(random_));
  }

 private:
  Duration first_;
  Duration cap_;
  Duration pause_;
  std::minstd_rand random_{std::random_device{}()};
};

}  // namespace mesh
