// What must hold of every text that is read as a node record, whatever its notation.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "mesh/node_record.h"
#include "meshd/store/record_codec.h"
#include "meshd/store/utf8.h"

namespace mesh::testing {

inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "must hold: %s\n", what);
  std::abort();
}

inline void require_printable(const std::string& message) {
  require(message.size() < 2048, "a message is short");
  require(find_invalid_utf8(message) == std::string_view::npos, "a message is UTF-8");
  require(message.find('\n') == std::string::npos, "a message is one line");
}

template <class Parse>
void check_record_text(const std::uint8_t* data, std::size_t size, Parse parse) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Result<NodeRecord> record = parse(text);
  if (!record) {
    require(record.error().code == ErrorCode::kInvalid, "what cannot be read is invalid");
    return require_printable(record.error().message);
  }
  require(record->name == "node-b", "the name is the expected one");
  require(record->addresses.size() <= kMaxRecordAddresses, "addresses are bounded");
  require(record->cidrs.size() <= kMaxRecordCidrs, "prefixes are bounded");
  require(record->labels.size() <= kMaxRecordLabels, "labels are bounded");
  for (const std::string& problem : record->problems) require_printable(problem);

  NodeRecord expected = *record;
  expected.problems.clear();
  const auto yaml = parse_record_yaml(format_record_yaml(expected), "again", "node-b");
  require(yaml && *yaml == expected, "what was read can be written as YAML and read again");
  const auto json = parse_record_json(format_record_json(expected), "again", "node-b");
  require(json && *json == expected, "what was read can be written as JSON and read again");
}

}  // namespace mesh::testing
