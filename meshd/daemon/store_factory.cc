#include "meshd/daemon/store_factory.h"

#include "meshd/store/directory_admin.h"
#include "meshd/store/directory_store.h"
#include "meshd/store/etcd/etcd_admin.h"
#include "meshd/store/etcd/etcd_store.h"
#include "meshd/store/kubernetes/kubernetes_admin.h"
#include "meshd/store/kubernetes/kubernetes_store.h"

namespace mesh {
namespace {

EtcdOptions etcd_options(const EtcdStoreConfig& config) {
  EtcdOptions options;
  options.endpoints = config.endpoints;
  options.prefix = config.prefix;
  options.ca_file = config.ca_file;
  options.cert_file = config.cert_file;
  options.key_file = config.key_file;
  options.username = config.username;
  options.password_file = config.password_file;
  return options;
}

}  // namespace

Result<std::unique_ptr<NodeStore>> make_store(const Config& config) {
  switch (config.store.type) {
    case StoreType::kDirectory:
      return std::unique_ptr<NodeStore>(
          std::make_unique<DirectoryStore>(config.store.directory.path));
    case StoreType::kEtcd: {
      EtcdOptions options = etcd_options(config.store.etcd);
      if (auto checked = check_etcd_files(options); !checked) return checked.error();
      return std::unique_ptr<NodeStore>(std::make_unique<EtcdStore>(std::move(options)));
    }
    case StoreType::kKubernetes: {
      KubernetesStoreOptions options;
      options.kubeconfig = config.store.kubernetes.kubeconfig;
      options.patch_kubeconfig = config.store.kubernetes.patch_kubeconfig;
      return std::unique_ptr<NodeStore>(std::make_unique<KubernetesStore>(options));
    }
  }
  return make_error(ErrorCode::kInternal, "store.type: not a kind of store");
}

Result<std::unique_ptr<StoreAdmin>> make_store_admin(const Config& config) {
  switch (config.store.type) {
    case StoreType::kDirectory:
      return std::unique_ptr<StoreAdmin>(
          std::make_unique<DirectoryAdmin>(config.store.directory.path));
    case StoreType::kEtcd: {
      EtcdOptions options = etcd_options(config.store.etcd);
      if (auto checked = check_etcd_files(options); !checked) return checked.error();
      return std::unique_ptr<StoreAdmin>(std::make_unique<EtcdAdmin>(std::move(options)));
    }
    case StoreType::kKubernetes:
      return std::unique_ptr<StoreAdmin>(
          std::make_unique<KubernetesAdmin>(config.store.kubernetes.kubeconfig));
  }
  return make_error(ErrorCode::kInternal, "store.type: not a kind of store");
}

}  // namespace mesh
