// EncryptionPolicy documents as text: YAML in the directory store and from operators, JSON in etcd,
// in Kubernetes and on the API. All mean the same:
//   apiVersion: meshd.io/v1
//   kind: EncryptionPolicy
//   metadata: {name: databases}
//   spec: {order: 100, selector: "role == 'db'", peerSelector: "all()", action: Require}
//
// Only the structure is read here: selectors are text (core/selector compiles them). Unlike a node
// record, whose unknown fields a newer meshd wrote, a policy is an operator's word: an unknown key
// is a mistake, and might be the one that mattered. Of `metadata`, only the name is looked at, and
// `status` not at all: Kubernetes keeps more there.
// Pure; any thread; linear in the text, whose size is bounded. parse(format(policy)) equals the
// policy (bytes that are not UTF-8 become U+FFFD).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mesh/policy.h"
#include "mesh/result.h"

namespace mesh {

// Reads the policy `expected_name`. What is wrong is one error (kInvalid) led by `place` and, where
// known, line and column, with the nearest valid word where one is near. `order` is optional, and
// so are the selectors, but for an empty one; the action is not.
Result<EncryptionPolicy> parse_policy_yaml(std::string_view text, std::string_view place,
                                           std::string_view expected_name);
Result<EncryptionPolicy> parse_policy_json(std::string_view text, std::string_view place,
                                           std::string_view expected_name);

// Where something stands in a text, from 1; 0: not known, or not in it.
struct TextPlace {
  int line = 0;
  int column = 0;
};

struct PolicyDocument {
  EncryptionPolicy policy;
  TextPlace name, selector, peer_selector;  // of the values
};

// Reads what an operator hands over: YAML or JSON, any number of documents, each a policy or a list
// (kind List or EncryptionPolicyList) of policies, in the order of the text. A document that is
// wrong is an error in its place; text that cannot be read at all is one error alone.
std::vector<Result<PolicyDocument>> parse_policy_documents(std::string_view text,
                                                           std::string_view place);

std::string format_policy_yaml(const EncryptionPolicy& policy);  // block style, one key a line
std::string format_policy_json(const EncryptionPolicy& policy);  // on one line
// An EncryptionPolicyList, indented; parse_policy_documents reads it.
std::string format_policy_list_json(const std::vector<EncryptionPolicy>& policies);

}  // namespace mesh
