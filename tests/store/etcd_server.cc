#include "store/etcd_server.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <thread>

#include "meshd/store/etcd/etcd_own.h"
#include "meshd/store/etcd/etcd_txn.h"

namespace mesh::testing {
namespace {

constexpr auto kPatience = std::chrono::seconds(60);

template <class Condition>
void wait_until(const std::string& what, Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error("never: " + what);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace

EtcdOptions quick_options(std::uint16_t port) {
  EtcdOptions options;
  options.endpoints = {fmt::format("http://127.0.0.1:{}", port)};
  options.retry_cap = std::chrono::milliseconds(500);
  return options;
}

// ---- EtcdHands ----

EtcdHands::EtcdHands(EtcdOptions options) {
  auto client = EtcdClient::open(options, options.endpoints.front(), calls_);
  if (!client) throw std::runtime_error(client.error().message);
  client_ = std::move(*client);
}

void EtcdHands::put(const std::string& key, const std::string& value) { put_all({{key, value}}); }

void EtcdHands::put_all(const std::vector<std::pair<std::string, std::string>>& pairs) {
  constexpr std::size_t kMost = 100;  // --max-txn-ops is 128
  for (std::size_t i = 0; i < pairs.size(); i += kMost) {
    EtcdTxn txn;
    for (std::size_t j = i; j < std::min(i + kMost, pairs.size()); ++j)
      txn.put(pairs[j].first, pairs[j].second);
    const auto done = client_->txn(txn.request());
    if (!done) throw std::runtime_error(done.error().message);
  }
}

void EtcdHands::remove(const std::string& key) {
  const auto done = client_->txn(EtcdTxn().remove(key).request());
  if (!done) throw std::runtime_error(done.error().message);
}

std::optional<etcdserverpb::KeyValue> EtcdHands::get(const std::string& key) {
  etcdserverpb::RangeRequest request;
  request.set_key(key);
  const auto found = client_->range(request);
  if (!found) throw std::runtime_error(found.error().message);
  if (found->kvs().empty()) return std::nullopt;
  return found->kvs(0);
}

std::vector<etcdserverpb::KeyValue> EtcdHands::below(const std::string& prefix) {
  etcdserverpb::RangeRequest request;
  request.set_key(prefix + "/");
  request.set_range_end(prefix + "0");
  const auto found = client_->range(request);
  if (!found) throw std::runtime_error(found.error().message);
  return {found->kvs().begin(), found->kvs().end()};
}

std::int64_t EtcdHands::revision() {
  etcdserverpb::RangeRequest request;
  request.set_key("x");
  const auto found = client_->range(request);
  return found ? found->header().revision() : 0;
}

bool EtcdHands::answers() {
  etcdserverpb::RangeRequest request;
  request.set_key("x");
  const auto answer = client_->range(request);
  return answer || !is_connection_error(answer.error());  // a refusal is an answer
}

// ---- EtcdServer ----

EtcdServer::EtcdServer(std::optional<Tls> tls, std::vector<std::string> arguments)
    : tls_(std::move(tls)), arguments_(std::move(arguments)) {
  start();
}

std::string EtcdServer::url() const {
  return fmt::format("{}://127.0.0.1:{}", tls_ ? "https" : "http", client_port_);
}

EtcdOptions EtcdServer::options() const {
  EtcdOptions options = quick_options(client_port_);
  options.endpoints = {url()};
  if (tls_) {
    options.ca_file = tls_->ca;
    options.cert_file = tls_->certificate;
    options.key_file = tls_->key;
  }
  return options;
}

EtcdHands& EtcdServer::hands() {
  if (!hands_) hands_ = std::make_unique<EtcdHands>(options());
  return *hands_;
}

void EtcdServer::start() {
  std::vector<std::string> argv = {
      "etcd",
      "--name=test",
      "--data-dir=" + (directory_ / "data").string(),
      "--listen-client-urls=" + url(),
      "--advertise-client-urls=" + url(),
      fmt::format("--listen-peer-urls=http://127.0.0.1:{}", peer_port_),
      fmt::format("--initial-advertise-peer-urls=http://127.0.0.1:{}", peer_port_),
      fmt::format("--initial-cluster=test=http://127.0.0.1:{}", peer_port_)};
  if (tls_)
    argv.insert(argv.end(), {"--cert-file=" + tls_->certificate, "--key-file=" + tls_->key,
                             "--trusted-ca-file=" + tls_->ca, "--client-cert-auth"});
  argv.insert(argv.end(), arguments_.begin(), arguments_.end());
  hands_.reset();
  process_.reset();
  process_.emplace(argv, (directory_ / "log").string());
  wait_ready();
}

void EtcdServer::wipe() {
  kill();
  std::filesystem::remove_all(directory_ / "data");
  start();
}

void EtcdServer::backup() { ctl("snapshot save " + (directory_ / "backup").string()); }

void EtcdServer::restore() {
  kill();
  std::filesystem::remove_all(directory_ / "data");
  const std::string peer = fmt::format("http://127.0.0.1:{}", peer_port_);
  ctl(
      fmt::format("snapshot restore {} --data-dir={} --name=test --initial-cluster=test={} "
                  "--initial-advertise-peer-urls={}",
                  (directory_ / "backup").string(), (directory_ / "data").string(), peer, peer));
  start();
}

void EtcdServer::wait_ready() {
  wait_until("etcd answers (is the package etcd-server installed?)", [&] {
    if (!process_->running())
      throw std::runtime_error("etcd ended: see " + (directory_ / "log").string());
    return EtcdHands(options()).answers();
  });
}

std::string EtcdServer::ctl(const std::string& arguments) const {
  std::string command =
      fmt::format("ETCDCTL_API=3 etcdctl --endpoints={} {} 2>&1", url(), arguments);
  std::FILE* pipe = ::popen(command.c_str(), "r");
  std::string output;
  std::array<char, 4096> buffer{};
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe))
    output.append(buffer.data(), count);
  EXPECT_EQ(::pclose(pipe), 0) << command << "\n" << output;
  return output;
}

// ---- EtcdProxy ----

EtcdProxy::EtcdProxy(const EtcdServer& server) {
  process_.emplace(
      std::vector<std::string>{"etcd", "grpc-proxy", "start", "--endpoints=" + server.url(),
                               fmt::format("--listen-addr=127.0.0.1:{}", port_),
                               "--data-dir=" + (directory_ / "data").string()},
      (directory_ / "log").string());
  wait_until("the proxy answers", [&] { return EtcdHands(quick_options(port_)).answers(); });
}

}  // namespace mesh::testing
