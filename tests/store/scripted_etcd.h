// ScriptedEtcd: a gRPC server that answers as a script says, for what no real etcd can be made to
// do. On a loopback port; its scripts are called on threads of gRPC.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "etcd.grpc.pb.h"

namespace mesh::testing {

class ScriptedEtcd {
 public:
  struct Script {
    std::function<void(const etcdserverpb::RangeRequest&, etcdserverpb::RangeResponse&)> range =
        an_empty_store;
    // Each is one answer; after them the stream stays open until the client leaves, or ends.
    std::function<std::vector<etcdserverpb::WatchResponse>(const etcdserverpb::WatchRequest&)>
        watch = created;
    bool watch_stays_open = true;
  };
  explicit ScriptedEtcd(Script script, std::uint16_t port = 0);
  ~ScriptedEtcd();
  ScriptedEtcd(const ScriptedEtcd&) = delete;
  ScriptedEtcd& operator=(const ScriptedEtcd&) = delete;

  std::uint16_t port() const { return static_cast<std::uint16_t>(port_); }
  // When everything was read, or begun to be: calls of Range without a revision.
  std::vector<std::chrono::steady_clock::time_point> reads() const;

  // What an etcd that holds nothing says, and one that stands before it (no number of ours).
  static void an_empty_store(const etcdserverpb::RangeRequest& request,
                             etcdserverpb::RangeResponse& response);
  static void fill_header(etcdserverpb::ResponseHeader& header, std::int64_t revision = 5);
  static std::vector<etcdserverpb::WatchResponse> created(
      const etcdserverpb::WatchRequest& request);
  static std::vector<etcdserverpb::WatchResponse> created_by_proxy(
      const etcdserverpb::WatchRequest& request);
  // One key whose value has so many bytes.
  static void huge(std::size_t bytes, etcdserverpb::RangeResponse& response);

 private:
  class Keys;
  class Watches;
  Script script_;
  mutable std::mutex mutex_;
  std::vector<std::chrono::steady_clock::time_point> reads_;
  std::atomic<bool> ending_ = false;
  std::unique_ptr<Keys> keys_;
  std::unique_ptr<Watches> watches_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace mesh::testing
