// EtcdOwn: what this node writes of itself: its record, by compare-and-swap, and its sign of life,
// a key under a lease. One thread.
//
// Errors that a function returns mean that the connection is of no use; all others are problem().
// Cost in a settled mesh: one keep-alive of the lease in a third of its time, no write.
#pragma once

#include <optional>
#include <random>
#include <string>

#include "mesh/clock.h"
#include "meshd/store/etcd/etcd_client.h"
#include "meshd/store/etcd/etcd_keys.h"
#include "meshd/store/etcd/etcd_options.h"
#include "meshd/store/etcd/etcd_view.h"

namespace mesh {

// That the other side does not answer, as opposed to answering with a refusal.
bool is_connection_error(const Error& error);

// A pause less a random part of up to a quarter, so that nodes do not all come at once.
Duration with_jitter(Duration pause, std::minstd_rand& random);

class EtcdOwn {
 public:
  EtcdOwn(const EtcdOptions& options, const EtcdKeys& keys);

  void set(NodeRecord record, MonotonicTime now);
  const std::string& name() const { return name_; }  // "": nothing was published yet
  // Writes what is due.
  Result<void> write(EtcdClient& client, const EtcdView& view, MonotonicTime now);
  // When write() should be called next; empty: when something changes.
  std::optional<MonotonicTime> due() const;
  // The store is back: no reason to wait any longer, and the lease may have ended.
  void retry_now(MonotonicTime now);
  // The store holds another state than it did: what was written may not be there, and its revisions
  // mean nothing any more.
  void store_went_back();
  // The view changed: the sign of life may have been removed by somebody.
  void look(const EtcdView& view, MonotonicTime now);
  // Why the last attempt failed; "" when it did not.
  const std::string& problem() const {
    return record_problem_.empty() ? life_problem_ : record_problem_;
  }

 private:
  struct Present {
    std::int64_t revision = 0;  // 0: not there
    std::optional<NodeRecord> record;
  };
  Present present(const EtcdView& view) const;
  void note_written(std::int64_t at, Present present);
  Result<void> write_record(EtcdClient& client, const EtcdView& view);
  Result<bool> swap(EtcdClient& client, const EtcdView& view, Present& present);
  Result<void> show_life(EtcdClient& client, MonotonicTime now);
  Result<void> put_sign_of_life(EtcdClient& client);
  bool sign_is_missing(const EtcdView& view) const;
  MonotonicTime later(Duration& pause, MonotonicTime now);

  const EtcdOptions& options_;
  const EtcdKeys& keys_;
  std::minstd_rand random_{std::random_device{}()};
  std::string name_;
  NodeRecord record_;
  std::optional<MonotonicTime> record_due_;
  Duration record_pause_;
  std::string record_problem_;
  // What an answer to a write has shown, which the watch may not have shown yet.
  Present answered_;
  std::int64_t answered_at_ = 0;

  std::int64_t lease_ = 0;  // 0: none
  std::int64_t sign_revision_ = 0;
  std::optional<MonotonicTime> life_due_;
  Duration life_pause_;
  std::string life_problem_;
};

}  // namespace mesh
