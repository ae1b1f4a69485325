// StoreAdmin: what an operator's command does to a store, once and with an answer: meshctl's
// `apply`, `delete policy`, `node delete` and `store copy`. The daemon's own way is NodeStore.
//
// Any thread, one at a time; every call blocks, for a bounded time (some seconds; kTimeout). Errors
// are one line with the place and the remedy: kPermission, kNotFound, kUnavailable, kUnsupported
// (this kind of store has that from somebody else: Kubernetes makes its Nodes itself).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mesh/node_store.h"

namespace mesh {

class StoreAdmin {
 public:
  virtual ~StoreAdmin() = default;

  struct Contents {
    std::vector<StoreChange> nodes;  // no entry is null
    std::vector<PolicyChange> policies;
  };
  virtual Result<Contents> read() = 0;
  // Creates, or replaces what is there; an equal record is not written again.
  virtual Result<void> put_node(const NodeRecord& record) = 0;
  virtual Result<void> delete_node(const std::string& name) = 0;
  virtual Result<void> put_policy(const EncryptionPolicy& policy) = 0;
  virtual Result<void> delete_policy(const std::string& name) = 0;
};

}  // namespace mesh
