// The contract of stores, run against etcd, and against etcd behind its grpc-proxy.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "meshd/store/etcd/etcd_admin.h"
#include "meshd/store/etcd/etcd_keys.h"
#include "meshd/store/etcd/etcd_store.h"
#include "meshd/store/record_codec.h"
#include "store/etcd_server.h"
#include "store/tcp_relay.h"
#include "store_contract.h"

namespace mesh::testing {
namespace {

class EtcdUnderTest : public StoreUnderTest {
 public:
  EtcdUnderTest() = default;

  std::unique_ptr<NodeStore> client() override {
    return std::make_unique<EtcdStore>(quick_options(relay().port()));
  }
  void put(const NodeRecord& record) override {
    server_.hands().put(keys_.node(record.name), format_record_json(record));
  }
  void fill(const std::vector<NodeRecord>& records) override {
    std::vector<std::pair<std::string, std::string>> pairs;
    for (const NodeRecord& record : records)
      pairs.emplace_back(keys_.node(record.name), format_record_json(record));
    server_.hands().put_all(pairs);
  }
  void put_garbage(const std::string& node) override {
    server_.hands().put(keys_.node(node), "{\"name\": ");
  }
  void remove(const std::string& node) override { server_.hands().remove(keys_.node(node)); }
  std::optional<NodeRecord> get(const std::string& node) override {
    const auto found = server_.hands().get(keys_.node(node));
    if (!found) return std::nullopt;
    auto record = parse_record_json(found->value(), "test", node);
    if (!record) return std::nullopt;
    return *record;
  }
  std::string revision(const std::string& node) override {
    const auto found = server_.hands().get(keys_.node(node));
    return found ? fmt::format("{}", found->mod_revision()) : "none";
  }
  std::unique_ptr<StoreAdmin> admin() override {
    return std::make_unique<EtcdAdmin>(quick_options(relay().port()));
  }
  void put_garbage_policy(const std::string& policy) override {
    server_.hands().put(keys_.policy(policy), "{\"spec\": [");
  }
  void go_away() override { relay().cut(); }
  void come_back() override { relay().mend(); }

 protected:
  // What the clients reach; the hands reach the server itself.
  virtual std::uint16_t clients_port() { return server_.port(); }
  EtcdServer server_;

 private:
  TcpRelay& relay() {
    if (!relay_) relay_ = std::make_unique<TcpRelay>(clients_port());
    return *relay_;
  }
  EtcdKeys keys_{"/meshd"};
  std::unique_ptr<TcpRelay> relay_;
};

class ProxiedEtcdUnderTest : public EtcdUnderTest {
  std::uint16_t clients_port() override { return proxy_.port(); }
  EtcdProxy proxy_{server_};
};

const auto kBackends =
    ::testing::Values(StoreBackend{"Etcd", make_store_under_test<EtcdUnderTest>},
                      StoreBackend{"EtcdBehindProxy", make_store_under_test<ProxiedEtcdUnderTest>});

INSTANTIATE_TEST_SUITE_P(Stores, StoreContract, kBackends, NameOfBackend());
INSTANTIATE_TEST_SUITE_P(Stores, StorePolicyContract, kBackends, NameOfBackend());

}  // namespace
}  // namespace mesh::testing
