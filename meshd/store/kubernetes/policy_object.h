// EncryptionPolicy as a custom resource of the Kubernetes API: packaging/kubernetes/crd.yaml.
// Pure; any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "mesh/node_store.h"

namespace mesh {

inline constexpr const char* kPoliciesPath = "/apis/meshd.io/v1/encryptionpolicies";

PolicyEntry entry_of_policy(const nlohmann::json& object);

}  // namespace mesh
