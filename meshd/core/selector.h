// Selector: which nodes a policy means, by their labels; the language that Calico's users know.
//
//   role == 'db' && has(zone) || !(env in {"dev", 'test'}) && name starts with "web-"
//
// `!` binds closest, then `&&`, then `||`. A label's name is of letters, digits and "-_./". A value
// stands in single or double quotes, without escapes: it can hold the other kind of quote. A node
// without the label matches `!=` and `not in`, and no other comparison. `global()` is `all()`:
// nodes belong to no namespace.
//
// Pure; any thread (a value). Parsing is linear in the text, which is bounded (kMaxSelectorBytes),
// as is the depth; matching costs a look-up for each comparison and allocates nothing.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "mesh/policy.h"
#include "mesh/result.h"

namespace mesh {

using Labels = std::map<std::string, std::string>;

class Selector {
 public:
  static constexpr int kMaxDepth = 64;  // of parentheses and `!`

  // Another text with the same meaning may give an equal selector, never one with another meaning.
  // An error (kInvalid) is led by "column N: ", from 1, in bytes, and says what was expected there.
  static Result<Selector> parse(std::string_view text);
  static Selector all() { return {}; }

  bool matches(const Labels& labels) const { return matches(root_, labels); }
  // parse(to_string()) equals this.
  std::string to_string() const;

  friend bool operator==(const Selector&, const Selector&) = default;

 private:
  friend class SelectorParser;
  enum class Op : std::uint8_t {
    kAll,
    kHas,
    kEqual,
    kNotEqual,
    kIn,
    kNotIn,
    kContains,
    kStartsWith,
    kEndsWith,
    kNot,
    kAnd,
    kOr,
  };
  struct Node {
    Op op = Op::kAll;
    std::string label;
    std::vector<std::string> values;  // of kIn and kNotIn: sorted, each once
    std::vector<Node> children;       // of kAnd and kOr: at least two, none of the same kind
    friend bool operator==(const Node&, const Node&) = default;
  };

  static bool matches(const Node& node, const Labels& labels);
  static bool matches_value(const Node& node, const std::string& value);
  static void print(const Node& node, Op around, std::string& out);
  static void print_comparison(const Node& node, std::string& out);

  Node root_;
};

}  // namespace mesh
