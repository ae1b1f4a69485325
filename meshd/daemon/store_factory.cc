#include "meshd/daemon/store_factory.h"

#include "meshd/store/directory_admin.h"
#include "meshd/store/directory_store.h"

namespace mesh {
namespace {

Error not_there(const Config& config) {
  return make_error(ErrorCode::kUnsupported,
                    "store.type: this meshd has no {} store: use directory",
                    to_string(config.store.type));
}

}  // namespace

Result<std::unique_ptr<NodeStore>> make_store(const Config& config) {
  switch (config.store.type) {
    case StoreType::kDirectory:
      return std::unique_ptr<NodeStore>(
          std::make_unique<DirectoryStore>(config.store.directory.path));
    case StoreType::kEtcd:
    case StoreType::kKubernetes:
      break;
  }
  return not_there(config);
}

Result<std::unique_ptr<StoreAdmin>> make_store_admin(const Config& config) {
  switch (config.store.type) {
    case StoreType::kDirectory:
      return std::unique_ptr<StoreAdmin>(
          std::make_unique<DirectoryAdmin>(config.store.directory.path));
    case StoreType::kEtcd:
    case StoreType::kKubernetes:
      break;
  }
  return not_there(config);
}

}  // namespace mesh
