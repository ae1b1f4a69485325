// Any bytes as a selector: it is refused with a column inside the text, or its print reads as the
// same again.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/selector.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto selector = mesh::Selector::parse(text);
  if (!selector) {
    const std::string& message = selector.error().message;
    require(message.starts_with("column ") && message.size() < 200);
    const std::size_t column = std::strtoul(message.c_str() + 7, nullptr, 10);
    require(column >= 1 && column <= std::min(size, mesh::kMaxSelectorBytes) + 1);
    return 0;
  }
  const auto again = mesh::Selector::parse(selector->to_string());
  require(again.has_value() || selector->to_string().size() > mesh::kMaxSelectorBytes);
  require(!again || *again == *selector);
  for (const mesh::Labels& labels : {mesh::Labels{}, mesh::Labels{{"a", "b"}, {"role", "db"}}})
    require(!again || selector->matches(labels) == again->matches(labels));
  return 0;
}
