// Waiting for conditions, never for time.
#pragma once

#include <chrono>
#include <functional>

namespace mesh::lab {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Everything that waits in a lab waits this much longer than it would natively: 1 on real hardware,
// more under emulation or a sanitizer (MESHD_LAB_PATIENCE). Deadlines bound a hang; nothing is
// asserted about time itself.
int patience();

// Polls until `condition` holds or `timeout` times patience() has passed; returns whether it held.
bool wait_until(const std::function<bool()>& condition, milliseconds timeout,
                milliseconds interval = milliseconds(20));

}  // namespace mesh::lab
