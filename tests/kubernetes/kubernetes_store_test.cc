// What is Kubernetes' own about its store, against a real API server.
#include "meshd/store/kubernetes/kubernetes_store.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "kubernetes/nodes.h"
#include "kubernetes/shared_server.h"
#include "store/observer.h"
#include "store/tcp_relay.h"

namespace mesh::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class KubernetesStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    NEEDS_API_SERVER();
    server_ = shared_server();
    clear(*server_);
  }

  void put(const NodeRecord& record) {
    server_->must("POST", "/api/v1/nodes", node_object(record));
  }
  void annotate(const std::string& node, const json& annotations) {
    server_->must("PATCH", "/api/v1/nodes/" + node, {{"metadata", {{"annotations", annotations}}}});
  }
  json node(const std::string& name) { return server_->must("GET", "/api/v1/nodes/" + name); }

  std::unique_ptr<KubernetesStore> client(const std::string& kubeconfig) const {
    KubernetesStoreOptions options;
    options.kubeconfig = kubeconfig;
    return std::make_unique<KubernetesStore>(options);
  }
  std::unique_ptr<KubernetesStore> client() const { return client(server_->kubeconfig(kMeshd)); }

  bool wait_error(ObservedStore& client, const std::string& text) {
    return client.seen().wait("an error with '" + text + "'", [&](const Observed& seen) {
      return !seen.in_sync && seen.error.find(text) != std::string::npos;
    });
  }

  ApiServer* server_ = nullptr;
};

TEST_F(KubernetesStoreTest, ANodeIsARecord) {
  json object = node_object(example_record("node-b"));
  object["status"]["addresses"].push_back({{"type", "ExternalIP"}, {"address", "203.0.113.9"}});
  object["status"]["addresses"].push_back({{"type", "Hostname"}, {"address", "node-b"}});
  object["metadata"]["annotations"]["example.com/owner"] = "not meshd's";
  server_->must("POST", "/api/v1/nodes", object);
  ObservedStore client(this->client());
  EXPECT_TRUE(client.seen().wait_record(example_record("node-b")));
}

TEST_F(KubernetesStoreTest, ANodeThatNeverRanMeshdIsARecordWithoutAnnotations) {
  NodeRecord record = example_record("node-b");
  record.annotations.clear();
  put(record);
  server_->must("POST", "/api/v1/nodes",
                {{"apiVersion", "v1"}, {"kind", "Node"}, {"metadata", {{"name", "bare"}}}});
  ObservedStore client(this->client());
  EXPECT_TRUE(client.seen().wait_record(record));
  NodeRecord bare;
  bare.name = "bare";
  EXPECT_TRUE(client.seen().wait_record(bare));
}

TEST_F(KubernetesStoreTest, AnAddressThatCannotBeReadCostsThatAddress) {
  json object = node_object(example_record("node-b"));
  object["status"]["addresses"].push_back({{"type", "InternalIP"}, {"address", "no address\n\"'"}});
  server_->must("POST", "/api/v1/nodes", object);
  ObservedStore client(this->client());
  ASSERT_TRUE(client.seen().wait("node-b with a problem", [](const Observed& seen) {
    const NodeRecord* record = seen.record("node-b");
    return record != nullptr && record->problems.size() == 1 && record->addresses.size() == 2;
  }));
}

