#include "meshd/store/etcd/etcd_client.h"

#include <fmt/format.h>
#include <grpc/support/log.h>

#include <fstream>
#include <iterator>
#include <utility>

#include "meshd/store/etcd/etcd_errors.h"

namespace mesh {
namespace {

constexpr std::string_view kSystemAuthorities = "/etc/ssl/certs/ca-certificates.crt";
constexpr std::size_t kMaxFileBytes = std::size_t{1} << 20;

Result<std::string> read_file(const std::filesystem::path& path, std::string_view key) {
  std::ifstream file(path, std::ios::binary);
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (!file || error)
    return make_error(ErrorCode::kNotFound, "store.etcd.{}: {} cannot be read{}", key,
                      path.string(), error ? ": " + error.message() : "");
  if (size > kMaxFileBytes)
    return make_error(ErrorCode::kInvalid, "store.etcd.{}: {} is larger than 1 MiB", key,
                      path.string());
  return std::string(std::istreambuf_iterator<char>(file), {});
}

Result<std::string> read_pem(const std::filesystem::path& path, std::string_view key) {
  auto text = read_file(path, key);
  if (text && text->find("-----BEGIN") == std::string::npos)
    return make_error(ErrorCode::kInvalid, "store.etcd.{}: {} is no PEM file", key, path.string());
  return text;
}

// The first line, as an editor leaves it.
Result<std::string> read_password(const EtcdOptions& options) {
  if (options.password_file.empty()) return std::string();
  auto text = read_file(options.password_file, "passwordFile");
  if (text) text->erase(std::min(text->find_first_of("\r\n"), text->size()));
  return text;
}

Result<grpc::SslCredentialsOptions> read_tls(const EtcdOptions& options) {
  grpc::SslCredentialsOptions tls;
  auto roots = read_pem(
      options.ca_file.empty() ? std::filesystem::path(kSystemAuthorities) : options.ca_file,
      "caFile");
  if (!roots) return roots.error();
  tls.pem_root_certs = std::move(*roots);
  if (options.cert_file.empty() != options.key_file.empty())
    return make_error(ErrorCode::kInvalid,
                      "store.etcd.certFile and keyFile belong together: give both or neither");
  if (options.cert_file.empty()) return tls;
  auto certificate = read_pem(options.cert_file, "certFile");
  if (!certificate) return certificate.error();
  auto key = read_pem(options.key_file, "keyFile");
  if (!key) return key.error();
  tls.pem_cert_chain = std::move(*certificate);
  tls.pem_private_key = std::move(*key);
  return tls;
}

bool is_tls(std::string_view endpoint) { return endpoint.starts_with("https://"); }

// gRPC's name for it. An address needs no resolver.
std::string target_of(std::string_view endpoint) {
  endpoint.remove_prefix(endpoint.find("//") + 2);
  while (endpoint.ends_with('/')) endpoint.remove_suffix(1);
  if (endpoint.starts_with('[')) return "ipv6:" + std::string(endpoint);
  const bool is_address = endpoint.find_first_not_of("0123456789.:") == std::string_view::npos;
  return (is_address ? "ipv4:" : "dns:///") + std::string(endpoint);
}

int milliseconds(Duration duration) {
  return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

grpc::ChannelArguments channel_arguments(const EtcdOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxEtcdMessageBytes);
  grpc::ResourceQuota quota("etcd");
  quota.Resize(kMaxEtcdBufferBytes);
  arguments.SetResourceQuota(quota);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, milliseconds(options.ping_interval));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, milliseconds(options.ping_timeout));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // as many as it takes
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);                // ours, with our back-off
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // a node's way to its store is configured
  // A connection of its own: gRPC's back-off for the last one does not hold up the next.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return arguments;
}

// gRPC writes its own lines on standard error, one for each failed attempt. What matters of them
// comes back as a status.
void silence_grpc() {
  static const bool done = [] {
    gpr_set_log_function([](gpr_log_func_args*) {});
    return true;
  }();
  (void)done;
}

}  // namespace

Result<void> check_etcd_files(const EtcdOptions& options) {
  bool tls = false;
  for (const std::string& endpoint : options.endpoints) tls = tls || is_tls(endpoint);
  if (tls)
    if (auto read = read_tls(options); !read) return read.error();
  if (auto password = read_password(options); !password) return password.error();
  return {};
}

// ---- EtcdCalls ----

EtcdCalls::Call::Call(EtcdCalls& calls, grpc::ClientContext& context)
    : calls_(calls), context_(context) {
  const std::lock_guard lock(calls_.mutex_);
  calls_.contexts_.insert(&context_);
  if (calls_.stopped_) context_.TryCancel();
}

EtcdCalls::Call::~Call() {
  const std::lock_guard lock(calls_.mutex_);
  calls_.contexts_.erase(&context_);
}

void EtcdCalls::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  for (grpc::ClientContext* context : contexts_) context->TryCancel();
}

