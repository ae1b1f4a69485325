// EtcdSilence: says in the store since when a node gives no sign of life, and removes the records
// of nodes that are to be forgotten. One thread.
//
// The mark in the store outlives whoever made it, so "silent for a day" survives restarts of every
// observer. All observers watch, and each waits a random time before it writes, so that one of
// thousands does it. Only nodes whose record meshd itself wrote are marked: one that somebody wrote
// by hand never gave a sign of life. Errors mean that the connection is of no use.
#pragma once

#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>

#include "mesh/clock.h"
#include "meshd/store/etcd/etcd_client.h"
#include "meshd/store/etcd/etcd_keys.h"
#include "meshd/store/etcd/etcd_options.h"
#include "meshd/store/etcd/etcd_view.h"

namespace mesh {

class EtcdSilence {
 public:
  EtcdSilence(const EtcdOptions& options, const EtcdKeys& keys) : options_(options), keys_(keys) {}

  // The view changed. `own`: this node, which marks itself never.
  void look(const EtcdView& view, const std::string& own, MonotonicTime now);
  void forget(const std::string& node) { to_forget_.insert(node); }

  // Removes those that are to be forgotten, if they are still as `view` has them: as they were when
  // somebody chose them.
  Result<void> remove_forgotten(EtcdClient& client, const EtcdView& view);
  // Writes the marks that are due.
  Result<void> write(EtcdClient& client, const EtcdView& view, Instant now);
  std::optional<MonotonicTime> due() const;  // when there is work next

 private:
  Result<void> mark(EtcdClient& client, const std::string& node, std::int64_t revision,
                    WallTime now) const;
  Result<void> remove(EtcdClient& client, const EtcdView& view, const std::string& node) const;

  const EtcdOptions& options_;
  const EtcdKeys& keys_;
  std::minstd_rand random_{std::random_device{}()};
  std::map<std::string, MonotonicTime> unmarked_;  // silent nodes: when to mark them
  std::set<std::string> to_forget_;
};

}  // namespace mesh
