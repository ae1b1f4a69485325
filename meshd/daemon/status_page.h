// The page at "/": a node's status for a person with a browser. Pure; any thread.
#pragma once

#include <string>

#include "core/status.h"

namespace mesh {

// Plain HTML without a script; every text of others is escaped. At most kPageRows peers, those with
// problems first, and a line that says how many are left out.
inline constexpr std::size_t kPageRows = 1000;
std::string render_page(const Status& status, WallTime now);

}  // namespace mesh
