#include "mesh/nearest.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

namespace mesh {
namespace {

constexpr std::size_t kMaxWordBytes = 64;  // longer ones are no misspelt key: bounds the time

std::string normalised(std::string_view word) {
  std::string result;
  for (const char c : word.substr(0, kMaxWordBytes)) {
    if (c == '-' || c == '_') continue;
    result += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return result;
}

}  // namespace

std::size_t word_distance(std::string_view first, std::string_view second) {
  const std::string a = normalised(first);
  const std::string b = normalised(second);
  // row[j]: the distance between the first i bytes of a and the first j of b.
  std::vector<std::size_t> before_last(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before_last.swap(last);
    last.swap(row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t wrong = a[i - 1] == b[j - 1] ? 0 : 1;
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + wrong});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::string_view nearest_word(std::string_view word, std::span<const std::string_view> candidates) {
  std::string_view nearest;
  std::size_t least = std::numeric_limits<std::size_t>::max();
  for (const std::string_view candidate : candidates) {
    const std::size_t distance = word_distance(word, candidate);
    if (distance >= least || !is_near(distance, word, candidate)) continue;
    least = distance;
    nearest = candidate;
  }
  return nearest;
}

}  // namespace mesh
