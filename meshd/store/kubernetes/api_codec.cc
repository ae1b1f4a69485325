#include "meshd/store/kubernetes/api_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "meshd/store/record_codec.h"
#include "meshd/store/utf8.h"

namespace mesh {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;  // a Node has about 10
constexpr std::uint64_t kMaxRetryAfterSeconds = 3600;

struct TooDeep {};

// Parses, and drops what meshd has no use for. `object_depth` is the depth of the keys of an
// object: 1 for an object alone, 2 in a watch event, 3 in a list.
class PrunedParse {
 public:
  explicit PrunedParse(int object_depth) : depth_(object_depth) {}

  Result<json> parse(std::string_view text) {
    if (text.find_first_not_of(" \t\r\n") == std::string_view::npos)
      return make_error(ErrorCode::kInvalid, "an empty answer");
    try {
      return json::parse(text, [this](int depth, json::parse_event_t event, json& value) {
        return keep(depth, event, value);
      });
    } catch (const TooDeep&) {
      return make_error(ErrorCode::kInvalid, "JSON that is nested more than {} deep", kMaxDepth);
    } catch (const json::parse_error& error) {
      return make_error(ErrorCode::kInvalid, "{} at byte {}",
                        error.byte >= text.size() ? "half of a JSON document: it ends" : "not JSON",
                        error.byte);
    } catch (const std::exception& error) {
      return make_error(ErrorCode::kInvalid, "not JSON: {}", printable(error.what(), 100));
    }
  }

 private:
  bool keep(int depth, json::parse_event_t event, const json& value) {
    if (depth > kMaxDepth) throw TooDeep();
    if (event != json::parse_event_t::key) return true;
    const auto& key = value.get_ref<const std::string&>();
    if (depth == depth_) {
      in_status_ = key == "status";
      in_metadata_ = key == "metadata";
    }
    if (depth != depth_ + 1) return true;
    if (in_status_) return key == "addresses";
    if (in_metadata_) return key != "managedFields";
    return true;
  }

