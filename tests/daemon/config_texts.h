// Configurations as texts, for tests. One thread.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "meshd/daemon/config.h"

namespace mesh::test {

inline constexpr std::string_view kHostName = "host-a";

// The configuration in `text`, which must have no problem.
inline Config good(std::string_view text, std::string_view host_name = kHostName) {
  auto result = parse_config(text, "f", host_name);
  if (const auto* problems = std::get_if<ConfigProblems>(&result)) {
    ADD_FAILURE() << text << "\n" << describe(problems->front());
    return {};
  }
  return std::get<Config>(std::move(result));
}

// What is printed for `text`, which must have a problem.
inline std::vector<std::string> bad(std::string_view text, std::string_view host_name = kHostName) {
  const auto result = parse_config(text, "f", host_name);
  std::vector<std::string> lines;
  if (const auto* problems = std::get_if<ConfigProblems>(&result))
    for (const ConfigProblem& problem : *problems) lines.push_back(describe(problem));
  EXPECT_THAT(lines, ::testing::Not(::testing::IsEmpty())) << text;
  return lines;
}

}  // namespace mesh::test
