// EncryptionPolicy documents as text: what is read, what is refused and how that is said.
#include "meshd/store/policy_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "meshd/store/utf8.h"

namespace mesh {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::string_view kPlace = "/store/policies/databases.yaml";

Result<EncryptionPolicy> from_yaml(std::string_view text) {
  return parse_policy_yaml(text, kPlace, "databases");
}

EncryptionPolicy databases() {
  return {"databases", 100, "role == 'db' && has(zone)", "all()", PolicyAction::kRequire};
}

template <class T>
std::string error_of(const Result<T>& read) {
  EXPECT_FALSE(read.has_value());
  if (read) return "";
  EXPECT_EQ(read.error().code, ErrorCode::kInvalid);
  EXPECT_EQ(read.error().message.find('\n'), std::string::npos) << read.error().message;
  EXPECT_EQ(find_invalid_utf8(read.error().message), std::string_view::npos);
  EXPECT_LT(read.error().message.size(), 1024U);
  return read.error().message;
}

// A policy whose spec has this instead of, or besides, what it needs.
std::string with_spec(std::string_view spec) {
  return fmt::format(
      "apiVersion: meshd.io/v1\nkind: EncryptionPolicy\nmetadata: {{name: databases}}\nspec:\n  "
      "{}\n",
      spec);
}

TEST(PolicyCodec, ReadsThePolicyOfTheContract) {
  const auto policy = from_yaml(R"y(apiVersion: meshd.io/v1
kind: EncryptionPolicy
metadata: {name: databases}
spec: {order: 100, selector: "role == 'db' && has(zone)", peerSelector: "all()", action: Require}
)y");
  ASSERT_TRUE(policy.has_value()) << policy.error().message;
  EXPECT_EQ(*policy, databases());
}

TEST(PolicyCodec, ReadsTheSamePolicyFromJsonAndIgnoresWhatKubernetesAdds) {
  const auto policy = parse_policy_json(
      R"y({"apiVersion": "meshd.io/v1", "kind": "EncryptionPolicy",
          "metadata": {"name": "databases", "uid": "c0ffee", "resourceVersion": "12",
                       "creationTimestamp": "2026-11-22T15:00:00Z", "managedFields": [{"x": 1}]},
          "spec": {"order": 100.0, "selector": "role == 'db' && has(zone)",
                   "peerSelector": "all()", "action": "Require"},
          "status": {"seen": true}})y",
      "etcd /meshd/policies/databases", "databases");
  ASSERT_TRUE(policy.has_value()) << policy.error().message;
  EXPECT_EQ(*policy, databases());
}

TEST(PolicyCodec, WithoutOrderAPolicyComesLastAndWithoutSelectorsItConcernsEveryNode) {
  const auto policy = from_yaml(with_spec("action: Plaintext"));
  ASSERT_TRUE(policy.has_value()) << policy.error().message;
  EXPECT_EQ(policy->order, std::numeric_limits<double>::infinity());
  EXPECT_EQ(policy->selector, "all()");
  EXPECT_EQ(policy->peer_selector, "all()");
  EXPECT_EQ(policy->action, PolicyAction::kPlaintext);
}

TEST(PolicyCodec, WritesBlockStyleWithSelectorsInQuotes) {
  EXPECT_EQ(format_policy_yaml(databases()), R"y(apiVersion: meshd.io/v1
kind: EncryptionPolicy
metadata:
  name: databases
spec:
  order: 100
  selector: "role == 'db' && has(zone)"
  peerSelector: "all()"
  action: Require
)y");
  EXPECT_EQ(format_policy_json(databases()).find('\n'), std::string::npos);
}

TEST(PolicyCodec, WhatIsWrittenIsReadAgain) {
  EncryptionPolicy policy = databases();
  for (const double order : {0.0, -1.5e-300, 0.1, 1e300, std::numeric_limits<double>::infinity()})
    for (const char* selector : {"all()", "a == \"\xE2\x82\xAC\\\"", "yes", "a in {'x',\n 'y'}"})
      for (const auto action :
           {PolicyAction::kRequire, PolicyAction::kPrefer, PolicyAction::kPlaintext}) {
        policy.order = order;
        policy.selector = policy.peer_selector = selector;
        policy.action = action;
        const auto yaml = from_yaml(format_policy_yaml(policy));
        ASSERT_TRUE(yaml.has_value()) << yaml.error().message;
        EXPECT_EQ(*yaml, policy);
        const auto json = parse_policy_json(format_policy_json(policy), kPlace, "databases");
        ASSERT_TRUE(json.has_value()) << json.error().message;
        EXPECT_EQ(*json, policy);
      }
}

