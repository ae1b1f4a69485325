// ApiServer: a real kube-apiserver over a real etcd, on loopback ports, for the tests of one
// program.
//
// The main thread of a test makes it; request() is for any thread. A start takes about ten seconds,
// so a program shares one, and objects are removed between tests. Both processes die with the
// program, also when it is killed. RBAC, the node authorizer and NodeRestriction are in force.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lab/api_server_setup.h"
#include "store/server_process.h"
#include "temporary_directory.h"

namespace mesh::testing {

using lab::ApiUser;

struct ApiAnswer {
  long status = 0;
  std::string text;
  nlohmann::json body() const { return nlohmann::json::parse(text); }
};

class ApiServer {
 public:
  static constexpr const char* kAdmin = lab::kAdminToken;
  // Where kube-apiserver is; "" when it was not built: then its tests are skipped, with that
  // reason.
  static std::string binary();

  explicit ApiServer(std::vector<ApiUser> users);

  ServerProcess& process() { return *server_; }
  ServerProcess& etcd() { return *etcd_; }
  // Ends the API server and starts it again, with these users; etcd stays, and so do all objects.
  void restart(std::vector<ApiUser> users);
  void restart() { restart(users_); }
  void start_etcd();
  void start();  // and waits until it is ready

  std::uint16_t port() const { return port_; }
  std::string url() const;
  const std::filesystem::path& directory() const { return directory_.path(); }
  std::string authority() const { return (directory_ / "ca.crt").string(); }
  // Writes a file in the PEM format that the server's authority signed, for a client certificate:
  // certificate and key in one.
  std::string client_certificate(const std::string& name, const std::string& group);
  // A kubeconfig with `token` for the server at `port` (0: its own), and its path.
  std::string kubeconfig(const std::string& token, std::uint16_t port = 0);

  // As the administrator, unless another token is given.
  ApiAnswer request(const std::string& method, const std::string& path,
                    const nlohmann::json& body = nullptr, const std::string& token = kAdmin) const;
  // The same, and the test fails unless the answer is a success.
  nlohmann::json must(const std::string& method, const std::string& path,
                      const nlohmann::json& body = nullptr) const;
  // kubectl as the administrator: its exit code and what it said.
  std::pair<int, std::string> kubectl(const std::string& arguments);

  // Of etcd: forgets all history; removes every object below a key ("/registry/minions/") at once.
  void compact() const;
  void remove_all(const std::string& prefix) const;

 private:
  nlohmann::json etcd_request(const std::string& path, const nlohmann::json& body) const;

  std::vector<ApiUser> users_;
  TemporaryDirectory directory_;
  std::uint16_t etcd_port_ = free_port();
  std::uint16_t etcd_peer_port_ = free_port();
  std::uint16_t port_ = free_port();
  int files_ = 0;
  std::optional<ServerProcess> etcd_;
  std::optional<ServerProcess> server_;
};

}  // namespace mesh::testing
