// KubernetesAccess: where an API server is and who we are to it: from a kubeconfig, or from the
// service account of the pod that meshd runs in.
//
// Read afresh for every new connection, so that what was rotated counts; a token file is read again
// for every request. Free functions; any thread; each reads some small files. Secrets (tokens,
// keys) are in a KubernetesAccess and never in an error. Never: runs a program (exec plugins are
// refused), trusts a server without its authority, sends a token in clear to another machine.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "mesh/result.h"

namespace mesh {

// A certificate or key as PEM: in a file, or at hand.
struct PemSource {
  std::filesystem::path file;
  std::string data;  // counts when it is not empty
  bool empty() const { return file.empty() && data.empty(); }
};

struct KubernetesAccess {
  std::string server;       // "https://host:port", without a slash at its end
  std::string server_name;  // expected in the certificate instead of the host; "": the host
  PemSource authority;      // empty: the system's
  PemSource certificate;    // of the client, with its key; empty: none
  PemSource key;
  std::string token;
  std::filesystem::path token_file;  // counts instead of `token`
  std::string source;                // for messages: the kubeconfig, or the service account
};

// `place` names the file in messages, `directory` is what relative paths in it are relative to.
// Pure.
Result<KubernetesAccess> parse_kubeconfig(std::string_view text, std::string_view place,
                                          const std::filesystem::path& directory);
Result<KubernetesAccess> load_kubeconfig(const std::filesystem::path& path);

inline constexpr std::string_view kServiceAccountDirectory =
    "/var/run/secrets/kubernetes.io/serviceaccount";
// From the environment and the files that Kubernetes gives to every pod with a service account.
Result<KubernetesAccess> in_cluster_access(
    const std::filesystem::path& directory = kServiceAccountDirectory);

// The token to send now; "" when there is none.
Result<std::string> current_token(const KubernetesAccess& access);

}  // namespace mesh
