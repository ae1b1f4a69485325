// UTF-8 as RFC 3629 has it, for text that strangers wrote. Pure; any thread; linear.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mesh {

struct CodePoint {
  char32_t value = 0;
  std::size_t size = 0;  // bytes; 0: not UTF-8 (overlong, a surrogate, cut off, beyond U+10FFFF)
};

// The first code point of `text`, which is not empty.
CodePoint decode_utf8(std::string_view text);

// C0 and C1 controls and DEL.
constexpr bool is_control(char32_t c) { return c < 0x20 || (c >= 0x7f && c < 0xa0); }

// The offset of the first byte that is not UTF-8; npos when there is none.
std::size_t find_invalid_utf8(std::string_view text);

// The text on one line and without effect on a terminal: controls as \xNN, bytes that are not UTF-8
// as '?', and cut ("…") after about `limit` bytes. For messages.
std::string printable(std::string_view text, std::size_t limit);

}  // namespace mesh