TEST(PolicyCodec, AnUnknownKeyIsAnErrorWithItsPlaceAndTheNearestKey) {
  EXPECT_EQ(error_of(from_yaml(with_spec("action: Require\n  peer_selector: all()"))),
            "/store/policies/databases.yaml:6:18: spec.peer_selector: unknown key: did you mean "
            "peerSelector?");
  EXPECT_THAT(error_of(from_yaml("apiVersion: meshd.io/v1\nkin: x\n")),
              AllOf(HasSubstr(":2:6: kin: unknown key"), HasSubstr("did you mean kind?")));
  EXPECT_THAT(error_of(from_yaml(with_spec("action: Require\n  banana: x"))),
              ::testing::EndsWith("spec.banana: unknown key"));
}

TEST(PolicyCodec, TheActionIsAnExactWord) {
  EXPECT_EQ(error_of(from_yaml(with_spec("action: require"))),
            "/store/policies/databases.yaml:5:11: spec.action is 'require', and must be one of "
            "Require, Prefer, Plaintext: did you mean Require?");
  EXPECT_THAT(error_of(from_yaml(with_spec("order: 1"))),
              HasSubstr(":5:3: spec.action is missing: add it"));
  EXPECT_THAT(error_of(from_yaml(with_spec("action: [Require]"))), HasSubstr("is a list"));
}

TEST(PolicyCodec, TheOrderIsAFiniteNumber) {
  for (const char* order : {".inf", "inf", "nan", "NaN", "-.inf", "1e999", "0x10", "1_000", "ten",
                            "", "''", "[1]", "true", "1 2"})
    EXPECT_THAT(error_of(from_yaml(with_spec(fmt::format("action: Prefer\n  order: {}", order)))),
                HasSubstr("spec.order must be a finite number"))
        << order;
  for (const auto& [text, order] : std::vector<std::pair<const char*, double>>{
           {"-0.0", 0}, {"+5", 5}, {"1e3", 1000}, {"-2.5", -2.5}, {"'7'", 7}}) {
    const auto policy = from_yaml(with_spec(fmt::format("action: Prefer\n  order: {}", text)));
    ASSERT_TRUE(policy.has_value()) << policy.error().message;
    EXPECT_EQ(policy->order, order);
    EXPECT_FALSE(std::signbit(policy->order) && order == 0);
  }
}

TEST(PolicyCodec, AnEmptySelectorIsNotTakenForEveryNode) {
  for (const char* selector : {"", "~", "''", "[a]", "{a: b}"})
    EXPECT_THAT(
        error_of(from_yaml(with_spec(fmt::format("action: Prefer\n  selector: {}", selector)))),
        HasSubstr("spec.selector must be a selector"))
        << selector;
  const std::string longest(kMaxSelectorBytes, 'x');
  EXPECT_TRUE(from_yaml(with_spec("action: Prefer\n  selector: " + longest)).has_value());
  EXPECT_THAT(error_of(from_yaml(with_spec("action: Prefer\n  peerSelector: x" + longest))),
              HasSubstr("spec.peerSelector has 16385 bytes"));
}

TEST(PolicyCodec, TheNameIsThatOfItsPlace) {
  EXPECT_THAT(error_of(parse_policy_yaml(with_spec("action: Prefer"), "f", "web")),
              AllOf(HasSubstr("f:3:18: "), HasSubstr("'databases'"), HasSubstr("'web'")));
  for (const char* name : {"Databases", "../x", "-x", "a..b", "''"})
    EXPECT_THAT(
        error_of(parse_policy_yaml(
            fmt::format("apiVersion: meshd.io/v1\nkind: EncryptionPolicy\nmetadata: {{name: {}}}\n"
                        "spec: {{action: Prefer}}",
                        name),
            "f", name)),
        AllOf(HasSubstr("f:3:18: metadata.name: "), HasSubstr("is not a policy name")))
        << name;
}

