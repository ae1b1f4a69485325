#include "meshd/store/kubernetes/policy_object.h"

#include "meshd/store/kubernetes/api_codec.h"
#include "meshd/store/policy_codec.h"
#include "meshd/store/utf8.h"

namespace mesh {

PolicyEntry entry_of_policy(const nlohmann::json& object) {
  const std::string text = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const std::string name = name_of(object);
  auto policy = parse_policy_json(text, "EncryptionPolicy " + printable(name, 253), name);
  if (!policy) return BadRecord{std::move(policy.error().message)};
  return std::move(*policy);
}

}  // namespace mesh
