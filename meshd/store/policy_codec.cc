#include "meshd/store/policy_codec.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>

#include "mesh/nearest.h"
#include "meshd/store/document.h"
#include "meshd/store/utf8.h"
#include "meshd/store/yaml_text.h"

namespace mesh {
namespace {

using Kind = DocumentNode::Kind;
using Words = std::span<const std::string_view>;

constexpr std::string_view kListKind = "List";
constexpr std::string_view kPolicyListKind = "EncryptionPolicyList";
constexpr std::array<std::string_view, 5> kRootKeys = {"apiVersion", "kind", "metadata", "spec",
                                                       "status"};
constexpr std::array<std::string_view, 4> kSpecKeys = {"order", "selector", "peerSelector",
                                                       "action"};
constexpr std::array<PolicyAction, 3> kActions = {PolicyAction::kRequire, PolicyAction::kPrefer,
                                                  PolicyAction::kPlaintext};
constexpr std::size_t kQuoted = 64;  // bytes of foreign text in a message

// ", did you mean …?" or nothing.
std::string suggestion(std::string_view word, Words words) {
  const std::string_view nearest = nearest_word(word, words);
  return nearest.empty() ? std::string() : fmt::format(": did you mean {}?", nearest);
}

std::optional<double> read_order(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(number))
    return std::nullopt;
  return number == 0 ? 0 : number;  // no negative zero
}

TextPlace place_of(const DocumentNode& node) { return {node.line, node.column}; }

// ---- from the tree ----

class PolicyReader {
 public:
  explicit PolicyReader(std::string_view place) : place_(place) {}

  Result<PolicyDocument> read(const DocumentNode& root) {
    if (root.kind != Kind::kMap)
      return error(root,
                   "a policy must be a map with apiVersion, kind, metadata and spec, and is {}",
                   to_string(root.kind));
    if (auto known = check_keys(root, "", kRootKeys); !known) return known.error();
    if (auto read = check_word(root, "apiVersion", kPolicyApiVersion); !read) return read.error();
    if (auto read = check_word(root, "kind", kPolicyKind); !read) return read.error();
    if (auto read = read_metadata(root); !read) return read.error();
    if (auto read = read_spec(root); !read) return read.error();
    return std::move(document_);
  }

 private:
  template <class... Args>
  Error error(const DocumentNode& node, fmt::format_string<Args...> format, Args&&... args) const {
    return error_at(node, place_, fmt::format(format, std::forward<Args>(args)...));
  }

  Result<void> check_keys(const DocumentNode& map, std::string_view section, Words known) const {
    for (const DocumentNode& member : map.children)
      if (std::find(known.begin(), known.end(), member.key) == known.end())
        return error(member, "{}{}: unknown key{}", section, printable(member.key, kQuoted),
                     suggestion(member.key, known));
    return {};
  }

  Result<const DocumentNode*> text_of(const DocumentNode& map, std::string_view section,
                                      std::string_view key) const {
    const DocumentNode* node = map.find(key);
    if (node == nullptr) return error(map, "{}{} is missing: add it", section, key);
    if (node->kind != Kind::kScalar)
      return error(*node, "{}{} must be text, and is {}", section, key, to_string(node->kind));
    return node;
  }

  Result<const DocumentNode*> map_of(const DocumentNode& root, std::string_view key) const {
    const DocumentNode* node = root.find(key);
    if (node == nullptr) return error(root, "{} is missing: add it", key);
    if (node->kind != Kind::kMap)
      return error(*node, "{} must be a map, and is {}", key, to_string(node->kind));
    return node;
  }

  Result<void> check_word(const DocumentNode& root, std::string_view key, std::string_view wanted) {
    const auto node = text_of(root, "", key);
    if (!node) return node.error();
    if ((*node)->text != wanted)
      return error(**node, "{} is '{}': write {}", key, printable((*node)->text, kQuoted), wanted);
    return {};
  }

  Result<void> read_metadata(const DocumentNode& root) {
    const auto metadata = map_of(root, "metadata");
    if (!metadata) return metadata.error();
    const auto name = text_of(**metadata, "metadata.", "name");
    if (!name) return name.error();
    if (auto checked = check_policy_name((*name)->text); !checked)
      return error(**name, "metadata.name: {}", printable(checked.error().message, 300));
    document_.policy.name = (*name)->text;
    document_.name = place_of(**name);
    return {};
  }

  Result<void> read_spec(const DocumentNode& root) {
    const auto spec = map_of(root, "spec");
    if (!spec) return spec.error();
    if (auto known = check_keys(**spec, "spec.", kSpecKeys); !known) return known;
    EncryptionPolicy& policy = document_.policy;
    if (const DocumentNode* order = (*spec)->find("order"); order != nullptr) {
      const auto number = order->kind == Kind::kScalar ? read_order(order->text) : std::nullopt;
      if (!number)
        return error(*order, "spec.order must be a finite number, and is {}", described(*order));
      policy.order = *number;
    }
    if (auto read = read_selector(**spec, "selector", policy.selector, document_.selector); !read)
      return read;
    if (auto read =
            read_selector(**spec, "peerSelector", policy.peer_selector, document_.peer_selector);
        !read)
      return read;
    return read_action(**spec);
  }

  static std::string described(const DocumentNode& node) {
    if (node.kind != Kind::kScalar) return std::string(to_string(node.kind));
    return fmt::format("'{}'", printable(node.text, kQuoted));
  }

