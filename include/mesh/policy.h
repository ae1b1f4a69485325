// EncryptionPolicy: an operator's word on which pairs of nodes must, should or need not encrypt, as
// a value; the same whatever the store. Its selectors are text here; core/selector compiles them.
// Any thread (a value).
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "mesh/result.h"

namespace mesh {

inline constexpr std::string_view kPolicyApiVersion = "meshd.io/v1";
inline constexpr std::string_view kPolicyKind = "EncryptionPolicy";
inline constexpr std::size_t kMaxSelectorBytes = 16384;  // room for a list of many nodes' names

enum class PolicyAction : std::uint8_t { kRequire, kPrefer, kPlaintext };

struct EncryptionPolicy {
  std::string name;  // an RFC 1123 subdomain, like a node's
  // Lowest first, the name breaks ties. A policy without one comes last.
  double order = std::numeric_limits<double>::infinity();
  std::string selector = "all()";       // of one side of the pair, either way round
  std::string peer_selector = "all()";  // of the other
  PolicyAction action = PolicyAction::kPrefer;
  friend bool operator==(const EncryptionPolicy&, const EncryptionPolicy&) = default;
};

std::string_view to_string(PolicyAction action);  // "Require", "Prefer", "Plaintext"

// Why a policy cannot have this name, or no value when it can. It becomes a file name and a key.
Result<void> check_policy_name(std::string_view name);

}  // namespace mesh
