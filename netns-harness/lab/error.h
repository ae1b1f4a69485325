// LabError: how a lab step fails.
//
// The harness is the one place of the project that throws: a scenario reads as a few sentences, and
// a step that cannot be done ends it. GoogleTest reports the message; mesh-lab's main prints it.
#pragma once

#include <fmt/core.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

namespace mesh::lab {

class LabError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw LabError(fmt::format(format, std::forward<Args>(args)...));
}

// Throws with errno's text unless `result` is non-negative; returns it otherwise.
template <class T>
T check(T result, const std::string& what) {
  if (result < 0) {
    const int error = errno;
    fail("{}: {}", what, std::strerror(error));
  }
  return result;
}

}  // namespace mesh::lab
