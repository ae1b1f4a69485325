// Node records as text: YAML in the directory store, JSON in etcd. Both mean the same; the contract
// ("The directory store") has the fields.
//
// Pure; any thread; linear in the text, whose size is bounded. parse(format(record)) equals the
// record, without its problems, whatever its strings hold (bytes that are not UTF-8 become U+FFFD).
#pragma once

#include <string>
#include <string_view>

#include "mesh/node_record.h"
#include "mesh/result.h"

namespace mesh {

// Counts that keep one hostile record from costing more than itself.
inline constexpr std::size_t kMaxRecordAddresses = 64;
inline constexpr std::size_t kMaxRecordCidrs = 4096;
inline constexpr std::size_t kMaxRecordLabels = 1024;  // and as many annotations
// Of the key of a label or an annotation; Kubernetes' own limit: 253 + '/' + 63.
inline constexpr std::size_t kMaxLabelKeyBytes = 317;

// Reads the record of node `expected_name`. An address or prefix that cannot be read goes to
// NodeRecord::problems and costs that entry only. Everything else that is wrong is one error
// (kInvalid) led by `place` and, where known, line and column. Unknown fields are ignored: a newer
// meshd may write more. Numbers and bools as label values are their text; nothing (null) is "".
Result<NodeRecord> parse_record_yaml(std::string_view text, std::string_view place,
                                     std::string_view expected_name);
Result<NodeRecord> parse_record_json(std::string_view text, std::string_view place,
                                     std::string_view expected_name);

// Block style, one entry and one annotation a line, the values of annotations in double quotes.
std::string format_record_yaml(const NodeRecord& record);
std::string format_record_json(const NodeRecord& record);  // on one line

}  // namespace mesh
