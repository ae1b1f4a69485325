// What a kube-apiserver of a lab or a test needs: its binary, certificates, tokens, arguments.
//
// Debian ships no API server: netns-harness/kubernetes/build-apiserver.sh builds one, once a
// machine. Free functions; files are made in `directory`, by the openssl program. A failed step
// throws LabError.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mesh/ip.h"

namespace mesh::lab {

// Somebody who is known to the server by a bearer token.
struct ApiUser {
  std::string token;
  std::string name;
  std::vector<std::string> groups;
};

inline constexpr const char* kAdminToken = "admin-token";  // of every server made here
inline constexpr const char* kMeshdToken = "meshd-token";  // the package's service account
ApiUser meshd_user();

// Where kube-apiserver is; "" where it has not been built.
std::string kube_apiserver();

// ca.crt and ca.key, server.crt and server.key for `address`, sa.key.
void make_api_credentials(const std::string& directory, const IpAddress& address);
// Writes the tokens, of `users` and of the administrator, and gives the server's command line.
std::vector<std::string> api_server_command(const std::string& directory, const Endpoint& listen,
                                            const std::string& etcd_url,
                                            const std::vector<ApiUser>& users);
// A kubeconfig in `directory`; its path.
std::string write_kubeconfig(const std::string& directory, const std::string& name,
                             const Endpoint& server, const std::string& token);

}  // namespace mesh::lab
