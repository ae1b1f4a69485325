// The contract of every store, as tests (store_contract.cc): the suite runs against each backend
// that a test program instantiates with a factory of StoreUnderTest:
//   INSTANTIATE_TEST_SUITE_P(Name, StoreContract, Values(StoreBackend{"Name",
//                            make_store_under_test<NameUnderTest>}), NameOfBackend());
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mesh/node_store.h"
#include "mesh/store_admin.h"

namespace mesh::testing {

// One store (a directory, an etcd, an API server) and the hands of its other users.
class StoreUnderTest {
 public:
  virtual ~StoreUnderTest() = default;

  // A client of the store, as one meshd has it; not started.
  virtual std::unique_ptr<NodeStore> client() = 0;
  // Somebody else's writes: a good record, a broken one, none.
  virtual void put(const NodeRecord& record) = 0;
  // Many at once, before there is a client: need not be atomic.
  virtual void fill(const std::vector<NodeRecord>& records) {
    for (const NodeRecord& record : records) put(record);
  }
  virtual void put_garbage(const std::string& node) = 0;
  virtual void remove(const std::string& node) = 0;
  // The machine joins the cluster, where that makes its record, to which meshd only adds
  // annotations (Kubernetes): a record as example_record() has it, without them.
  virtual void admit(const std::string& node) { (void)node; }
  // What clients see of a record: not every store shows them the annotations of others.
  virtual NodeRecord as_seen(NodeRecord record) { return record; }
  virtual bool labels_take_any_text() const { return true; }
  // What is in the store.
  virtual std::optional<NodeRecord> get(const std::string& node) = 0;
  // Differs whenever the record was written in between, with the same content too.
  virtual std::string revision(const std::string& node) = 0;
  // An operator's hand in it; null: this store has none, and the tests that need it are skipped.
  virtual std::unique_ptr<StoreAdmin> admin() { return nullptr; }
  // Somebody else's broken policy. For stores with an admin.
  virtual void put_garbage_policy(const std::string& policy) { (void)policy; }
  // The store is out, and back with what it held; put() and remove() work meanwhile.
  virtual void go_away() = 0;
  virtual void come_back() = 0;
};

struct StoreBackend {
  std::string name;
  std::unique_ptr<StoreUnderTest> (*make)();
};

template <class T>
std::unique_ptr<StoreUnderTest> make_store_under_test() {
  return std::make_unique<T>();
}

struct NameOfBackend {
  std::string operator()(const ::testing::TestParamInfo<StoreBackend>& backend) const {
    return backend.param.name;
  }
};

class StoreContract : public ::testing::TestWithParam<StoreBackend> {
 protected:
  std::unique_ptr<StoreUnderTest> store_ = GetParam().make();
};

// The same for policies, and for an operator's hand.
class StorePolicyContract : public StoreContract {
 protected:
  void SetUp() override {
    admin_ = store_->admin();
    ASSERT_TRUE(admin_) << "every store has a hand for its operator";
  }

  void put(const EncryptionPolicy& policy) {
    const auto put = admin_->put_policy(policy);
    ASSERT_TRUE(put) << put.error().message;
  }

  std::unique_ptr<StoreAdmin> admin_;
};

}  // namespace mesh::testing
