// JSON values as YAML. Pure; any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace mesh::ctl {

// Block style, keys in their order. Strings that a reader of YAML 1.1 or 1.2 could take for
// something else (yes, null, 1e3, a time…) are quoted.
std::string to_yaml(const nlohmann::ordered_json& value);

}  // namespace mesh::ctl
