#include "meshd/store/yaml_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <iterator>

#include "meshd/store/utf8.h"

namespace mesh {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Words that some reader of YAML takes for something else than text.
bool is_yaml_word(std::string_view text) {
  constexpr std::array<std::string_view, 9> kWords = {"y",  "n",   "yes",  "no",   "true",
                                                      "on", "off", "null", "false"};
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::find(kWords.begin(), kWords.end(), lower) != kWords.end();
}

bool is_plain(std::string_view text) {
  return !text.empty() && is_letter(text.front()) && !is_yaml_word(text) &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return is_letter(c) || is_digit(c) || c == '-' || c == '_' || c == '.' || c == '/';
         });
}

// Whether YAML wants the code point escaped in double quotes, or editors would not show it.
bool is_escaped(char32_t c) {
  return is_control(c) || c == 0x2028 || c == 0x2029 || c == 0xfeff || (c & 0xfffeU) == 0xfffeU;
}

}  // namespace

void append_yaml_quoted(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    const CodePoint c = decode_utf8(text);
    if (c.size == 0)
      out += "\uFFFD";
    else if (c.value == '"' || c.value == '\\')
      out.append({'\\', text.front()});
    else if (is_escaped(c.value) && c.value > 0xffff)
      fmt::format_to(std::back_inserter(out), "\\U{:08x}", static_cast<std::uint32_t>(c.value));
    else if (is_escaped(c.value))
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<std::uint32_t>(c.value));
    else
      out += text.substr(0, c.size);
    text.remove_prefix(std::max<std::size_t>(c.size, 1));
  }
  out += '"';
}

void append_yaml_text(std::string& out, std::string_view text) {
  if (is_plain(text))
    out += text;
  else
    append_yaml_quoted(out, text);
}

}  // namespace mesh
