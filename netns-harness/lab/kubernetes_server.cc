#include "lab/kubernetes_server.h"

#include <fmt/format.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "lab/api_server_setup.h"
#include "lab/error.h"

namespace mesh::lab {
namespace {

using nlohmann::json;

constexpr milliseconds kStarts(60'000);
constexpr std::uint16_t kPort = 6443;

class KubernetesServer final : public StoreServer {
 public:
  KubernetesServer(const NetworkNamespace& network, const IpAddress& address, std::string directory)
      : place_{network.fd(), -1}, listen_{address, kPort}, directory_(std::move(directory)) {
    if (kube_apiserver().empty())
      fail("no kube-apiserver: netns-harness/kubernetes/build-apiserver.sh builds it");
    std::filesystem::create_directories(directory_);
    make_api_credentials(directory_, address);
    admin_ = write_kubeconfig(directory_, "admin.kubeconfig", listen_, kAdminToken);
    meshd_ = write_kubeconfig(directory_, "meshd.kubeconfig", listen_, kMeshdToken);
  }

  [[nodiscard]] std::string configuration(const std::string& node) const override {
    (void)node;
    return fmt::format("store: {{type: kubernetes, kubernetes: {{kubeconfig: '{}'}}}}", meshd_);
  }

  // Etcd stays when the API server is killed, as it would on another machine.
  void start() override {
    if (!etcd_) start_etcd();
    server_.reset();
    server_.emplace(Command{.argv = api_server_command(directory_, listen_, kEtcd, {meshd_user()}),
                            .place = place_,
                            .log_path = directory_ + "/apiserver.log"});
    if (!wait_until(
            [&] {
              return kubectl({"get", "--raw", "/readyz"}).ok();
            },
            kStarts, milliseconds(100)))
      fail("kube-apiserver does not answer: see {}/apiserver.log", directory_);
    if (std::exchange(installed_, true)) return;
    for (const char* file : {"namespace.yaml", "crd.yaml", "rbac.yaml"})
      must({"apply", "-f", std::string(MESHD_KUBERNETES_PACKAGE "/") + file});
  }

  void kill() override {
    server_->signal(SIGKILL);
    (void)server_->wait(milliseconds(10'000));
  }

  void admit(const std::string& node, const std::vector<IpAddress>& addresses,
             const std::vector<Cidr>& cidrs) override {
    json object = {{"apiVersion", "v1"},
                   {"kind", "Node"},
                   {"metadata", {{"name", node}}},
                   {"spec", json::object()},
                   {"status", {{"addresses", json::array()}}}};
    for (const IpAddress& address : addresses)
      object["status"]["addresses"].push_back(
          {{"type", "InternalIP"}, {"address", address.to_string()}});
    for (const Cidr& cidr : cidrs) object["spec"]["podCIDRs"].push_back(cidr.to_string());
    if (!cidrs.empty()) object["spec"]["podCIDR"] = cidrs.front().to_string();
    must({"create", "-f", "-"}, object.dump());
  }

  [[nodiscard]] bool has(const std::string& node) const override {
    const Outcome found = kubectl({"get", "node", node, "-o", "json"});
    return found.ok() && found.output.find("meshd.io/wireguard-support") != std::string::npos;
  }
  // A Node is made by admit(); of a record, its annotations are written.
  void write(const std::string& node, const std::string& record) override {
    const json patch = {
        {"metadata", {{"annotations", json::parse(record).value("annotations", json::object())}}}};
    must({"patch", "node", node, "--type=merge", "-p", patch.dump()});
  }
  void remove(const std::string& node) override { must({"delete", "node", node}); }

 private:
  void start_etcd() {
    etcd_.emplace(
        Command{.argv = {"etcd", "--data-dir", directory_ + "/etcd", "--listen-client-urls", kEtcd,
                         "--advertise-client-urls", kEtcd, "--listen-peer-urls", kEtcdPeer,
                         "--initial-advertise-peer-urls", kEtcdPeer, "--initial-cluster",
                         std::string("default=") + kEtcdPeer},
                .place = place_,
                .log_path = directory_ + "/etcd.log"});
  }

  [[nodiscard]] Outcome kubectl(std::vector<std::string> arguments,
                                const std::string& input = "") const {
    arguments.insert(arguments.begin(),
                     {"kubectl", "--kubeconfig", admin_, "--request-timeout=5s"});
    return run({.argv = std::move(arguments),
                .place = place_,
                .environment = {{"HOME", directory_}},
                .input = input});
  }
  void must(std::vector<std::string> arguments, const std::string& input = "") const {
    const Outcome done = kubectl(std::move(arguments), input);
    if (!done.ok()) fail("kubectl: {}{}", done.output, done.errors);
  }

  static constexpr const char* kEtcd = "http://127.0.0.1:2379";
  static constexpr const char* kEtcdPeer = "http://127.0.0.1:2380";
  Place place_;
  Endpoint listen_;
  std::string directory_;
  std::string admin_;  // kubeconfigs
  std::string meshd_;
  bool installed_ = false;
  std::optional<Process> etcd_;
  std::optional<Process> server_;
};

}  // namespace

std::unique_ptr<StoreServer> make_kubernetes_server(const NetworkNamespace& network,
                                                    const IpAddress& address,
                                                    const std::string& directory) {
  return std::make_unique<KubernetesServer>(network, address, directory);
}

}  // namespace mesh::lab
