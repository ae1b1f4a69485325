// What a test may do without only where nobody said that it is there. tests/run.sh names what it
// has built and installed in MESHD_TESTS_REQUIRE, some words of: programs (this build's), servers
// (of packages), kube-apiserver. Without the variable a test that lacks something is skipped.
#pragma once

#include <cstdlib>
#include <sstream>
#include <string>

namespace mesh::test {

inline bool is_required(const std::string& what) {
  const char* list = std::getenv("MESHD_TESTS_REQUIRE");
  std::istringstream words(list == nullptr ? "" : list);
  for (std::string word; words >> word;)
    if (word == what) return true;
  return false;
}

}  // namespace mesh::test

// In a function that returns nothing: ends the test here, as skipped or as failed.
#define SKIP_UNLESS_REQUIRED(what, why)                                                            \
  do {                                                                                             \
    if (::mesh::test::is_required(what)) FAIL() << (why) << ", and " << (what) << " are required"; \
    GTEST_SKIP() << (why);                                                                         \
  } while (false)
