// What the Kubernetes API says, as values: pages of lists, watch events, refusals; and a Node as a
// NodeRecord.
//
// Pure; any thread; linear in the text. Written for answers that may be anything: text that is not
// JSON, half of a document, nesting without end are each one error (kInvalid). What meshd has no
// use for (conditions, images, managedFields: nearly all of a Node) is dropped while it is parsed.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mesh/node_store.h"
#include "mesh/result.h"

namespace mesh {

struct ApiList {
  std::vector<nlohmann::json> items;  // each is an object with a name
  std::string resource_version;       // where a watch goes on
  std::string continue_token;         // "": this was the last page
};

struct WatchEvent {
  enum class Kind { kAdded, kModified, kDeleted, kBookmark, kError };
  Kind kind = Kind::kError;
  nlohmann::json object;  // kError: a Status
};

// metav1.Status: why a request was refused.
struct ApiStatus {
  int code = 0;
  std::string message;  // on one line, "" when there is none
  std::optional<std::chrono::seconds> retry_after;
};

Result<ApiList> parse_api_list(std::string_view text);
Result<WatchEvent> parse_watch_event(std::string_view line);
Result<nlohmann::json> parse_api_object(std::string_view text);
ApiStatus status_of(const nlohmann::json& status);
ApiStatus parse_api_status(std::string_view text);  // of any text; empty when it is none

std::string name_of(const nlohmann::json& object);              // "" when it has none
std::string resource_version_of(const nlohmann::json& object);  // "" when it has none

// Addresses of type InternalIP, podCIDRs, labels, and of the annotations those of meshd alone.
StoreEntry entry_of_node(const nlohmann::json& node);

using Annotations = std::map<std::string, std::string>;
Annotations own_annotations(const nlohmann::json& node);
Annotations own_annotations(const NodeRecord& record);

// The merge patch (RFC 7386) that makes meshd's annotations of a Node `wanted` where they are
// `present`; "" when they are already.
std::string annotations_patch(const Annotations& present, const Annotations& wanted);

}  // namespace mesh
