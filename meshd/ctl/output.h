// Output: where meshctl writes, and what is on the other side. One thread.
#pragma once

#include <cstddef>
#include <string_view>

#include "mesh/result.h"

namespace mesh::ctl {

// Writes all of it to stdout. An Error says that the reader is gone or the disk is full, which a
// script must not take for success.
Result<void> print(std::string_view text);
// One line on stderr, led by the program's name. Nothing can be done when that fails.
void complain(std::string_view message);

bool stdout_is_terminal();
std::size_t terminal_width();  // 0: stdout is no terminal
// "always", "never", or "auto": a terminal that can, and no NO_COLOR in the environment.
bool use_color(std::string_view wish);

}  // namespace mesh::ctl
