// The contract of stores, run against a real API server, with the rights of the package's service
// account and not one more.
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "kubernetes/nodes.h"
#include "kubernetes/shared_server.h"
#include "meshd/store/kubernetes/api_codec.h"
#include "meshd/store/kubernetes/kubernetes_admin.h"
#include "meshd/store/kubernetes/kubernetes_store.h"
#include "store/observer.h"
#include "store/store_contract.h"
#include "store/tcp_relay.h"

namespace mesh::testing {
namespace {

using nlohmann::json;

std::string path_of(const std::string& node) { return "/api/v1/nodes/" + node; }

class KubernetesUnderTest : public StoreUnderTest {
 public:
  KubernetesUnderTest() { clear(server_); }

  std::unique_ptr<NodeStore> client() override {
    KubernetesStoreOptions options;
    options.kubeconfig = server_.kubeconfig(kMeshd, relay_.port());
    return std::make_unique<KubernetesStore>(options);
  }
  void put(const NodeRecord& record) override {
    const ApiAnswer present = server_.request("GET", path_of(record.name));
    if (present.status == 404) {
      server_.must("POST", "/api/v1/nodes", node_object(record));
      return;
    }
    json metadata = {{"labels", record.labels}, {"annotations", record.annotations}};
    const json before = present.body()["metadata"];
    for (const char* field : {"labels", "annotations"}) {
      const json values = before.value(field, json::object());
      for (const auto& [key, value] : values.items())
        if (!metadata[field].contains(key)) metadata[field][key] = nullptr;
    }
    server_.must("PATCH", path_of(record.name), {{"metadata", metadata}});
  }
  void fill(const std::vector<NodeRecord>& records) override {
    std::vector<std::thread> writers;
    constexpr std::size_t kWriters = 4;
    for (std::size_t w = 0; w < kWriters; ++w)
      writers.emplace_back([&, w] {
        for (std::size_t i = w; i < records.size(); i += kWriters)
          server_.must("POST", "/api/v1/nodes", node_object(records[i]));
      });
    for (std::thread& writer : writers) writer.join();
  }
  // What an API server takes and no record may be: more annotations of meshd's than are read.
  void put_garbage(const std::string& node) override {
    NodeRecord record = example_record(node);
    record.annotations.clear();
    for (int i = 0; i < 1100; ++i) record.annotations[fmt::format("meshd.io/garbage-{}", i)] = "x";
    put(record);
  }
  void remove(const std::string& node) override { server_.must("DELETE", path_of(node)); }
  void admit(const std::string& node) override {
    NodeRecord record = example_record(node);
    record.annotations.clear();
    put(record);
  }
  NodeRecord as_seen(NodeRecord record) override {
    std::erase_if(record.annotations,
                  [](const auto& item) { return !item.first.starts_with(kAnnotationPrefix); });
    return record;
  }
  bool labels_take_any_text() const override { return false; }
  std::optional<NodeRecord> get(const std::string& node) override {
    const ApiAnswer answer = server_.request("GET", path_of(node));
    if (answer.status != 200) return std::nullopt;
    const json body = answer.body();
    const StoreEntry entry = entry_of_node(body);
    if (!std::holds_alternative<NodeRecord>(entry)) return std::nullopt;
    NodeRecord record = std::get<NodeRecord>(entry);
    const json annotations = body["metadata"].value("annotations", json::object());
    for (const auto& [key, value] : annotations.items()) record.annotations[key] = value;
    return record;
  }
  std::string revision(const std::string& node) override {
    const ApiAnswer answer = server_.request("GET", path_of(node));
    return answer.status == 200 ? resource_version_of(answer.body()) : "none";
  }
  std::unique_ptr<StoreAdmin> admin() override {
    return std::make_unique<KubernetesAdmin>(server_.kubeconfig(ApiServer::kAdmin));
  }
  // What the schema lets pass and meshd does not: a key that is none.
  void put_garbage_policy(const std::string& policy) override {
    const json spec = {{"action", "Require"}, {"selektor", "all()"}};
    const std::string path = "/apis/meshd.io/v1/encryptionpolicies";
    if (server_.request("GET", path + "/" + policy).status == 200) {
      server_.must("PATCH", path + "/" + policy, {{"spec", spec}});
      return;
    }
    server_.must("POST", path,
                 {{"apiVersion", "meshd.io/v1"},
                  {"kind", "EncryptionPolicy"},
                  {"metadata", {{"name", policy}}},
                  {"spec", spec}});
  }
  void go_away() override { relay_.cut(); }
  void come_back() override { relay_.mend(); }

 private:
  ApiServer& server_ = *shared_server();
  TcpRelay relay_{server_.port()};
};

// Where there is no API server the suite is left out, and kubernetes_store_test says so.
std::vector<StoreBackend> backends() {
  if (ApiServer::binary().empty()) return {};
  return {StoreBackend{"Kubernetes", make_store_under_test<KubernetesUnderTest>}};
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StoreContract);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StorePolicyContract);
INSTANTIATE_TEST_SUITE_P(Stores, StoreContract, ::testing::ValuesIn(backends()), NameOfBackend());
INSTANTIATE_TEST_SUITE_P(Stores, StorePolicyContract, ::testing::ValuesIn(backends()),
                         NameOfBackend());

}  // namespace
}  // namespace mesh::testing
