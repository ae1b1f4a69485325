// The contract of every store, as tests: StoreContract runs against each backend that is
// instantiated with a factory of StoreUnderTest.
#pragma once

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

}  // namespace mesh::testing
