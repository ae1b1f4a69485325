// The nearest of a few known words to one that is not known: "did you mean". Pure; any thread; for
// words and lists of a person's size (time is the product of the lengths).
#pragma once

#include <span>
#include <string_view>

namespace mesh {

// Damerau-Levenshtein distance (optimal string alignment: inserted, missing, wrong and swapped
// neighbouring bytes count one each), where case, '-' and '_' do not count: "listen_port" is
// "listenPort".
std::size_t word_distance(std::string_view a, std::string_view b);

// Whether a word at this distance is worth suggesting for one of this length: up to a third wrong.
constexpr bool is_near(std::size_t distance, std::string_view word) {
  return distance <= 1 + word.size() / 3;
}

// The candidate with the least distance, the first of several; "" when none is near.
std::string_view nearest_word(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace mesh
