// DirectoryAdmin: an operator's hand in a directory store; see mesh/store_admin.h.
//
// Any thread, one call at a time. Holds nothing open between calls: each opens the directory afresh
// and blocks for a few system calls on small files, for as long as the file system takes. Never
// creates the store's directory; makes `nodes` and `policies` in it where they are missing.
#pragma once

#include <filesystem>

#include "mesh/store_admin.h"

namespace mesh {

class DirectoryAdmin : public StoreAdmin {
 public:
  explicit DirectoryAdmin(std::filesystem::path path) : path_(std::move(path)) {}

  Result<Contents> read() override;
  Result<void> put_node(const NodeRecord& record) override;
  Result<void> delete_node(const std::string& name) override;
  Result<void> put_policy(const EncryptionPolicy& policy) override;
  Result<void> delete_policy(const std::string& name) override;

 private:
  std::filesystem::path path_;
};

}  // namespace mesh
