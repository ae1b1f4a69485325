// packaging/kubernetes against a real API server: accepted, its schema refuses what meshd would,
// and its rights are those that meshd needs, no fewer and no more.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <set>
#include <thread>

#include "kubernetes/nodes.h"
#include "kubernetes/shared_server.h"
#include "meshd/store/kubernetes/kubernetes_store.h"
#include "store/observer.h"

namespace mesh::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr const char* kRole = "/apis/rbac.authorization.k8s.io/v1/clusterroles/meshd";

class KubernetesPackage : public ::testing::Test {
 protected:
  void SetUp() override {
    NEEDS_API_SERVER();
    server_ = shared_server();
    clear(*server_);
    NodeRecord record = example_record("node-a", "old");
    server_->must("POST", "/api/v1/nodes", node_object(record));
    record.name = "node-b";
    server_->must("POST", "/api/v1/nodes", node_object(record));
  }
  void TearDown() override {
    if (server_ == nullptr || rules_.is_null()) return;
    set_rules(rules_);
  }

  json rules() const { return server_->must("GET", kRole)["rules"]; }
  void set_rules(const json& rules) { server_->must("PATCH", kRole, {{"rules", rules}}); }
  // Takes one verb away, and waits until the server's authorizer has noticed.
  void take_away(const std::string& resource, const std::string& verb) {
    if (rules_.is_null()) rules_ = rules();
    json fewer = rules_;
    std::string group;
    for (json& rule : fewer) {
      if (rule["resources"] != json::array({resource})) continue;
      group = rule["apiGroups"][0];
      json& verbs = rule["verbs"];
      verbs.erase(std::find(verbs.begin(), verbs.end(), verb));
    }
    set_rules(fewer);
    const json review = {
        {"apiVersion", "authorization.k8s.io/v1"},
        {"kind", "SubjectAccessReview"},
        {"spec",
         {{"user", users().front().name},
          {"groups", users().front().groups},
          {"resourceAttributes", {{"group", group}, {"resource", resource}, {"verb", verb}}}}}};
    for (int i = 0; i < 500; ++i) {
      const json answer =
          server_->must("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review);
      if (!answer["status"]["allowed"].get<bool>()) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    ADD_FAILURE() << "the rights were not taken away";
  }

  std::unique_ptr<KubernetesStore> client(const std::string& patch_token = "") {
    KubernetesStoreOptions options;
    options.kubeconfig = server_->kubeconfig(kMeshd);
    if (!patch_token.empty()) options.patch_kubeconfig = server_->kubeconfig(patch_token);
    return std::make_unique<KubernetesStore>(options);
  }

  ApiServer* server_ = nullptr;
  json rules_;  // as they were
};

TEST_F(KubernetesPackage, IsAcceptedByTheServer) {
  const auto [code, said] = server_->kubectl("apply --dry-run=server -k " MESHD_KUBERNETES_PACKAGE);
  EXPECT_EQ(code, 0) << said;
  for (const char* what :
       {"daemonset.apps/meshd", "clusterrole.rbac.authorization.k8s.io/meshd",
        "serviceaccount/meshd", "configmap/meshd-",
        "customresourcedefinition.apiextensions.k8s.io/encryptionpolicies.meshd.io"})
    EXPECT_THAT(said, HasSubstr(what));
}

TEST_F(KubernetesPackage, TheSchemaRefusesABadPolicy) {
  const auto status_of = [&](const json& spec) {
    json policy = {
        {"apiVersion", "meshd.io/v1"}, {"kind", "EncryptionPolicy"}, {"metadata", {{"name", "p"}}}};
    if (!spec.is_null()) policy["spec"] = spec;
    return server_->request("POST", "/apis/meshd.io/v1/encryptionpolicies?dryRun=All", policy)
        .status;
  };
  EXPECT_EQ(status_of({{"action", "Require"}}), 201);
  EXPECT_EQ(status_of({{"action", "Require"}, {"order", 1.5}, {"selector", "has(a)"}}), 201);
  EXPECT_EQ(status_of(nullptr), 422);
  EXPECT_EQ(status_of(json::object()), 422);
  EXPECT_EQ(status_of({{"action", "Never"}}), 422);
  EXPECT_EQ(status_of({{"action", "Require"}, {"order", "first"}}), 422);
  EXPECT_EQ(status_of({{"action", "Require"}, {"selector", ""}}), 422);
  EXPECT_EQ(status_of({{"action", "Require"}, {"peerSelector", json::array()}}), 422);
}

TEST_F(KubernetesPackage, ItsRightsAreAllThatMeshdNeeds) {
  ObservedStore client(this->client());
  client->publish(example_record("node-a", "new"));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a", "new")));
}

// Every verb that is granted is taken away in turn, and each time something does not work any more.
TEST_F(KubernetesPackage, NothingIsGrantedThatIsNotNeeded) {
  std::set<std::string> granted;
  for (const json& rule : rules())
    for (const json& resource : rule["resources"])
      for (const json& verb : rule["verbs"])
        granted.insert(resource.get<std::string>() + " " + verb.get<std::string>());
  EXPECT_THAT(granted, ::testing::ElementsAre("encryptionpolicies list", "encryptionpolicies watch",
                                              "nodes list", "nodes patch", "nodes watch"));
  for (const std::string& right : granted) {
    const std::string resource = right.substr(0, right.find(' '));
    const std::string verb = right.substr(right.find(' ') + 1);
    take_away(resource, verb);
    ObservedStore client(this->client());
    client->publish(example_record("node-a", right == "nodes patch" ? "newer" : "new"));
    EXPECT_TRUE(client.seen().wait("an error without " + right, [&](const Observed& seen) {
      const bool is_out = verb == "patch" || !seen.in_sync;
      return is_out && seen.error.find("(403)") != std::string::npos &&
             seen.error.find(" us " + verb) != std::string::npos;
    })) << right;
  }
}

// The way to confine a node's writes to its own Node: reads by the service account, writes by the
// node's own identity, whom the server refuses every other Node.
TEST_F(KubernetesPackage, WithTheNodesOwnIdentityTheServerConfinesItToItsNode) {
  take_away("nodes", "patch");
  ObservedStore own(client(kKubelet));
  own->publish(example_record("node-a", "by its own identity"));
  EXPECT_TRUE(own.seen().wait_record(example_record("node-a", "by its own identity")));

  ObservedStore other(client(kKubelet));
  other->publish(example_record("node-b", "stolen"));
  EXPECT_TRUE(other.seen().wait("a refusal", [](const Observed& seen) {
    return seen.error.find("(403)") != std::string::npos &&
           seen.error.find("not allowed to modify node") != std::string::npos;
  }));
  EXPECT_EQ(*other.seen().now().record("node-b"), example_record("node-b", "old"));
}

}  // namespace
}  // namespace mesh::testing
