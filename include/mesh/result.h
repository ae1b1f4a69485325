// Result<T>: a value or an Error. Recoverable failures are values; exceptions are for bugs only.
//
// Shaped like std::expected so that it can become one later. Free of I/O; safe on any thread.
#pragma once

#include <fmt/core.h>

#include <string>
#include <utility>
#include <variant>

namespace mesh {

enum class ErrorCode {
  kInvalid,      // input that cannot be right: config, record, annotation, key file
  kNotFound,     // no such device, route, file, record
  kExists,       // the name is taken by something that is not ours
  kPermission,   // the operating system or the store refuses
  kUnsupported,  // this kernel or this machine cannot do it
  kBusy,         // taken by somebody else: a port, a name
  kUnavailable,  // the other side does not answer now; trying again may help
  kTimeout,      // it did not answer in time
  kInterrupted,  // a dump changed under us; read again
  kIo,           // any other failure of the operating system
  kInternal,     // a bug, reported instead of crashed on
};

// One line for a person: names the place, says what is wrong and what to do. Never holds a secret.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  int sys_errno = 0;  // 0 when the error did not come from the operating system

  // The same error, its message led by where it happened: "place: message".
  [[nodiscard]] Error at(std::string_view place) const {
    return {code, fmt::format("{}: {}", place, message), sys_errno};
  }
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(*-explicit-*)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(*-explicit-*)

  [[nodiscard]] bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  // Precondition of value(), *, ->: has_value(). Of error(): !has_value().
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  // By value, so that `for (x : f().value())` keeps what it walks over alive.
  T value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT(*-explicit-*)

  [[nodiscard]] bool has_value() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const Error& error() const& { return error_; }
  Error&& error() && { return std::move(error_); }

 private:
  Error error_;
  bool ok_ = true;
};

template <class... Args>
Error make_error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return {code, fmt::format(format, std::forward<Args>(args)...), 0};
}

}  // namespace mesh
