// EtcdClient: one connection to one endpoint of etcd: calls that end within a deadline, the token
// of a user, and errors that name place and remedy. EtcdCalls: what lets another thread end them.
//
// One thread calls; EtcdCalls::stop() may come from any. Errors: kUnavailable, kTimeout (this
// endpoint does not answer: try another), kPermission (it refuses), kInvalid (an answer too large),
// kBusy (no space), kIo (any other). Never: retries (but once with a new token), logs, or quotes a
// secret.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "etcd.grpc.pb.h"
#include "mesh/result.h"
#include "meshd/store/etcd/etcd_options.h"

namespace mesh {

// Larger answers are refused: many times what a page of records has.
inline constexpr int kMaxEtcdMessageBytes = 16 << 20;
// And what gRPC may hold of one that is on its way: it looks at the size when it has all of it.
inline constexpr std::size_t kMaxEtcdBufferBytes = std::size_t{32} << 20;

// The calls under way, so that they can be cancelled. Outlives them.
class EtcdCalls {
 public:
  class Call {  // one of them, while it lives
   public:
    Call(EtcdCalls& calls, grpc::ClientContext& context);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    EtcdCalls& calls_;
    grpc::ClientContext& context_;
  };
  void stop();  // cancels those under way and all that come later

 private:
  std::mutex mutex_;
  std::set<grpc::ClientContext*> contexts_;
  bool stopped_ = false;
};

class EtcdClient {
 public:
  // Reads the files that the options name; connects at the first call. `calls` outlives it.
  static Result<std::unique_ptr<EtcdClient>> open(const EtcdOptions& options,
                                                  const std::string& endpoint, EtcdCalls& calls);

  void set_timeout(Duration timeout) { timeout_ = timeout; }  // of each call
  Duration timeout() const { return timeout_; }
  const std::string& endpoint() const { return endpoint_; }

  Result<etcdserverpb::RangeResponse> range(const etcdserverpb::RangeRequest& request);
  Result<etcdserverpb::TxnResponse> txn(const etcdserverpb::TxnRequest& request);
  Result<std::int64_t> grant_lease(std::chrono::seconds ttl);  // its number
  Result<bool> keep_alive(std::int64_t lease);  // false: there is no such lease any more

  // For EtcdWatch: the stub, and what its context needs.
  etcdserverpb::Watch::Stub& watch_stub() { return *watch_; }
  Result<void> ensure_token();
  void prepare(grpc::ClientContext& context) const;

 private:
  EtcdClient(const EtcdOptions& options, std::string endpoint, EtcdCalls& calls);
  Result<void> connect();
  template <class Response, class Invoke>
  Result<Response> call(Invoke invoke);
  void set_deadline(grpc::ClientContext& context) const;

  EtcdOptions options_;
  std::string endpoint_;
  EtcdCalls& calls_;
  Duration timeout_;
  std::string token_;
  bool no_authentication_ = false;  // the server knows no users
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<etcdserverpb::KV::Stub> kv_;
  std::unique_ptr<etcdserverpb::Watch::Stub> watch_;
  std::unique_ptr<etcdserverpb::Lease::Stub> lease_;
  std::unique_ptr<etcdserverpb::Auth::Stub> auth_;
};

}  // namespace mesh
