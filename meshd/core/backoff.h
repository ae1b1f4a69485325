// Capped exponential back-off. Pure: the jitter, where wanted, is the caller's.
#pragma once

#include <algorithm>

#include "mesh/clock.h"

namespace mesh {

class Backoff {
 public:
  Backoff(Duration first, Duration cap) : first_(first), cap_(cap) {}
  // The pause before the next attempt; each call doubles the one after.
  Duration next() {
    const Duration pause = current_ == Duration::zero() ? first_ : current_;
    current_ = std::min(pause * 2, cap_);
    return pause;
  }
  void reset() { current_ = Duration::zero(); }

 private:
  Duration first_;
  Duration cap_;
  Duration current_{};
};

}  // namespace mesh
