#include "meshd/store/utf8.h"

#include <fmt/format.h>

#include <iterator>

namespace mesh {
namespace {

struct Lead {
  std::size_t size;
  char32_t bits;
  char32_t smallest;  // anything below is an overlong form
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {1, byte, 0};
  if (byte >= 0xc2 && byte < 0xe0) return {2, byte & 0x1fU, 0x80};
  if (byte >= 0xe0 && byte < 0xf0) return {3, byte & 0x0fU, 0x800};
  if (byte >= 0xf0 && byte < 0xf5) return {4, byte & 0x07U, 0x10000};
  return {0, 0, 0};
}

// Marks that turn the direction of the text around them: they could make a line read as another.
bool is_bidi_control(char32_t c) {
  return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e || c == 0x200f;
}

}  // namespace

CodePoint decode_utf8(std::string_view text) {
  const Lead lead = lead_of(static_cast<unsigned char>(text.front()));
  if (lead.size == 0 || lead.size > text.size()) return {};
  char32_t value = lead.bits;
  for (std::size_t i = 1; i < lead.size; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte & 0xc0U) != 0x80U) return {};
    value = (value << 6U) | (byte & 0x3fU);
  }
  const bool surrogate = value >= 0xd800 && value <= 0xdfff;
  if (value < lead.smallest || value > 0x10ffff || surrogate) return {};
  return {value, lead.size};
}

std::size_t find_invalid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t size = decode_utf8(text.substr(i)).size;
    if (size == 0) return i;
    i += size;
  }
  return std::string_view::npos;
}

std::string printable(std::string_view text, std::size_t limit) {
  std::string out;
  while (!text.empty()) {
    if (out.size() >= limit) return out + "\u2026";
    const CodePoint c = decode_utf8(text);
    if (c.size == 0 || is_bidi_control(c.value))
      out += '?';
    else if (is_control(c.value) || c.value == 0x2028 || c.value == 0x2029)
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<std::uint32_t>(c.value));
    else
      out += text.substr(0, c.size);
    text.remove_prefix(c.size == 0 ? 1 : c.size);
  }
  return out;
}

}  // namespace mesh
