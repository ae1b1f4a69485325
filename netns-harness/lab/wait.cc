#include "lab/wait.h"

#include <cstdlib>
#include <thread>

namespace mesh::lab {

int patience() {
  static const int kFactor = [] {
    const char* text = std::getenv("MESHD_LAB_PATIENCE");
    const int value = text ? std::atoi(text) : 1;
    return value > 0 ? value : 1;
  }();
  return kFactor;
}

bool wait_until(const std::function<bool()>& condition, milliseconds timeout,
                milliseconds interval) {
  const auto deadline = Clock::now() + timeout * patience();
  for (;;) {
    if (condition()) return true;
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(interval);
  }
}

}  // namespace mesh::lab
