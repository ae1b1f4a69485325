#include "store/scripted_etcd.h"

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace mesh::testing {

class ScriptedEtcd::Keys : public etcdserverpb::KV::Service {
 public:
  explicit Keys(ScriptedEtcd& etcd) : etcd_(etcd) {}
  grpc::Status Range(grpc::ServerContext* context, const etcdserverpb::RangeRequest* request,
                     etcdserverpb::RangeResponse* response) override {
    (void)context;
    if (request->revision() == 0) {
      const std::lock_guard lock(etcd_.mutex_);
      etcd_.reads_.push_back(std::chrono::steady_clock::now());
    }
    etcd_.script_.range(*request, *response);
    return grpc::Status::OK;
  }

 private:
  ScriptedEtcd& etcd_;
};

class ScriptedEtcd::Watches : public etcdserverpb::Watch::Service {
 public:
  explicit Watches(ScriptedEtcd& etcd) : etcd_(etcd) {}
  grpc::Status Watch(grpc::ServerContext* context,
                     grpc::ServerReaderWriter<etcdserverpb::WatchResponse,
                                              etcdserverpb::WatchRequest>* stream) override {
    etcdserverpb::WatchRequest request;
    if (!stream->Read(&request)) return grpc::Status::OK;
    for (const etcdserverpb::WatchResponse& response : etcd_.script_.watch(request))
      if (!stream->Write(response)) return grpc::Status::OK;
    while (etcd_.script_.watch_stays_open && !context->IsCancelled() && !etcd_.ending_)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return grpc::Status::OK;
  }

 private:
  ScriptedEtcd& etcd_;
};

ScriptedEtcd::ScriptedEtcd(Script script, std::uint16_t port)
    : script_(std::move(script)),
      keys_(std::make_unique<Keys>(*this)),
      watches_(std::make_unique<Watches>(*this)) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(fmt::format("127.0.0.1:{}", port), grpc::InsecureServerCredentials(),
                           &port_);
  builder.RegisterService(keys_.get());
  builder.RegisterService(watches_.get());
  server_ = builder.BuildAndStart();
  if (!server_ || port_ == 0) throw std::runtime_error("a scripted etcd cannot listen");
}

ScriptedEtcd::~ScriptedEtcd() {
  ending_ = true;
  server_->Shutdown(std::chrono::system_clock::now());
}

std::vector<std::chrono::steady_clock::time_point> ScriptedEtcd::reads() const {
  const std::lock_guard lock(mutex_);
  return reads_;
}

void ScriptedEtcd::fill_header(etcdserverpb::ResponseHeader& header, std::int64_t revision) {
  header.set_cluster_id(7);
  header.set_revision(revision);
}

void ScriptedEtcd::an_empty_store(const etcdserverpb::RangeRequest& request,
                                  etcdserverpb::RangeResponse& response) {
  (void)request;
  fill_header(*response.mutable_header());
}

std::vector<etcdserverpb::WatchResponse> ScriptedEtcd::created(
    const etcdserverpb::WatchRequest& request) {
  std::vector<etcdserverpb::WatchResponse> responses = created_by_proxy(request);
  responses.front().set_watch_id(request.create_request().watch_id());
  return responses;
}

std::vector<etcdserverpb::WatchResponse> ScriptedEtcd::created_by_proxy(
    const etcdserverpb::WatchRequest& request) {
  (void)request;
  std::vector<etcdserverpb::WatchResponse> responses(1);
  fill_header(*responses.front().mutable_header());
  responses.front().set_created(true);
  return responses;
}

void ScriptedEtcd::huge(std::size_t bytes, etcdserverpb::RangeResponse& response) {
  fill_header(*response.mutable_header());
  etcdserverpb::KeyValue& pair = *response.add_kvs();
  pair.set_key("/meshd/nodes/huge");
  pair.set_mod_revision(5);
  pair.set_value(std::string(bytes, ' '));
}

}  // namespace mesh::testing
