// KubernetesAdmin: an operator's hand in a cluster's policies. A cluster's Nodes are made and
// removed by the cluster itself: put_node() and delete_node() say with which command
// (kUnsupported).
//
// One thread at a time; every call blocks, for at most some seconds a request. The identity of
// store.kubernetes.kubeconfig needs create, update and delete of EncryptionPolicies, which the
// package's service account has not got: a node's daemon must not be able to change the policies of
// the mesh.
#pragma once

#include <filesystem>

#include "mesh/store_admin.h"
#include "meshd/store/kubernetes/access.h"
#include "meshd/store/kubernetes/api_client.h"

namespace mesh {

class KubernetesAdmin : public StoreAdmin {
 public:
  // "": the service account of the pod.
  explicit KubernetesAdmin(std::filesystem::path kubeconfig);

  Result<Contents> read() override;
  Result<void> put_node(const NodeRecord& record) override;
  Result<void> delete_node(const std::string& name) override;
  Result<void> put_policy(const EncryptionPolicy& policy) override;
  Result<void> delete_policy(const std::string& name) override;

 private:
  Result<ApiReply> ask(ApiRequest request);
  template <class Change, class Read>
  Result<std::vector<Change>> list(const std::string& path, const std::string& what, Read entry_of);

  HttpClient http_;
  ApiClient api_;
};

}  // namespace mesh
