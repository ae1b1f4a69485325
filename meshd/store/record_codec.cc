#include "meshd/store/record_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "meshd/store/document.h"
#include "meshd/store/utf8.h"
#include "meshd/store/yaml_text.h"

namespace mesh {
namespace {

using Kind = DocumentNode::Kind;
using TextMap = std::map<std::string, std::string>;

// ---- from the tree ----

class RecordReader {
 public:
  RecordReader(std::string_view place, std::string_view expected_name)
      : place_(place), expected_name_(expected_name) {}

  Result<NodeRecord> read(const DocumentNode& root) {
    if (root.kind != Kind::kMap)
      return error(root, "a record must be a map of fields such as `name: {}`, and this is {}",
                   expected_name_, to_string(root.kind));
    const DocumentNode* name = root.find("name");
    if (name == nullptr)
      return error(root, "the record has no name: add `name: {}`", expected_name_);
    if (auto read = read_name(*name); !read) return read.error();
    for (const DocumentNode& field : root.children)
      if (auto read = read_field(field); !read) return read.error();
    return std::move(record_);
  }

 private:
  template <class... Args>
  Error error(const DocumentNode& node, fmt::format_string<Args...> format, Args&&... args) const {
    return error_at(node, place_, fmt::format(format, std::forward<Args>(args)...));
  }

  Result<void> read_field(const DocumentNode& field) {
    if (field.key == "addresses")
      return read_list<IpAddress>(field, kMaxRecordAddresses, record_.addresses);
    if (field.key == "cidrs") return read_list<Cidr>(field, kMaxRecordCidrs, record_.cidrs);
    if (field.key == "labels") return read_map(field, record_.labels);
    if (field.key == "annotations") return read_map(field, record_.annotations);
    return {};
  }

  Result<void> read_name(const DocumentNode& name) {
    if (name.kind != Kind::kScalar)
      return error(name, "name must be text, and is {}: write `name: {}`", to_string(name.kind),
                   expected_name_);
    if (name.text != expected_name_)
      return error(name,
                   "name is '{}', but this is the place of the record of '{}': make them equal",
                   printable(name.text, 64), expected_name_);
    if (auto checked = check_node_name(name.text); !checked)
      return error(name, "{}", printable(checked.error().message, 300));
    record_.name = name.text;
    return {};
  }

  template <class T>
  Result<void> read_list(const DocumentNode& field, std::size_t limit, std::vector<T>& values) {
    if (field.kind == Kind::kNull) return {};
    if (field.kind != Kind::kList)
      return error(field, "{} must be a list such as [{}], and is {}", field.key,
                   field.key == "cidrs" ? "10.1.0.0/24" : "192.0.2.1", to_string(field.kind));
    if (field.children.size() > limit)
      return error(field, "{} has {} entries; at most {} are read", field.key,
                   field.children.size(), limit);
    for (std::size_t i = 0; i < field.children.size(); ++i) {
      const DocumentNode& entry = field.children[i];
      if (entry.kind != Kind::kScalar) {
        add_problem(field, i, fmt::format("must be text, and is {}", to_string(entry.kind)));
        continue;
      }
      if (auto value = T::parse(entry.text))
        values.push_back(*value);
      else
        add_problem(field, i, value.error().message);
    }
    return {};
  }

  void add_problem(const DocumentNode& field, std::size_t index, std::string_view cause) {
    record_.problems.push_back(fmt::format("{}[{}]: {}", field.key, index, printable(cause, 300)));
  }

  Result<void> read_map(const DocumentNode& field, TextMap& values) {
    if (field.kind == Kind::kNull) return {};
    if (field.kind != Kind::kMap)
      return error(field, "{} must be a map such as {{role: web}}, and is {}", field.key,
                   to_string(field.kind));
    if (field.children.size() > kMaxRecordLabels)
      return error(field, "{} has {} entries; at most {} are read", field.key,
                   field.children.size(), kMaxRecordLabels);
    for (const DocumentNode& entry : field.children) {
      if (auto checked = check_key(field, entry); !checked) return checked;
      if (entry.kind != Kind::kScalar && entry.kind != Kind::kNull)
        return error(entry, "{}: '{}' must be text, and is {}", field.key, printable(entry.key, 64),
                     to_string(entry.kind));
      values.emplace(entry.key, entry.text);
    }
    return {};
  }

  Result<void> check_key(const DocumentNode& field, const DocumentNode& entry) const {
    if (entry.key.empty()) return error(entry, "{}: an empty key: give it a name", field.key);
    if (entry.key.size() > kMaxLabelKeyBytes)
      return error(entry, "{}: '{}' is longer than the {} bytes that a key can have", field.key,
                   printable(entry.key, 64), kMaxLabelKeyBytes);
    for (std::string_view rest = entry.key; !rest.empty();) {
      const CodePoint c = decode_utf8(rest);
      if (c.size == 0 || is_control(c.value))
        return error(entry, "{}: the key '{}' has a control character: remove it", field.key,
                     printable(entry.key, 64));
      rest.remove_prefix(c.size);
    }
    return {};
  }

  std::string_view place_;
  std::string_view expected_name_;
  NodeRecord record_;
};

// ---- to text ----

template <class T>
void append_list(std::string& out, std::string_view name, const std::vector<T>& values) {
  if (values.empty()) {
    out.append(name).append(": []\n");
    return;
  }
  out.append(name).append(":\n");
  for (const T& value : values) {
    // Quoted where a colon could be read as that of a key.
    const std::string text = value.to_string();
    const std::string_view quote = text.find(':') == std::string::npos ? "" : "\"";
    out.append("  - ").append(quote).append(text).append(quote).append("\n");
  }
}

void append_map(std::string& out, std::string_view name, const TextMap& values, bool quote_values) {
  if (values.empty()) return;
  out.append(name).append(":\n");
  for (const auto& [key, value] : values) {
    out += "  ";
    append_yaml_text(out, key);
    out += ": ";
    if (quote_values)
      append_yaml_quoted(out, value);
    else
      append_yaml_text(out, value);
    out += '\n';
  }
}

template <class T>
nlohmann::ordered_json to_json(const std::vector<T>& values) {
  auto list = nlohmann::ordered_json::array();
  for (const T& value : values) list.push_back(value.to_string());
  return list;
}

}  // namespace

Result<NodeRecord> parse_record_yaml(std::string_view text, std::string_view place,
                                     std::string_view expected_name) {
  const auto root = parse_yaml_document(text, place);
  if (!root) return root.error();
  return RecordReader(place, expected_name).read(*root);
}

Result<NodeRecord> parse_record_json(std::string_view text, std::string_view place,
                                     std::string_view expected_name) {
  const auto root = parse_json_document(text, place);
  if (!root) return root.error();
  return RecordReader(place, expected_name).read(*root);
}

std::string format_record_yaml(const NodeRecord& record) {
  std::string out = "name: ";
  append_yaml_text(out, record.name);
  out += '\n';
  append_list(out, "addresses", record.addresses);
  append_list(out, "cidrs", record.cidrs);
  append_map(out, "labels", record.labels, /*quote_values=*/false);
  append_map(out, "annotations", record.annotations, /*quote_values=*/true);
  return out;
}

std::string format_record_json(const NodeRecord& record) {
  nlohmann::ordered_json json;
  json["name"] = record.name;
  json["addresses"] = to_json(record.addresses);
  json["cidrs"] = to_json(record.cidrs);
  if (!record.labels.empty()) json["labels"] = record.labels;
  if (!record.annotations.empty()) json["annotations"] = record.annotations;
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace mesh