TEST(PolicyCodec, RefusesAnythingElseThanAPolicy) {
  EXPECT_THAT(error_of(from_yaml("- a")), HasSubstr("must be a map"));
  EXPECT_THAT(error_of(from_yaml("kind: EncryptionPolicy")), HasSubstr("apiVersion is missing"));
  EXPECT_THAT(error_of(from_yaml("{apiVersion: meshd.io/v2, kind: EncryptionPolicy}")),
              HasSubstr(":1:14: apiVersion is 'meshd.io/v2': write meshd.io/v1"));
  EXPECT_THAT(error_of(from_yaml("{apiVersion: meshd.io/v1, kind: NetworkPolicy}")),
              HasSubstr("write EncryptionPolicy"));
  EXPECT_THAT(error_of(from_yaml("{apiVersion: meshd.io/v1, kind: EncryptionPolicy, metadata: x}")),
              HasSubstr("metadata must be a map, and is text"));
  EXPECT_THAT(
      error_of(from_yaml(
          "{apiVersion: meshd.io/v1, kind: EncryptionPolicy, metadata: {name: databases}}")),
      HasSubstr("spec is missing"));
  EXPECT_THAT(error_of(from_yaml("")), HasSubstr("empty"));
}

TEST(PolicyCodec, HostileTextStaysOutOfTheMessage) {
  EXPECT_THAT(error_of(from_yaml(with_spec("\"\\e[2Jx\\n\": 1"))), HasSubstr("\\x1b"));
  EXPECT_THAT(error_of(from_yaml(with_spec("action: \"" + std::string(5000, 'R') + "\""))),
              HasSubstr("RRR…"));
}

// ---- what an operator hands over ----

TEST(PolicyDocuments, ReadsSeveralDocumentsInOrderWithThePlacesOfTheirSelectors) {
  const auto read = parse_policy_documents(R"y(---
apiVersion: meshd.io/v1
kind: EncryptionPolicy
metadata: {name: first}
spec:
  selector: "role == 'db'"
  action: Require
---
# nothing here
---
apiVersion: meshd.io/v1
kind: EncryptionPolicy
metadata: {name: second}
spec: {action: Prefer}
)y",
                                           "file");
  ASSERT_EQ(read.size(), 2U);
  ASSERT_TRUE(read[0] && read[1]);
  EXPECT_EQ(read[0]->policy.name, "first");
  EXPECT_EQ(read[0]->selector.line, 6);
  EXPECT_EQ(read[0]->selector.column, 13);
  EXPECT_EQ(read[0]->peer_selector.line, 0) << "it is not in the text";
  EXPECT_EQ(read[1]->policy.name, "second");
  EXPECT_EQ(read[1]->name.line, 13);
}

TEST(PolicyDocuments, ABadDocumentIsAnErrorInItsPlace) {
  const auto read = parse_policy_documents(
      "kind: Pod\n---\n" + with_spec("action: Prefer") + "---\n" + with_spec("action: prefer"),
      "file");
  ASSERT_EQ(read.size(), 3U);
  EXPECT_THAT(error_of(read[0]), StartsWith("file:1:1: apiVersion is missing"));
  EXPECT_TRUE(read[1].has_value());
  EXPECT_THAT(error_of(read[2]), StartsWith("file:13:11: spec.action is 'prefer'"));
  const auto broken = parse_policy_documents("kind: [\n---\nb: c\n", "file");
  ASSERT_EQ(broken.size(), 1U);
  EXPECT_THAT(error_of(broken[0]), HasSubstr("not YAML"));
}

TEST(PolicyDocuments, ReadsListsAndJson) {
  const std::vector<EncryptionPolicy> policies = {databases(),
                                                  {"web", 0.5, "a", "b", PolicyAction::kPlaintext}};
  const auto read = parse_policy_documents(format_policy_list_json(policies), "-");
  ASSERT_EQ(read.size(), 2U);
  for (std::size_t i = 0; i < read.size(); ++i) {
    ASSERT_TRUE(read[i].has_value()) << read[i].error().message;
    EXPECT_EQ(read[i]->policy, policies[i]);
  }
  EXPECT_TRUE(parse_policy_documents(format_policy_list_json({}), "-").empty());
  EXPECT_TRUE(parse_policy_documents("", "-").empty());
  EXPECT_THAT(error_of(parse_policy_documents("{kind: List, items: x}", "-").front()),
              HasSubstr("a list has items"));
}

}  // namespace
}  // namespace mesh
