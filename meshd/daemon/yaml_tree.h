// YamlTree: one YAML document as a tree of plain values in which every node knows its place. The
// only user of yaml-cpp in the configuration, whose exceptions end here.
//
// Unlike yaml-cpp's own nodes it keeps the order and the place of keys, repeated keys included, and
// costs time and memory linear in the text: an alias is the same node again, not a copy.
// Thread rules: a value, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace mesh {

// Counted from 1; 0: no place.
struct YamlPlace {
  int line = 0;
  int column = 0;
  friend auto operator<=>(const YamlPlace&, const YamlPlace&) = default;
};

struct YamlNode {
  enum class Kind : std::uint8_t { kNull, kScalar, kSequence, kMapping };
  using Index = std::size_t;

  Kind kind = Kind::kNull;
  YamlPlace place;
  std::string text;     // kScalar
  bool quoted = false;  // kScalar: in quotes, a block or tagged !!str, so never a number or a bool
  // kSequence: the items. kMapping: key, value, key, value…
  std::vector<Index> children;
};

class YamlTree {
 public:
  using Kind = YamlNode::Kind;

  // The root: kNull for an empty document, or none at all.
  const YamlNode& root() const { return nodes_.front(); }
  const YamlNode& at(YamlNode::Index index) const { return nodes_[index]; }

 private:
  friend class YamlTreeBuilder;
  std::vector<YamlNode> nodes_;  // never empty; an alias can make a cycle: descend by a schema only
};

struct YamlProblem {
  YamlPlace place;
  std::string message;
};

// Refuses, with their place: bytes that are no text (control characters, UTF-16), tabs as
// indentation, broken syntax, and more than one document.
std::variant<YamlTree, YamlProblem> parse_yaml(std::string_view text);

}  // namespace mesh
