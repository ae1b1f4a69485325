#include "lab/api_server_setup.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "lab/process.h"

namespace mesh::lab {
namespace {

void openssl(const std::string& directory, const std::string& arguments) {
  (void)run_or_throw({.argv = {"sh", "-c", "cd '" + directory + "' && openssl " + arguments}});
}

constexpr const char* kNewKey = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

}  // namespace

ApiUser meshd_user() {
  return {kMeshdToken,
          "system:serviceaccount:meshd:meshd",
          {"system:serviceaccounts", "system:serviceaccounts:meshd"}};
}

std::string kube_apiserver() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::filesystem::path root =
      cache != nullptr && *cache != '\0'
          ? std::filesystem::path(cache)
          : std::filesystem::path(home != nullptr ? home : "/root") / ".cache";
  const auto path = root / "meshd" / "kubernetes" / "kube-apiserver";
  return ::access(path.c_str(), X_OK) == 0 ? path.string() : "";
}

void make_api_credentials(const std::string& directory, const IpAddress& address) {
  openssl(directory, fmt::format("req -x509 {} -days 30 -keyout ca.key -out ca.crt -subj "
                                 "/CN=authority-of-a-test",
                                 kNewKey));
  openssl(directory,
          fmt::format("req {} -keyout server.key -out server.csr -subj /CN=server", kNewKey));
  write_file(directory + "/names", "subjectAltName=IP:" + address.to_string() + "\n");
  openssl(directory,
          "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "
          "server.crt -extfile names");
  openssl(directory, "genrsa -out sa.key 2048");
}

std::vector<std::string> api_server_command(const std::string& directory, const Endpoint& listen,
                                            const std::string& etcd_url,
                                            const std::vector<ApiUser>& users) {
  std::string tokens = fmt::format("{},admin,0,system:masters\n", kAdminToken);
  int uid = 0;
  for (const ApiUser& user : users)
    tokens +=
        fmt::format("{},{},{},\"{}\"\n", user.token, user.name, ++uid, fmt::join(user.groups, ","));
  write_file(directory + "/tokens.csv", tokens);
  const auto in = [&](const char* name) { return directory + "/" + name; };
  return {kube_apiserver(), "--etcd-servers", etcd_url, "--service-account-key-file", in("sa.key"),
          "--service-account-signing-key-file", in("sa.key"), "--service-account-issuer",
          "https://kubernetes.default.svc", "--token-auth-file", in("tokens.csv"),
          "--tls-cert-file", in("server.crt"), "--tls-private-key-file", in("server.key"),
          "--client-ca-file", in("ca.crt"), "--cert-dir", in("certs"), "--bind-address",
          listen.address.to_string(), "--secure-port", std::to_string(listen.port),
          // Only published, in an endpoint that nobody reads here; loopback is refused.
          "--advertise-address", "192.0.2.253", "--endpoint-reconciler-type", "none",
          "--service-cluster-ip-range", "198.51.100.0/24", "--authorization-mode", "Node,RBAC",
          "--enable-admission-plugins", "NodeRestriction", "--disable-admission-plugins",
          "ServiceAccount", "--feature-gates", "IPv6DualStack=true", "--allow-privileged"};
}

std::string write_kubeconfig(const std::string& directory, const std::string& name,
                             const Endpoint& server, const std::string& token) {
  const std::string path = directory + "/" + name;
  write_file(path, fmt::format("apiVersion: v1\nkind: Config\ncurrent-context: lab\n"
                               "clusters: [{{name: lab, cluster: {{server: \"https://{}\", "
                               "certificate-authority: ca.crt}}}}]\n"
                               "users: [{{name: lab, user: {{token: \"{}\"}}}}]\n"
                               "contexts: [{{name: lab, context: {{cluster: lab, user: lab}}}}]\n",
                               server.to_string(), token));
  return path;
}

}  // namespace mesh::lab
