// An operator's hand in a store of memory. Any thread.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "mesh/store_admin.h"

namespace mesh::test {

class FakeStoreAdmin final : public StoreAdmin {
 public:
  Result<Contents> read() override {
    const std::lock_guard lock(mutex_);
    if (failure_) return *failure_;
    Contents contents;
    for (const auto& [name, record] : nodes_)
      contents.nodes.push_back({name, std::make_shared<const StoreEntry>(record)});
    for (const auto& [name, policy] : policies_)
      contents.policies.push_back({name, std::make_shared<const PolicyEntry>(policy)});
    return contents;
  }
  Result<void> put_node(const NodeRecord& record) override { return put(nodes_, record); }
  Result<void> delete_node(const std::string& name) override { return remove(nodes_, name); }
  Result<void> put_policy(const EncryptionPolicy& policy) override {
    return put(policies_, policy);
  }
  Result<void> delete_policy(const std::string& name) override { return remove(policies_, name); }

  // --- the test's side ---
  void fail(std::optional<Error> failure) {
    const std::lock_guard lock(mutex_);
    failure_ = std::move(failure);
  }
  std::map<std::string, EncryptionPolicy> policies() {
    const std::lock_guard lock(mutex_);
    return policies_;
  }
  std::map<std::string, NodeRecord> nodes() {
    const std::lock_guard lock(mutex_);
    return nodes_;
  }

 private:
  template <class Value>
  Result<void> put(std::map<std::string, Value>& values, const Value& value) {
    const std::lock_guard lock(mutex_);
    if (failure_) return *failure_;
    values.insert_or_assign(value.name, value);
    return {};
  }
  template <class Value>
  Result<void> remove(std::map<std::string, Value>& values, const std::string& name) {
    const std::lock_guard lock(mutex_);
    if (failure_) return *failure_;
    if (values.erase(name) == 0) return make_error(ErrorCode::kNotFound, "there is no '{}'", name);
    return {};
  }

  std::mutex mutex_;
  std::optional<Error> failure_;
  std::map<std::string, NodeRecord> nodes_;
  std::map<std::string, EncryptionPolicy> policies_;
};

}  // namespace mesh::test