// ---- EtcdClient ----

EtcdClient::EtcdClient(const EtcdOptions& options, std::string endpoint, EtcdCalls& calls)
    : options_(options),
      endpoint_(std::move(endpoint)),
      calls_(calls),
      timeout_(options.call_timeout) {}

Result<std::unique_ptr<EtcdClient>> EtcdClient::open(const EtcdOptions& options,
                                                     const std::string& endpoint,
                                                     EtcdCalls& calls) {
  std::unique_ptr<EtcdClient> client(new EtcdClient(options, endpoint, calls));
  if (auto connected = client->connect(); !connected) return connected.error();
  return client;
}

Result<void> EtcdClient::connect() {
  silence_grpc();
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (is_tls(endpoint_)) {
    auto tls = read_tls(options_);
    if (!tls) return tls.error();
    credentials = grpc::SslCredentials(*tls);
  }
  channel_ =
      grpc::CreateCustomChannel(target_of(endpoint_), credentials, channel_arguments(options_));
  kv_ = etcdserverpb::KV::NewStub(channel_);
  watch_ = etcdserverpb::Watch::NewStub(channel_);
  lease_ = etcdserverpb::Lease::NewStub(channel_);
  auth_ = etcdserverpb::Auth::NewStub(channel_);
  return {};
}

void EtcdClient::set_deadline(grpc::ClientContext& context) const {
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::system_clock::duration>(timeout_));
}

void EtcdClient::prepare(grpc::ClientContext& context) const {
  if (!token_.empty()) context.AddMetadata("token", token_);
}

Result<void> EtcdClient::ensure_token() {
  if (options_.username.empty() || !token_.empty() || no_authentication_) return {};
  auto password = read_password(options_);
  if (!password) return password.error();
  etcdserverpb::AuthenticateRequest request;
  request.set_name(options_.username);
  request.set_password(*password);
  grpc::ClientContext context;
  set_deadline(context);
  const EtcdCalls::Call under_way(calls_, context);
  etcdserverpb::AuthenticateResponse response;
  const grpc::Status status = auth_->Authenticate(&context, request, &response);
  std::fill(password->begin(), password->end(), '\0');
  std::fill(request.mutable_password()->begin(), request.mutable_password()->end(), '\0');
  if (is_without_authentication(status)) {
    no_authentication_ = true;
    return {};
  }
  if (!status.ok()) return to_etcd_error(status, endpoint_, options_);
  token_ = response.token();
  return {};
}

template <class Response, class Invoke>
Result<Response> EtcdClient::call(Invoke invoke) {
  for (bool again : {true, false}) {
    if (auto token = ensure_token(); !token) return token.error();
    grpc::ClientContext context;
    set_deadline(context);
    prepare(context);
    const EtcdCalls::Call under_way(calls_, context);
    Response response;
    const grpc::Status status = invoke(context, response);
    if (status.ok()) return response;
    if (!again || token_.empty() || !is_stale_token(status))
      return to_etcd_error(status, endpoint_, options_);
    token_.clear();
  }
  return make_error(ErrorCode::kInternal, "{}: a call that neither succeeded nor failed",
                    endpoint_);
}

Result<etcdserverpb::RangeResponse> EtcdClient::range(const etcdserverpb::RangeRequest& request) {
  return call<etcdserverpb::RangeResponse>(
      [&](auto& context, auto& response) { return kv_->Range(&context, request, &response); });
}

Result<etcdserverpb::TxnResponse> EtcdClient::txn(const etcdserverpb::TxnRequest& request) {
  return call<etcdserverpb::TxnResponse>(
      [&](auto& context, auto& response) { return kv_->Txn(&context, request, &response); });
}

Result<std::int64_t> EtcdClient::grant_lease(std::chrono::seconds ttl) {
  etcdserverpb::LeaseGrantRequest request;
  request.set_ttl(ttl.count());
  auto granted = call<etcdserverpb::LeaseGrantResponse>([&](auto& context, auto& response) {
    return lease_->LeaseGrant(&context, request, &response);
  });
  if (!granted) return granted.error();
  return granted->id();
}

Result<bool> EtcdClient::keep_alive(std::int64_t lease) {
  etcdserverpb::LeaseKeepAliveRequest request;
  request.set_id(lease);
  auto kept = call<etcdserverpb::LeaseKeepAliveResponse>([&](auto& context, auto& response) {
    // A stream for one question: cheaper for the server than one that stands for each node.
    auto stream = lease_->LeaseKeepAlive(&context);
    const bool answered = stream->Write(request) && stream->Read(&response);
    (void)stream->WritesDone();
    const grpc::Status status = stream->Finish();
    return answered && status.ok() ? grpc::Status::OK
           : status.ok()           ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "no answer")
                                   : status;
  });
  if (!kept) return kept.error();
  return kept->ttl() > 0;
}

}  // namespace mesh
