// EtcdWatch: the stream of changes below a prefix, read by a thread of its own.
//
// The owner's thread makes, asks and destroys it. What was read waits in a queue of bounded size:
// an owner that is slow slows the server down, by HTTP/2's flow control, and loses nothing. `wake`
// is called on the stream's thread whenever there is news. Destroying it cancels the stream.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "meshd/store/etcd/etcd_client.h"
#include "meshd/store/etcd/etcd_keys.h"
#include "meshd/store/etcd/etcd_view.h"

namespace mesh {

class EtcdWatch {
 public:
  struct End {
    Error error;
    bool read_again = false;  // what happened since cannot be had: compacted, or too large
  };
  struct News {
    std::vector<etcdserverpb::WatchResponse> responses;
    std::optional<End> end;  // after them, nothing more comes
  };

  // Everything after what `view` has. `client` outlives it.
  EtcdWatch(EtcdClient& client, const EtcdOptions& options, const EtcdKeys& keys,
            const EtcdView& view, std::function<void()> wake);
  ~EtcdWatch();
  EtcdWatch(const EtcdWatch&) = delete;
  EtcdWatch& operator=(const EtcdWatch&) = delete;

  // Waits until the server has taken it; the end if it has not, or not in time.
  std::optional<End> wait_created(Duration patience);
  News take();  // never blocks
  // Whether something stands between that numbers the watches itself (`etcd grpc-proxy`; an etcd
  // before 3.4 does, too), and would take one without an etcd. Known when it is created.
  bool is_proxied();

 private:
  void run();
  bool keep(etcdserverpb::WatchResponse response);  // false: it is over
  bool is_another_store(const etcdserverpb::ResponseHeader& header) const;
  void end(End end);

  EtcdClient& client_;
  const EtcdOptions& options_;
  etcdserverpb::WatchRequest request_;
  const std::uint64_t cluster_;
  std::function<void()> wake_;
  grpc::ClientContext context_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<etcdserverpb::WatchResponse> queue_;
  std::size_t queued_bytes_ = 0;
  std::optional<End> end_;
  bool created_ = false;
  bool proxied_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace mesh
