// The nearest of a few known words to one that is not known: "did you mean". Pure; any thread; for
// words and lists of a person's size (time is the product of the lengths).
#pragma once

#include <algorithm>
#include <span>
#include <string_view>

namespace mesh {

// Damerau-Levenshtein distance (optimal string alignment: inserted, missing, wrong and swapped
// neighbouring bytes count one each), where case, '-' and '_' do not count: "listen_port" is
// "listenPort".
std::size_t word_distance(std::string_view a, std::string_view b);

// Whether words at this distance are alike enough to suggest one for the other: up to a third of
// the shorter one and a byte may differ.
constexpr bool is_near(std::size_t distance, std::string_view a, std::string_view b) {
  return distance <= 1 + std::min(a.size(), b.size()) / 3;
}

// The candidate with the least distance, the first of several; "" when none is near.
std::string_view nearest_word(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace mesh
