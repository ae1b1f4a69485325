// EtcdProbe: asks whether etcd itself answers, where something stands between that goes on when it
// is gone: `etcd grpc-proxy` answers HTTP/2's pings, takes watches, and notices a dead etcd after
// 12 s. One thread; blocks for the call.
//
// What is asked is a linearizable read of a key that nobody has: it needs a quorum, and neither the
// proxy's cache nor a member alone can answer it. Cost: one such read whenever nothing came from
// etcd for `probe_after`; none where the server is spoken to directly, whose end ends the
// connection, and whose hanging the pings show.
#pragma once

#include <optional>
#include <random>

#include "mesh/clock.h"
#include "meshd/store/etcd/etcd_client.h"
#include "meshd/store/etcd/etcd_keys.h"
#include "meshd/store/etcd/etcd_options.h"
#include "meshd/store/etcd/etcd_view.h"
#include "meshd/store/etcd/etcd_watch.h"

namespace mesh {

class EtcdProbe {
 public:
  EtcdProbe(const EtcdOptions& options, const EtcdKeys& keys) : options_(options), keys_(keys) {}

  // A watch was made. Where it is proxied that says nothing of etcd, which is asked at once, with
  // `patience`; the end if it does not answer, or is not in a state that follows on the view's.
  std::optional<EtcdWatch::End> begin(bool proxied, EtcdClient& client, const EtcdView& view,
                                      Duration patience);
  void heard(MonotonicTime now);  // something came from etcd
  std::optional<MonotonicTime> due() const { return due_; }
  // Asks if it is due.
  std::optional<EtcdWatch::End> ask(EtcdClient& client, const EtcdView& view, MonotonicTime now);

 private:
  std::optional<EtcdWatch::End> read(EtcdClient& client, const EtcdView& view, Duration patience);

  const EtcdOptions& options_;
  const EtcdKeys& keys_;
  std::minstd_rand random_{std::random_device{}()};
  std::optional<MonotonicTime> due_;  // empty: nothing stands between
};

}  // namespace mesh
