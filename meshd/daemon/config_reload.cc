// What a reload can and cannot change.
#include "meshd/daemon/config.h"

namespace mesh {
namespace {

class ChangedKeys {
 public:
  template <class T>
  void compare(std::string_view key, const T& running, const T& wanted) {
    if (!(running == wanted)) keys_.emplace_back(key);
  }
  std::vector<std::string> take() { return std::move(keys_); }

 private:
  std::vector<std::string> keys_;
};

void compare_etcd(ChangedKeys& changed, const EtcdStoreConfig& running,
                  const EtcdStoreConfig& wanted) {
  changed.compare("store.etcd.endpoints", running.endpoints, wanted.endpoints);
  changed.compare("store.etcd.prefix", running.prefix, wanted.prefix);
  changed.compare("store.etcd.caFile", running.ca_file, wanted.ca_file);
  changed.compare("store.etcd.certFile", running.cert_file, wanted.cert_file);
  changed.compare("store.etcd.keyFile", running.key_file, wanted.key_file);
  changed.compare("store.etcd.username", running.username, wanted.username);
  changed.compare("store.etcd.passwordFile", running.password_file, wanted.password_file);
}

void compare_store(ChangedKeys& changed, const StoreConfig& running, const StoreConfig& wanted) {
  changed.compare("store.type", running.type, wanted.type);
  changed.compare("store.snapshot.path", running.snapshot, wanted.snapshot);
  if (running.type != wanted.type) return;  // that one says it all
  changed.compare("store.forgetAfter", running.forget_after, wanted.forget_after);
  switch (running.type) {
    case StoreType::kDirectory:
      changed.compare("store.directory.path", running.directory.path, wanted.directory.path);
      break;
    case StoreType::kEtcd:
      compare_etcd(changed, running.etcd, wanted.etcd);
      break;
    case StoreType::kKubernetes:
      changed.compare("store.kubernetes.kubeconfig", running.kubernetes.kubeconfig,
                      wanted.kubernetes.kubeconfig);
      changed.compare("store.kubernetes.patchKubeconfig", running.kubernetes.patch_kubeconfig,
                      wanted.kubernetes.patch_kubeconfig);
      changed.compare("store.kubernetes.nodeName", running.kubernetes.node_name,
                      wanted.kubernetes.node_name);
      break;
  }
}

void compare_wireguard(ChangedKeys& changed, const WireguardConfig& running,
                       const WireguardConfig& wanted) {
  changed.compare("wireguard.backend", running.backend, wanted.backend);
  changed.compare("wireguard.interface", running.interface, wanted.interface);
}

}  // namespace

std::vector<std::string> changed_but_needs_restart(const Config& running, const Config& wanted) {
  ChangedKeys changed;
  changed.compare("node.name", running.node.name, wanted.node.name);
  compare_store(changed, running.store, wanted.store);
  compare_wireguard(changed, running.wireguard, wanted.wireguard);
  changed.compare("keys.directory", running.keys.directory, wanted.keys.directory);
  changed.compare("api.socket", running.api.socket, wanted.api.socket);
  changed.compare("api.listen", running.api.listen, wanted.api.listen);
  return changed.take();
}

}  // namespace mesh
