// EtcdServer: a real etcd of the test's own, on loopback ports, with its data in a temporary
// directory; and EtcdHands: what its other users do. The main thread of a test makes them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "meshd/store/etcd/etcd_client.h"
#include "meshd/store/etcd/etcd_options.h"
#include "store/server_process.h"
#include "temporary_directory.h"

namespace mesh::testing {

class EtcdHands {
 public:
  explicit EtcdHands(EtcdOptions options);
  void put(const std::string& key, const std::string& value);
  void put_all(const std::vector<std::pair<std::string, std::string>>& pairs);
  void remove(const std::string& key);
  std::optional<etcdserverpb::KeyValue> get(const std::string& key);
  std::int64_t revision();
  std::vector<etcdserverpb::KeyValue> below(const std::string& prefix);
  bool answers();

 private:
  EtcdCalls calls_;
  std::unique_ptr<EtcdClient> client_;
};

class EtcdServer {
 public:
  // Certificates for an etcd that speaks TLS and wants its clients to have one.
  struct Tls {
    std::string ca, certificate, key;
  };
  EtcdServer() : EtcdServer(std::nullopt) {}
  // `arguments`: more of etcd's own.
  explicit EtcdServer(std::optional<Tls> tls, std::vector<std::string> arguments = {});

  std::uint16_t port() const { return client_port_; }
  std::string url() const;
  EtcdOptions options() const;  // of a client with every right
  EtcdHands& hands();           // the same, made when first asked for
  ServerProcess& process() { return *process_; }
  // Ends it, however it fares, and starts it again with its data.
  void kill() { process_->kill(); }
  void start();
  // Ends it and starts it again with nothing.
  void wipe();
  // Writes down what it holds; ends it and starts it again with that.
  void backup();
  void restore();
  // etcdctl against it; what it said. Fails the test when it fails.
  std::string ctl(const std::string& arguments) const;
  const std::filesystem::path& directory() const { return directory_.path(); }

 private:
  void wait_ready();
  TemporaryDirectory directory_;
  std::optional<Tls> tls_;
  std::vector<std::string> arguments_;
  std::uint16_t client_port_ = free_port();
  std::uint16_t peer_port_ = free_port();
  std::optional<ServerProcess> process_;
  std::unique_ptr<EtcdHands> hands_;
};

// `etcd grpc-proxy start` before a server.
class EtcdProxy {
 public:
  explicit EtcdProxy(const EtcdServer& server);
  std::uint16_t port() const { return port_; }

 private:
  TemporaryDirectory directory_;
  std::uint16_t port_ = free_port();
  std::optional<ServerProcess> process_;
};

// As the configuration has it, but quick: for tests.
EtcdOptions quick_options(std::uint16_t port);

}  // namespace mesh::testing