TEST_F(KubernetesStoreTest, AChangeOfAnnotationsAloneIsSeenAndAHeartbeatIsNot) {
  put(example_record("node-b"));
  ObservedStore client(this->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  for (int i = 0; i < 20; ++i) {
    const json condition = {{"type", "Ready"},
                            {"status", "True"},
                            {"reason", "KubeletReady"},
                            {"lastHeartbeatTime", fmt::format("2026-11-22T15:00:{:02}Z", i)}};
    server_->must("PATCH", "/api/v1/nodes/node-b/status",
                  {{"status", {{"conditions", json::array({condition})}}}});
  }
  annotate("node-b", {{"example.com/seen-at", "now"}});  // nor what others annotate
  annotate("node-b", {{std::string(kPublicKeyAnnotation), "another"}});
  ASSERT_TRUE(client.seen().wait_record(example_record("node-b", "another")));
  EXPECT_EQ(client.seen().now().changes, 1);
  EXPECT_EQ(client.seen().now().updates, 2);
}

TEST_F(KubernetesStoreTest, OnlyItsAnnotationsOfItsOwnNodeAreWritten) {
  json object = node_object(example_record("node-a", "old"));
  object["metadata"]["annotations"]["example.com/owner"] = "somebody else's";
  object["metadata"]["annotations"]["meshd.io/of-another-version"] = "goes";
  server_->must("POST", "/api/v1/nodes", object);
  put(example_record("node-b"));
  const json before = node("node-a");
  const json other = node("node-b");
  NodeRecord wanted = example_record("node-a", "new");
  wanted.addresses.clear();
  wanted.cidrs = {Cidr::parse("10.99.0.0/24").value()};
  wanted.labels = {{"role", "not-the-nodes"}};
  ObservedStore client(this->client());
  client->publish(wanted);
  ASSERT_TRUE(client.seen().wait_record(example_record("node-a", "new")));
  json after = node("node-a");
  EXPECT_EQ(after["metadata"]["annotations"], json({{"example.com/owner", "somebody else's"},
                                                    {std::string(kPublicKeyAnnotation), "new"},
                                                    {std::string(kModeAnnotation), "prefer"}}));
  json expected = before;
  for (json* object_now : {&after, &expected})
    for (const char* field : {"annotations", "managedFields", "resourceVersion"})
      (*object_now)["metadata"].erase(field);
  EXPECT_EQ(after, expected);
  EXPECT_EQ(node("node-b"), other);
}

TEST_F(KubernetesStoreTest, ANodeThatIsNotInTheClusterIsNotMadeAndTheReasonIsSaid) {
  ObservedStore client(this->client());
  client->publish(example_record("node-a"));
  ASSERT_TRUE(client.seen().wait("the reason", [](const Observed& seen) {
    return seen.in_sync && seen.error.find("there is no Node 'node-a'") != std::string::npos;
  }));
  EXPECT_THAT(client.seen().now().error, HasSubstr("kubectl get nodes"));
  NodeRecord joined = example_record("node-a", "stale");
  put(joined);
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a")))
      << "published when it has joined";
  EXPECT_TRUE(
      client.seen().wait("no error", [](const Observed& seen) { return seen.error.empty(); }));
}

TEST_F(KubernetesStoreTest, MoreNodesThanAPageAreReadWhole) {
  constexpr int kNodes = 620;
  for (int i = 0; i < kNodes; ++i) put(example_record(fmt::format("node-{}", i)));
  ObservedStore client(this->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  EXPECT_EQ(client.seen().now().entries.size(), std::size_t{kNodes});
  EXPECT_EQ(client.seen().now().updates, 1);
}

// The server forgets what a client missed (here: it is started again, and etcd is compacted), and
// the client's watch breaks without an outage: the resume point is gone.
TEST_F(KubernetesStoreTest, AResumePointThatIsGoneIsANewListAndNoOutage) {
  for (const char* name : {"node-b", "node-c", "node-d"}) put(example_record(name));
  TcpRelay relay(server_->port());
  KubernetesStoreOptions options;
  options.kubeconfig = server_->kubeconfig(kMeshd, relay.port());
  options.probe_after = std::chrono::minutes(10);  // so that this is not found to be an outage
  ObservedStore client(std::make_unique<KubernetesStore>(options));
  ASSERT_TRUE(client.seen().wait_in_sync());
  relay.pass(false);
  annotate("node-b", {{std::string(kPublicKeyAnnotation), "another"}});
  server_->must("DELETE", "/api/v1/nodes/node-c");
  for (int i = 0; i < 5; ++i) annotate("node-d", {{"example.com/round", std::to_string(i)}});
  server_->compact();
  server_->restart();
  relay.cut();
  relay.pass(true);
  relay.mend();
  ASSERT_TRUE(client.seen().wait_record(example_record("node-b", "another")));
  ASSERT_TRUE(client.seen().wait_gone("node-c"));
  EXPECT_TRUE(client.seen().now().has("node-d"));
  EXPECT_THAT(client.seen().now().ever_gone, ::testing::ElementsAre("node-c"));
  EXPECT_EQ(client.seen().now().changes, 2);
}

TEST_F(KubernetesStoreTest, AServerThatHangsIsOutWithinTenSeconds) {
  put(example_record("node-b"));
  ObservedStore client(this->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  server_->process().suspend();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(client.seen().wait_out());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  server_->process().resume();
  EXPECT_TRUE(client.seen().wait_in_sync());
  EXPECT_TRUE(client.seen().now().ever_gone.empty());
}

// The API server goes on serving its watches from memory.
TEST_F(KubernetesStoreTest, AServerWithoutItsOwnStoreIsOutToo) {
  put(example_record("node-b"));
  ObservedStore client(this->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  server_->etcd().suspend();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(client.seen().wait_out());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  server_->etcd().resume();
  EXPECT_TRUE(client.seen().wait_in_sync());
}

TEST_F(KubernetesStoreTest, AWrongAuthorityIsOneClearError) {
  const ApiServer other(users());  // with an authority of its own, and the same tokens
  const std::string kubeconfig = server_->kubeconfig(kMeshd, other.port());
  ObservedStore client(this->client(kubeconfig));
  EXPECT_TRUE(wait_error(client, "certificate is not to be trusted"));
  EXPECT_THAT(client.seen().now().error, AllOf(HasSubstr(other.url()), HasSubstr(kubeconfig)));
}

TEST_F(KubernetesStoreTest, AWrongTokenIsOneClearErrorWithoutTheToken) {
  ObservedStore client(this->client(server_->kubeconfig("a-wrong-token")));
  EXPECT_TRUE(wait_error(client, "(401)"));
  EXPECT_THAT(client.seen().now().error, HasSubstr("renew the token"));
  EXPECT_EQ(client.seen().now().error.find("a-wrong-token"), std::string::npos);
}

TEST_F(KubernetesStoreTest, WithoutPermissionItSaysWhatIsMissing) {
  ObservedStore client(this->client(server_->kubeconfig(kNobody)));
  EXPECT_TRUE(wait_error(client, "(403)"));
  EXPECT_THAT(client.seen().now().error,
              AllOf(HasSubstr("does not let us list"), HasSubstr("rbac.yaml")));
}

TEST_F(KubernetesStoreTest, ATokenThatWasRotatedIsReadAgain) {
  put(example_record("node-b"));
  const TemporaryDirectory account;
  const auto write_token = [&](const std::string& token) {
    std::ofstream(account / "token.new") << token << "\n";
    std::filesystem::rename(account / "token.new", account / "token");
  };
  std::filesystem::copy_file(server_->authority(), account / "ca.crt");
  write_token("expired");
  ::setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1", 1);
  ::setenv("KUBERNETES_SERVICE_PORT", std::to_string(server_->port()).c_str(), 1);
  KubernetesStoreOptions options;
  options.service_account = account.path();
  ObservedStore client(std::make_unique<KubernetesStore>(options));
  EXPECT_TRUE(wait_error(client, "(401)"));
  write_token(kMeshd);
  EXPECT_TRUE(client.seen().wait_record(example_record("node-b")));
  EXPECT_TRUE(client.seen().wait_in_sync());

  write_token("second-token");  // while it runs: the next connection needs it
  auto known = users();
  known.front().token = "second-token";
  server_->restart(known);
  annotate("node-b", {{std::string(kPublicKeyAnnotation), "another"}});
  EXPECT_TRUE(client.seen().wait_record(example_record("node-b", "another")));
  known.front().token = kMeshd;
  server_->restart(known);
}

TEST_F(KubernetesStoreTest, AClientCertificateIsAnIdentity) {
  put(example_record("node-a", "old"));
  const std::string pem = server_->client_certificate("admin", "system:masters");
  const std::filesystem::path path = server_->directory() / "certificate.kubeconfig";
  std::ofstream(path) << fmt::format(
      "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: c}}}}]\n"
      "clusters: [{{name: c, cluster: {{server: \"{}\", certificate-authority: ca.crt}}}}]\n"
      "users: [{{name: c, user: {{client-certificate: {}, client-key: {}}}}}]\n",
      server_->url(), pem, pem);
  ObservedStore client(this->client(path.string()));
  client->publish(example_record("node-a", "new"));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a", "new")));
}

// ---- policies ----

json policy_object(const std::string& name, const json& spec) {
  return {{"apiVersion", std::string(kPolicyApiVersion)},
          {"kind", std::string(kPolicyKind)},
          {"metadata", {{"name", name}}},
          {"spec", spec}};
}

TEST_F(KubernetesStoreTest, PoliciesAreReadAndWatchedLikeNodes) {
  const std::string path = "/apis/meshd.io/v1/encryptionpolicies";
  server_->must(
      "POST", path,
      policy_object("databases",
                    {{"order", 100}, {"selector", "role == 'db'"}, {"action", "Require"}}));
  ObservedStore client(this->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  EncryptionPolicy expected{"databases", 100, "role == 'db'", "all()", PolicyAction::kRequire};
  ASSERT_TRUE(client.seen().now().policies.contains("databases"));
  EXPECT_EQ(client.seen().now().policies.at("databases"), PolicyEntry(expected));
  server_->must("PATCH", path + "/databases", {{"spec", {{"action", "Plaintext"}}}});
  expected.action = PolicyAction::kPlaintext;
  EXPECT_TRUE(client.seen().wait("the change", [&](const Observed& seen) {
    return seen.policies.at("databases") == PolicyEntry(expected);
  }));
  server_->must("DELETE", path + "/databases");
  EXPECT_TRUE(
      client.seen().wait("gone", [&](const Observed& seen) { return seen.policies.empty(); }));
}

TEST_F(KubernetesStoreTest, AClusterWithoutTheirDefinitionHasNoPolicies) {
  const std::string definition =
      "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/encryptionpolicies.meshd.io";
  const auto wait_for_status = [&](long status) {
    for (int i = 0; i < 500; ++i) {
      if (server_->request("GET", "/apis/meshd.io/v1/encryptionpolicies").status == status) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    ADD_FAILURE() << "never " << status;
  };
  server_->must("DELETE", definition);
  wait_for_status(404);
  put(example_record("node-b"));
  ObservedStore client(this->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  EXPECT_EQ(client.seen().now().updates, 1) << "and it is no outage";
  EXPECT_TRUE(client.seen().now().has("node-b"));
  const auto [code, said] = server_->kubectl("apply -k " MESHD_KUBERNETES_PACKAGE);
  EXPECT_EQ(code, 0) << said;
  wait_for_status(200);  // for the tests that follow
}

}  // namespace
}  // namespace mesh::testing