  // An empty one is refused: whoever left it empty may not have meant every node.
  Result<void> read_selector(const DocumentNode& spec, std::string_view key, std::string& selector,
                             TextPlace& place) {
    const DocumentNode* node = spec.find(key);
    if (node == nullptr) return {};
    if (node->kind != Kind::kScalar || node->text.empty())
      return error(*node, "spec.{} must be a selector, and is {}: write all() for every node", key,
                   node->kind == Kind::kScalar ? "empty" : to_string(node->kind));
    if (node->text.size() > kMaxSelectorBytes)
      return error(*node, "spec.{} has {} bytes; at most {} are read", key, node->text.size(),
                   kMaxSelectorBytes);
    selector = node->text;
    place = place_of(*node);
    return {};
  }

  Result<void> read_action(const DocumentNode& spec) {
    const auto node = text_of(spec, "spec.", "action");
    if (!node) return node.error();
    std::array<std::string_view, kActions.size()> words;
    for (std::size_t i = 0; i < kActions.size(); ++i) {
      words[i] = to_string(kActions[i]);
      if ((*node)->text != words[i]) continue;
      document_.policy.action = kActions[i];
      return {};
    }
    return error(**node, "spec.action is '{}', and must be one of {}{}",
                 printable((*node)->text, kQuoted), fmt::join(words, ", "),
                 suggestion((*node)->text, words));
  }

  std::string_view place_;
  PolicyDocument document_;
};

Result<EncryptionPolicy> read_named(const Result<DocumentNode>& root, std::string_view place,
                                    std::string_view expected_name) {
  if (!root) return root.error();
  auto read = PolicyReader(place).read(*root);
  if (!read) return read.error();
  if (read->policy.name == expected_name) return std::move(read->policy);
  const DocumentNode& name = *root->find("metadata")->find("name");
  return error_at(name, place,
                  fmt::format("metadata.name is '{}', but this is the place of the policy '{}': "
                              "make them equal",
                              read->policy.name, printable(expected_name, kQuoted)));
}

// The policies of one document: itself, or the items of a list.
void read_items(const DocumentNode& root, std::string_view place,
                std::vector<Result<PolicyDocument>>& read) {
  const DocumentNode* kind = root.find("kind");
  const bool list = kind != nullptr && (kind->text == kListKind || kind->text == kPolicyListKind);
  if (!list) {
    read.push_back(PolicyReader(place).read(root));
    return;
  }
  const DocumentNode* items = root.find("items");
  if (items == nullptr || (items->kind != Kind::kList && items->kind != Kind::kNull)) {
    read.emplace_back(error_at(root, place, "a list has items: add `items:`"));
    return;
  }
  for (const DocumentNode& item : items->children) read.push_back(PolicyReader(place).read(item));
}

// ---- to text ----

nlohmann::ordered_json to_json(const EncryptionPolicy& policy) {
  nlohmann::ordered_json json;
  json["apiVersion"] = kPolicyApiVersion;
  json["kind"] = kPolicyKind;
  json["metadata"]["name"] = policy.name;
  auto& spec = json["spec"];
  if (std::isfinite(policy.order)) spec["order"] = policy.order;
  spec["selector"] = policy.selector;
  spec["peerSelector"] = policy.peer_selector;
  spec["action"] = to_string(policy.action);
  return json;
}

std::string dump(const nlohmann::ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

Result<EncryptionPolicy> parse_policy_yaml(std::string_view text, std::string_view place,
                                           std::string_view expected_name) {
  return read_named(parse_yaml_document(text, place), place, expected_name);
}

Result<EncryptionPolicy> parse_policy_json(std::string_view text, std::string_view place,
                                           std::string_view expected_name) {
  return read_named(parse_json_document(text, place), place, expected_name);
}

std::vector<Result<PolicyDocument>> parse_policy_documents(std::string_view text,
                                                           std::string_view place) {
  std::vector<Result<PolicyDocument>> read;
  const auto documents = parse_yaml_documents(text, place);  // JSON is YAML
  if (!documents) {
    read.emplace_back(documents.error());
    return read;
  }
  for (const DocumentNode& document : *documents)
    if (document.kind != Kind::kNull) read_items(document, place, read);
  return read;
}

std::string format_policy_yaml(const EncryptionPolicy& policy) {
  std::string out =
      fmt::format("apiVersion: {}\nkind: {}\nmetadata:\n  name: ", kPolicyApiVersion, kPolicyKind);
  append_yaml_text(out, policy.name);
  out += "\nspec:\n";
  if (std::isfinite(policy.order)) out += fmt::format("  order: {}\n", policy.order);
  out += "  selector: ";
  append_yaml_quoted(out, policy.selector);
  out += "\n  peerSelector: ";
  append_yaml_quoted(out, policy.peer_selector);
  out += fmt::format("\n  action: {}\n", to_string(policy.action));
  return out;
}

std::string format_policy_json(const EncryptionPolicy& policy) { return dump(to_json(policy), -1); }

std::string format_policy_list_json(const std::vector<EncryptionPolicy>& policies) {
  nlohmann::ordered_json json;
  json["apiVersion"] = kPolicyApiVersion;
  json["kind"] = kPolicyListKind;
  json["items"] = nlohmann::ordered_json::array();
  for (const EncryptionPolicy& policy : policies) json["items"].push_back(to_json(policy));
  return dump(json, 2);
}

}  // namespace mesh
