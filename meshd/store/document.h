// DocumentNode: one YAML or JSON document as a small tree of text, so that a record means the same
// in every store. The only user of yaml-cpp and of JSON parsing in the store; their exceptions end
// here.
//
// Written for text that strangers wrote: time and memory are linear in its size, which is bounded,
// and so are depth and number of values. Refused with place, line and column: more than
// kMaxRecordBytes, bytes that are not UTF-8, control characters, NUL (also an escaped one), broken
// syntax, no document or, but for
// parse_yaml_documents, more than one, a repeated key, a key that is not text, and YAML anchors
// and aliases (with which a small text can stand for an enormous one) and tags.
// Thread rules: values and free functions, any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mesh/result.h"

namespace mesh {

struct DocumentNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  int line = 0;  // from 1; 0: not known (the parts of a JSON document)
  int column = 0;
  std::string key;   // of a member of a map
  std::string text;  // kScalar: as it was written; numbers and bools too
  std::vector<DocumentNode> children;

  const DocumentNode* find(std::string_view member) const;  // of a map; null: not in it
};

std::string_view to_string(DocumentNode::Kind kind);  // "text", "a list"… as in "is a list"

// What is wrong with a part of a document, led by `place` and, where known, its line and column.
Error error_at(const DocumentNode& node, std::string_view place, std::string_view message);

// `place` leads every message: a path, or a key and its store.
Result<DocumentNode> parse_yaml_document(std::string_view text, std::string_view place);
// Any number of documents, none included; an empty one is kNull.
Result<std::vector<DocumentNode>> parse_yaml_documents(std::string_view text,
                                                       std::string_view place);
Result<DocumentNode> parse_json_document(std::string_view text, std::string_view place);

}  // namespace mesh
