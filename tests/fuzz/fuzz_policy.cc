// Any bytes as an EncryptionPolicy, in each notation, and as what an operator hands over.
#include "fuzz/record_fuzzing.h"
#include "meshd/store/policy_codec.h"

namespace mesh::testing {
namespace {

void check_error(const Error& error) {
  require(error.code == ErrorCode::kInvalid, "what cannot be read is invalid");
  require_printable(error.message);
}

void check_policy(const EncryptionPolicy& policy) {
  require(check_policy_name(policy.name).has_value(), "the name is one");
  require(policy.order == policy.order, "the order is a number");
  require(!policy.selector.empty() && policy.selector.size() <= kMaxSelectorBytes, "bounded");
  const auto yaml = parse_policy_yaml(format_policy_yaml(policy), "again", policy.name);
  require(yaml && *yaml == policy, "what was read can be written as YAML and read again");
  const auto json = parse_policy_json(format_policy_json(policy), "again", policy.name);
  require(json && *json == policy, "what was read can be written as JSON and read again");
}

}  // namespace
}  // namespace mesh::testing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mesh;           // NOLINT(*-using-namespace): of one function
  using namespace mesh::testing;  // NOLINT(*-using-namespace)
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto& policy : {parse_policy_yaml(text, "fuzz", "databases"),
                             parse_policy_json(text, "fuzz", "databases")}) {
    if (policy)
      check_policy(*policy);
    else
      check_error(policy.error());
  }
  std::vector<EncryptionPolicy> policies;
  for (const auto& read : parse_policy_documents(text, "fuzz")) {
    if (!read) {
      check_error(read.error());
      continue;
    }
    check_policy(read->policy);
    policies.push_back(read->policy);
  }
  const auto again = parse_policy_documents(format_policy_list_json(policies), "again");
  require(again.size() == policies.size(), "a list has all of them");
  for (std::size_t i = 0; i < again.size(); ++i)
    require(again[i] && again[i]->policy == policies[i], "each the same");
  return 0;
}
