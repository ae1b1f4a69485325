// Fields: reads the fields of a JSON object that anybody may have written. Pure; throws nothing;
// one error, which names the field's place.
#pragma once

#include <fmt/format.h>

#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mesh/result.h"

namespace mesh {

// Reads fields of one object. The first field that cannot be right is kept as the error and later
// reads are harmless, so that a reader is a plain list of fields.
class Fields {
 public:
  Fields(const nlohmann::ordered_json& object, std::string place, Result<void>& outcome)
      : object_(object), place_(std::move(place)), outcome_(outcome) {
    if (!object_.is_object()) fail("", "must be an object");
  }

  void read(const char* name, std::string& out) {
    const nlohmann::ordered_json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_string()) return fail(name, "must be a string");
    out = value->get<std::string>();
  }

  void read(const char* name, bool& out) {
    const nlohmann::ordered_json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_boolean()) return fail(name, "must be true or false");
    out = value->get<bool>();
  }

  template <std::unsigned_integral T>
  void read(const char* name, T& out) {
    const nlohmann::ordered_json* value = find(name);
    if (value == nullptr) return;
    // Negative numbers are "integer" but not "unsigned" to the parser, larger ones are floats.
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() > std::numeric_limits<T>::max())
      return fail(name, "must be a whole number that fits");
    out = value->get<T>();
  }

  template <class T>
  void read(const char* name, std::optional<T>& out) {
    if (find(name) == nullptr) return;
    T value{};
    read(name, value);
    out = value;
  }

  void read(const char* name, std::vector<std::string>& out) {
    each(name, [&](const std::string& text) -> Result<void> {
      out.push_back(text);
      return {};
    });
  }

  void read(const char* name, std::map<std::string, std::string>& out) {
    const nlohmann::ordered_json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_object()) return fail(name, "must be an object");
    for (const auto& [key, text] : value->items()) {
      if (!text.is_string()) return fail(name, "must hold strings");
      out[key] = text.get<std::string>();
    }
  }

  // A text that `parse` turns into a value; "" and null leave `out` as it is.
  template <class T, class Parse>
  void read(const char* name, T& out, Parse parse) {
    std::string text;
    read(name, text);
    if (text.empty()) return;
    auto value = parse(text);
    if (!value) return fail(name, message_of(value));
    out = *std::move(value);
  }

  template <class T, class Parse>
  void read_list(const char* name, std::vector<T>& out, Parse parse) {
    each(name, [&](const std::string& text) -> Result<void> {
      auto value = parse(text);
      if (!value) return std::move(value).error();
      out.push_back(*std::move(value));
      return {};
    });
  }

  // Calls `visit(element, place)` for each element of an array.
  template <class Visit>
  void visit(const char* name, Visit visit_element) {
    const nlohmann::ordered_json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_array()) return fail(name, "must be an array");
    for (std::size_t i = 0; i < value->size() && outcome_; ++i)
      visit_element((*value)[i], fmt::format("{}{}[{}]", prefix(), name, i));
  }

  const nlohmann::ordered_json* find(const char* name) const {
    if (!outcome_ || !object_.is_object()) return nullptr;
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  void require(const char* name) {
    if (outcome_ && find(name) == nullptr) fail(name, "is missing");
  }

  void fail(std::string_view name, std::string_view why) {
    if (!outcome_) return;
    const std::string field = name.empty() ? place_ : fmt::format("{}{}", prefix(), name);
    outcome_ = make_error(ErrorCode::kInvalid, "status{}{}: {}", field.empty() ? "" : " field ",
                          field, why);
  }

 private:
  template <class T>
  static std::string_view message_of(const Result<T>& result) {
    return result.error().message;
  }
  template <class T>
  static std::string_view message_of(const std::optional<T>&) {
    return "is a word this program does not know";
  }

  template <class Take>
  void each(const char* name, Take take) {
    visit(name, [&](const nlohmann::ordered_json& element, const std::string& place) {
      if (!element.is_string()) {
        fail(name, "must hold strings");
      } else if (Result<void> taken = take(element.get<std::string>()); !taken) {
        outcome_ = std::move(taken).error().at("status field " + place);
      }
    });
  }

  std::string prefix() const { return place_.empty() ? "" : place_ + "."; }

  const nlohmann::ordered_json& object_;
  std::string place_;  // "peers[3]"; "" at the top
  Result<void>& outcome_;
};

}  // namespace mesh
