// Waits for a condition instead of sleeping. Any thread.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace mesh::test {

// True as soon as `condition` is, which is asked every `interval`; false when patience runs out.
inline bool eventually(const std::function<bool()>& condition,
                       std::chrono::milliseconds patience = std::chrono::seconds(10),
                       std::chrono::milliseconds interval = std::chrono::milliseconds(5)) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(interval);
  }
  return true;
}

}  // namespace mesh::test
