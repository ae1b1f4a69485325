#include "meshd/daemon/store_factory.h"

#include "meshd/store/directory_admin.h"
#include "meshd/store/directory_store.h"
#include "meshd/store/kubernetes/kubernetes_admin.h"
#include "meshd/store/kubernetes/kubernetes_store.h"

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
      break;
    case StoreType::kKubernetes: {
      KubernetesStoreOptions options;
      options.kubeconfig = config.store.kubernetes.kubeconfig;
      options.patch_kubeconfig = config.store.kubernetes.patch_kubeconfig;
      return std::unique_ptr<NodeStore>(std::make_unique<KubernetesStore>(options));
    }
  }
  return not_there(config);
}

Result<std::unique_ptr<StoreAdmin>> make_store_admin(const Config& config) {
  switch (config.store.type) {
    case StoreType::kDirectory:
      return std::unique_ptr<StoreAdmin>(
          std::make_unique<DirectoryAdmin>(config.store.directory.path));
    case StoreType::kKubernetes:
      return std::unique_ptr<StoreAdmin>(
          std::make_unique<KubernetesAdmin>(config.store.kubernetes.kubeconfig));
    case StoreType::kEtcd:
      break;
  }
  return not_there(config);
}

}  // namespace mesh
