#include "lab/store_server.h"

#include <csignal>
#include <filesystem>
#include <optional>

#include "lab/error.h"
#include "lab/kubernetes_server.h"

namespace mesh::lab {
namespace {

constexpr milliseconds kStarts(30'000);

// Debian's etcd-server and etcd-client.
class EtcdServer final : public StoreServer {
 public:
  EtcdServer(const NetworkNamespace& network, const IpAddress& address, std::string directory)
      : place_{network.fd(), -1},
        url_("http://" + Endpoint{address, 2379}.to_string()),
        peer_url_("http://" + Endpoint{address, 2380}.to_string()),
        directory_(std::move(directory)) {
    std::filesystem::create_directories(directory_);
  }

  [[nodiscard]] std::string configuration(const std::string& node) const override {
    (void)node;
    return fmt::format("store: {{type: etcd, etcd: {{endpoints: ['{}']}}}}", url_);
  }

  void start() override {
    process_.reset();
    process_.emplace(Command{
        .argv = {"etcd", "--name=lab", "--data-dir=" + directory_ + "/data",
                 "--listen-client-urls=" + url_, "--advertise-client-urls=" + url_,
                 "--listen-peer-urls=" + peer_url_, "--initial-advertise-peer-urls=" + peer_url_,
                 "--initial-cluster=lab=" + peer_url_},
        .place = place_,
        .log_path = directory_ + "/log"});
    if (!wait_until([&] { return ctl({"get", "--keys-only", "x"}).ok(); }, kStarts))
      fail("etcd does not answer: see {}/log; is the package etcd-server installed?", directory_);
  }

  void kill() override {
    process_->signal(SIGKILL);
    (void)process_->wait(milliseconds(10'000));
  }

  [[nodiscard]] bool has(const std::string& node) const override {
    const Outcome found = ctl({"get", "--keys-only", key_of(node)});
    return found.ok() && found.output.find(node) != std::string::npos;
  }
  void write(const std::string& node, const std::string& record) override {
    must({"put", key_of(node), record});
  }
  void remove(const std::string& node) override { must({"del", key_of(node)}); }

 private:
  static std::string key_of(const std::string& node) { return "/meshd/nodes/" + node; }
  [[nodiscard]] Outcome ctl(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"etcdctl", "--endpoints=" + url_, "--dial-timeout=1s",
                                         "--command-timeout=2s"});
    return run(
        {.argv = std::move(arguments), .place = place_, .environment = {{"ETCDCTL_API", "3"}}});
  }
  void must(std::vector<std::string> arguments) const {
    const Outcome done = ctl(std::move(arguments));
    if (!done.ok()) fail("etcdctl: {}{}", done.output, done.errors);
  }

  Place place_;
  std::string url_;
  std::string peer_url_;
  std::string directory_;
  std::optional<Process> process_;
};

}  // namespace

std::unique_ptr<StoreServer> make_store_server(StoreKind kind, const NetworkNamespace& network,
                                               const IpAddress& address,
                                               const std::string& directory) {
  switch (kind) {
    case StoreKind::kDirectory:
      return nullptr;
    case StoreKind::kEtcd:
      return std::make_unique<EtcdServer>(network, address, directory);
    case StoreKind::kKubernetes:
      return make_kubernetes_server(network, address, directory);
  }
  return nullptr;
}

}  // namespace mesh::lab