  int depth_;
  bool in_status_ = false;
  bool in_metadata_ = false;
};

const json* find(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

const json* find(const json& object, const char* key, const char* inner) {
  const json* outer = find(object, key);
  return outer == nullptr ? nullptr : find(*outer, inner);
}

std::string text_of(const json* value) {
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

// `map` with text as values, of those keys that pass; what is not text is left for the codec to
// refuse.
template <class Pass>
json text_map(const json* map, Pass pass) {
  json result = json::object();
  if (map == nullptr || !map->is_object()) return result;
  for (const auto& [key, value] : map->items())
    if (pass(key)) result[key] = value;
  return result;
}

bool is_own(std::string_view key) { return key.starts_with(kAnnotationPrefix); }

json internal_addresses(const json& node) {
  json result = json::array();
  const json* addresses = find(node, "status", "addresses");
  if (addresses == nullptr || !addresses->is_array()) return result;
  for (const json& address : *addresses)
    if (text_of(find(address, "type")) == "InternalIP")
      result.push_back(text_of(find(address, "address")));
  return result;
}

json pod_prefixes(const json& node) {
  if (const json* list = find(node, "spec", "podCIDRs"); list != nullptr && !list->empty())
    return *list;
  json result = json::array();  // what servers before dual stack say
  if (std::string one = text_of(find(node, "spec", "podCIDR")); !one.empty())
    result.push_back(std::move(one));
  return result;
}

}  // namespace

Result<ApiList> parse_api_list(std::string_view text) {
  auto parsed = PrunedParse(3).parse(text);
  if (!parsed) return parsed.error();
  json* items = nullptr;
  if (parsed->is_object() && parsed->contains("items")) items = &(*parsed)["items"];
  ApiList list;
  list.resource_version = resource_version_of(*parsed);
  list.continue_token = text_of(find(*parsed, "metadata", "continue"));
  // An empty list of a custom resource is null in some versions.
  const bool is_list = items != nullptr && (items->is_array() || items->is_null());
  if (!is_list || list.resource_version.empty())
    return make_error(ErrorCode::kInvalid, "JSON that is no list of the Kubernetes API");
  for (json& item : *items) {
    if (name_of(item).empty())
      return make_error(ErrorCode::kInvalid, "a list with an item that has no name");
    list.items.push_back(std::move(item));
  }
  return list;
}

Result<WatchEvent> parse_watch_event(std::string_view line) {
  auto parsed = PrunedParse(2).parse(line);
  if (!parsed) return parsed.error();
  constexpr std::array<std::pair<std::string_view, WatchEvent::Kind>, 5> kKinds{
      {{"ADDED", WatchEvent::Kind::kAdded},
       {"MODIFIED", WatchEvent::Kind::kModified},
       {"DELETED", WatchEvent::Kind::kDeleted},
       {"BOOKMARK", WatchEvent::Kind::kBookmark},
       {"ERROR", WatchEvent::Kind::kError}}};
  const std::string type = text_of(find(*parsed, "type"));
  const json* object = find(*parsed, "object");
  for (const auto& [word, kind] : kKinds) {
    if (type != word || object == nullptr) continue;
    const bool named = kind == WatchEvent::Kind::kError || kind == WatchEvent::Kind::kBookmark ||
                       !name_of(*object).empty();
    const bool versioned =
        kind == WatchEvent::Kind::kError || !resource_version_of(*object).empty();
    if (named && versioned) return WatchEvent{kind, std::move((*parsed)["object"])};
  }
  return make_error(ErrorCode::kInvalid, "JSON that is no watch event of the Kubernetes API");
}

Result<json> parse_api_object(std::string_view text) {
  auto parsed = PrunedParse(1).parse(text);
  if (parsed && name_of(*parsed).empty())
    return make_error(ErrorCode::kInvalid, "JSON that is no object of the Kubernetes API");
  return parsed;
}

ApiStatus status_of(const json& status) {
  ApiStatus result;
  if (const json* code = find(status, "code"); code != nullptr && code->is_number_integer())
    result.code = code->get<int>();
  result.message = printable(text_of(find(status, "message")), 300);
  const json* seconds = find(status, "details", "retryAfterSeconds");
  if (seconds != nullptr && seconds->is_number_unsigned())
    result.retry_after =
        std::chrono::seconds(std::min(seconds->get<std::uint64_t>(), kMaxRetryAfterSeconds));
  return result;
}

ApiStatus parse_api_status(std::string_view text) {
  const auto parsed = PrunedParse(1).parse(text);
  return parsed ? status_of(*parsed) : ApiStatus{};
}

std::string name_of(const json& object) { return text_of(find(object, "metadata", "name")); }

std::string resource_version_of(const json& object) {
  return text_of(find(object, "metadata", "resourceVersion"));
}

// By way of the text of a record, so that what a record may hold is decided in one place.
StoreEntry entry_of_node(const json& node) {
  const std::string name = name_of(node);
  const json record = {
      {"name", name},
      {"addresses", internal_addresses(node)},
      {"cidrs", pod_prefixes(node)},
      {"labels", text_map(find(node, "metadata", "labels"), [](const auto&) { return true; })},
      {"annotations", text_map(find(node, "metadata", "annotations"), is_own)}};
  const std::string text = record.dump(-1, ' ', false, json::error_handler_t::replace);
  auto parsed = parse_record_json(text, "Node " + printable(name, 253), name);
  if (!parsed) return BadRecord{std::move(parsed.error().message)};
  return std::move(*parsed);
}

Annotations own_annotations(const json& node) {
  Annotations result;
  const json* annotations = find(node, "metadata", "annotations");
  if (annotations == nullptr || !annotations->is_object()) return result;
  for (const auto& [key, value] : annotations->items())
    if (is_own(key) && value.is_string()) result.emplace(key, value.get<std::string>());
  return result;
}

Annotations own_annotations(const NodeRecord& record) {
  Annotations result;
  for (const auto& [key, value] : record.annotations)
    if (is_own(key)) result.emplace(key, value);
  return result;
}

std::string annotations_patch(const Annotations& present, const Annotations& wanted) {
  json changes = json::object();
  for (const auto& [key, value] : wanted) {
    const auto found = present.find(key);
    if (found == present.end() || found->second != value) changes[key] = value;
  }
  for (const auto& [key, value] : present)
    if (!wanted.contains(key)) changes[key] = nullptr;
  if (changes.empty()) return "";
  const json patch = {{"metadata", {{"annotations", std::move(changes)}}}};
  return patch.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace mesh
