// Redraws the terminal until SIGINT, which ends the process with 0. One thread.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "mesh/result.h"
#include "meshd/ctl/exit_code.h"

namespace mesh::ctl {

// Shows `frame()` again and again, with this pause behind each. Returns only when the reader is
// gone.
Result<ExitCode> redraw(std::chrono::milliseconds pause, const std::function<std::string()>& frame);

}  // namespace mesh::ctl
