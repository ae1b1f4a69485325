// Text for a terminal: escaping what others wrote, and its width. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

namespace mesh {

// Control characters, bytes that are not UTF-8 and characters that reorder or hide text, written as
// \xNN or \u{N}: what a record says can then neither drive a terminal nor pass for something else.
std::string escape_controls(std::string_view text);
// Columns on a terminal, taken as one for each character of (valid) UTF-8.
std::size_t text_width(std::string_view text);
// The text, cut to `width` columns with "…" at its end when it is longer.
std::string shorten(std::string_view text, std::size_t width);

}  // namespace mesh
