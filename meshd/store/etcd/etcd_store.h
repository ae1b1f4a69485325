// EtcdStore: node records, signs of life and policies in etcd (v3), over gRPC; `etcd grpc-proxy`
// too. etcd_keys.h says where what is kept.
//
// Threads: one of its own connects, reads, writes and calls the sink; another reads the watch;
// gRPC has some. A server that hangs stalls neither the caller of publish() nor the loop; stop()
// cancels what is under way. stop() must not be called from the sink.
//
// Cost: everything is read when the store answers first and after an outage; from then on the watch
// brings what changes. A settled node keeps its lease alive (three calls in lease_ttl) and answers
// HTTP/2 pings; it reads and writes nothing (behind a proxy: etcd_probe.h). Several endpoints: one
// connection, to the one that answers; when it breaks the watch goes on at the next one where it
// ended, and that is no outage.
//
// Never: says that a record is gone because a server does not answer; asks for the progress of a
// watch (`etcd grpc-proxy` 3.4 ends itself on that).
#pragma once

#include <memory>

#include "mesh/node_store.h"
#include "meshd/store/etcd/etcd_options.h"

namespace mesh {

class EtcdStore : public NodeStore {
 public:
  explicit EtcdStore(EtcdOptions options);
  EtcdStore(const EtcdStore&) = delete;
  EtcdStore& operator=(const EtcdStore&) = delete;
  EtcdStore(EtcdStore&&) = delete;
  EtcdStore& operator=(EtcdStore&&) = delete;
  ~EtcdStore() override;

  void start(Sink sink) override;  // once; after stop() it does nothing
  // Annotations of the present record that are not meshd's (no "meshd.io/") stay in it.
  void publish(NodeRecord record) override;
  // Only a node that is marked as silent, and only if neither record nor mark changes meanwhile.
  void forget(const std::string& node) override;
  void stop() override;

 private:
  class Worker;
  std::unique_ptr<Worker> worker_;
};

}  // namespace mesh
