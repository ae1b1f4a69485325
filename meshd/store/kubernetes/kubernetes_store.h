// KubernetesStore: the cluster's own Nodes as node records, and its EncryptionPolicies.
//
// A Node is its owner's: addresses, podCIDRs and labels are read from it, and meshd writes meshd's
// annotations of its own Node, by merge patch, and nothing else of any. So forget() does nothing,
// and a Node that is not there is not made. A Node that never ran meshd is a record without
// annotations.
//
// Threads: a thread of its own, on which libcurl and the sink are called. stop() must not be called
// from the sink; it waits for no server.
// Cost: one connection with two watches; one parse an event, and an update only when a record has
// changed (a Node's heartbeats change none). A server that was silent for `probe_after` is asked
// whether it is ready, so that one that hangs is known to be out; where Nodes change more often
// than that, never. docs/stores.md has the counts. Never: waits without a limit, takes an answer
// without one, runs a program for its credentials.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>

#include "mesh/clock.h"
#include "mesh/node_store.h"
#include "meshd/store/kubernetes/access.h"

namespace mesh {

struct KubernetesStoreOptions {
  std::filesystem::path kubeconfig;        // "": the pod's service account
  std::filesystem::path patch_kubeconfig;  // who writes; "": who reads
  std::filesystem::path service_account = kServiceAccountDirectory;
  int page = 250;  // objects in a page of a list
  // Pauses between attempts, of which the first is short; with jitter.
  Duration retry_first = std::chrono::milliseconds(100);
  Duration retry_cap = std::chrono::seconds(3);
  // A server from which nothing came for this long is asked, and must answer within probe_timeout.
  Duration probe_after = std::chrono::seconds(4);
  Duration probe_timeout = std::chrono::seconds(4);
};

class KubernetesStore : public NodeStore {
 public:
  explicit KubernetesStore(KubernetesStoreOptions options = {});
  KubernetesStore(const KubernetesStore&) = delete;
  KubernetesStore& operator=(const KubernetesStore&) = delete;
  KubernetesStore(KubernetesStore&&) = delete;
  KubernetesStore& operator=(KubernetesStore&&) = delete;
  ~KubernetesStore() override;

  void start(Sink sink) override;  // once; after stop() it does nothing
  void publish(NodeRecord record) override;
  void stop() override;

 private:
  class Worker;
  std::unique_ptr<Worker> worker_;
};

}  // namespace mesh
