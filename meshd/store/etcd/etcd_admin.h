// EtcdAdmin: an operator's hand in etcd; see mesh/store_admin.h.
//
// Any thread, one call at a time. Each call connects afresh, tries the endpoints in turn until one
// answers, and blocks for some seconds at most for each.
#pragma once

#include <functional>
#include <memory>

#include "mesh/store_admin.h"
#include "meshd/store/etcd/etcd_keys.h"
#include "meshd/store/etcd/etcd_options.h"

namespace mesh {

class EtcdClient;

class EtcdAdmin : public StoreAdmin {
 public:
  explicit EtcdAdmin(EtcdOptions options);

  Result<Contents> read() override;
  Result<void> put_node(const NodeRecord& record) override;
  Result<void> delete_node(const std::string& name) override;
  Result<void> put_policy(const EncryptionPolicy& policy) override;
  Result<void> delete_policy(const std::string& name) override;

 private:
  Result<void> at_one(const std::function<Result<void>(EtcdClient&)>& act) const;
  Result<void> put(const std::string& key, const std::string& text) const;
  Result<void> remove(const std::string& key, const std::string& and_key,
                      const std::string& what) const;

  EtcdOptions options_;
  EtcdKeys keys_;
};

}  // namespace mesh
