// Text as a YAML scalar that every reader of YAML takes for that text. Pure; any thread; linear.
#pragma once

#include <string>
#include <string_view>

namespace mesh {

// As it is where that means the same (letters, digits and a few signs), else in double quotes.
void append_yaml_text(std::string& out, std::string_view text);
// In double quotes, whatever it is. Bytes that are not UTF-8 become U+FFFD.
void append_yaml_quoted(std::string& out, std::string_view text);

}  // namespace mesh
