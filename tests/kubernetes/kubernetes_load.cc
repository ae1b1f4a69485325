// What nodes cost a Kubernetes API server: starts one, with as many Nodes as asked for, whose
// kubelets report every five minutes (as they do where nothing changes), and as many stores as
// there are meshds; counts what the server was asked for, by its own metrics, and processor time.
//   kubernetes_load MESHDS NODES SECONDS
// Not a test: the numbers of docs/stores.md.
#include <fmt/format.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "kubernetes/nodes.h"
#include "kubernetes/shared_server.h"
#include "meshd/store/kubernetes/kubernetes_store.h"
#include "store/observer.h"

namespace mesh::testing {
namespace {

constexpr int kHeartbeatSeconds = 300;

using Counts = std::map<std::string, double>;

// Requests that meshd makes, by what they ask for; not those of the test's own hands and of the
// server itself, whose clients have other names.
Counts read_counts(const ApiServer& server) {
  Counts counts;
  std::istringstream metrics(server.request("GET", "/metrics").text);
  for (std::string line; std::getline(metrics, line);) {
    const bool is_request = line.starts_with("apiserver_request_total{");
    const bool is_watch = line.starts_with("apiserver_registered_watchers{");
    const bool is_ours = line.find("\"nodes\"") != std::string::npos ||
                         line.find("\"encryptionpolicies\"") != std::string::npos ||
                         line.find("kind=\"Node\"") != std::string::npos ||
                         line.find("kind=\"EncryptionPolicy\"") != std::string::npos ||
                         line.find("subresource=\"/readyz\"") != std::string::npos;
    const std::size_t space = line.rfind(' ');
    if ((is_request || is_watch) && is_ours)
      counts[line.substr(0, space)] = std::atof(line.c_str() + space);
  }
  return counts;
}

double own_processor_seconds() {
  rusage usage{};
  (void)::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void fill(const ApiServer& server, int nodes) {
  std::vector<std::thread> writers;
  constexpr int kWriters = 4;
  for (int w = 0; w < kWriters; ++w)
    writers.emplace_back([&, w] {
      for (int i = w; i < nodes; i += kWriters) {
        nlohmann::json object = node_object(example_record(fmt::format("node-{}", i)));
        // As large as the Node of a busy machine: some 15 KB of it are images.
        for (int image = 0; image < 50; ++image)
          object["status"]["images"].push_back(
              {{"names",
                {fmt::format("registry.example.com/team-{}/{:0>220}:1.0.{}", image, image, i)}},
               {"sizeBytes", 100'000'000 + image}});
        server.must("POST", "/api/v1/nodes", object);
      }
    });
  for (std::thread& writer : writers) writer.join();
}

void beat(const ApiServer& server, int node, int count) {
  const nlohmann::json condition = {
      {"type", "Ready"}, {"status", "True"}, {"reason", fmt::format("KubeletReady{}", count)}};
  server.must("PATCH", fmt::format("/api/v1/nodes/node-{}/status", node),
              {{"status", {{"conditions", nlohmann::json::array({condition})}}}});
}

int run(int meshds, int nodes, int seconds) {
  ApiServer* server = shared_server();
  if (server == nullptr) return 1;
  fill(*server, nodes);
  const double before_start = own_processor_seconds();
  std::vector<std::unique_ptr<ObservedStore>> stores;
  for (int i = 0; i < meshds; ++i) {
    KubernetesStoreOptions options;
    options.kubeconfig = server->kubeconfig(kMeshd);
    stores.push_back(std::make_unique<ObservedStore>(std::make_unique<KubernetesStore>(options)));
    if (!stores.back()->seen().wait_in_sync()) return 1;
    (*stores.back())->publish(example_record(fmt::format("node-{}", i), "a-key"));
  }
  for (int i = 0; i < meshds; ++i)
    if (!stores.back()->seen().wait_record(example_record(fmt::format("node-{}", i), "a-key")))
      return 1;
  fmt::print("start: {:.3f} s of processor time a meshd\n",
             (own_processor_seconds() - before_start) / meshds);

  const Counts before = read_counts(*server);
  std::atomic<bool> done = false;
  int beats = 0;
  const double processor_before = own_processor_seconds();
  std::thread kubelets([&] {
    const auto pause =
        std::chrono::duration<double>(static_cast<double>(kHeartbeatSeconds) / nodes);
    auto next = std::chrono::steady_clock::now();
    while (!done) {
      beat(*server, beats % nodes, beats);
      ++beats;
      next += std::chrono::duration_cast<std::chrono::steady_clock::duration>(pause);
      while (!done && std::chrono::steady_clock::now() < next)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  done = true;
  kubelets.join();
  fmt::print("{} meshds, {} Nodes, {} s; {} heartbeats\n", meshds, nodes, seconds, beats);
  fmt::print("processor time a meshd, with this program's own hands: {:.3f} s an hour\n",
             (own_processor_seconds() - processor_before) / meshds * 3600 / seconds);
  for (const auto& [name, count] : read_counts(*server)) {
    const double more = count - (before.contains(name) ? before.at(name) : 0);
    if (name.starts_with("apiserver_registered_watchers"))
      fmt::print("{} {}\n", name, count);
    else if (more != 0)
      fmt::print("{} {:+} = {:.1f} a meshd and hour\n", name, more, more / meshds * 3600 / seconds);
  }
  int updates = 0;
  for (const auto& store : stores) updates += store->seen().now().changes;
  fmt::print("changes delivered since the start: {}\n", updates);
  return 0;
}

}  // namespace
}  // namespace mesh::testing

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "kubernetes_load MESHDS NODES SECONDS\n");
    return 2;
  }
  return mesh::testing::run(std::atoi(argv[1]), std::atoi(argv[2]), std::atoi(argv[3]));
}
