// What nodes cost an etcd: starts one (and its proxy, if asked), as many stores as there are nodes,
// and as many records; counts what etcd was asked for, by its own metrics and its processor time.
//   etcd_load NODES RECORDS SECONDS [proxy]
// Not a test: the numbers of docs/stores.md.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <thread>

#include "meshd/store/etcd/etcd_keys.h"
#include "meshd/store/etcd/etcd_store.h"
#include "meshd/store/record_codec.h"
#include "store/etcd_server.h"
#include "store/observer.h"

namespace mesh::testing {
namespace {

using Counts = std::map<std::string, double>;

// Counters of etcd's /metrics that say what it was asked for.
Counts read_counts(const EtcdServer& server, const std::string& file) {
  const std::string command = fmt::format("curl -s {}/metrics > {}", server.url(), file);
  if (std::system(command.c_str()) != 0) return {};
  Counts counts;
  std::ifstream metrics(file);
  for (std::string line; std::getline(metrics, line);) {
    const bool is_call = line.starts_with("grpc_server_started_total");
    const bool is_work = line.starts_with("etcd_debugging_mvcc_events_total") ||
                         line.starts_with("etcd_debugging_mvcc_watcher_total") ||
                         line.starts_with("etcd_network_client_grpc_");
    const std::size_t space = line.rfind(' ');
    if ((is_call || is_work) && space != std::string::npos)
      counts[line.substr(0, space)] = std::atof(line.c_str() + space);
  }
  return counts;
}

// Seconds of processor time of a process: fields 14 and 15 of /proc/PID/stat.
double processor_seconds(pid_t pid) {
  std::ifstream stat(fmt::format("/proc/{}/stat", pid));
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string skipped;
  for (int i = 3; i < 14; ++i) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

void show(const std::string& what, const Counts& before, const Counts& after, double processor) {
  fmt::print("--- {} ---\nprocessor time of etcd: {:.2f} s\n", what, processor);
  for (const auto& [name, count] : after) {
    const auto earlier = before.find(name);
    const double more = count - (earlier == before.end() ? 0 : earlier->second);
    if (more != 0) fmt::print("{:>12.0f}  {}\n", more, name);
  }
}

int run(int nodes, int records, int seconds, bool with_proxy) {
  EtcdServer server;
  std::optional<EtcdProxy> proxy;
  if (with_proxy) proxy.emplace(server);
  const EtcdKeys keys("/meshd");
  std::vector<std::pair<std::string, std::string>> pairs;
  for (int i = nodes; i < records; ++i) {
    const std::string name = fmt::format("node-{}", i);
    pairs.emplace_back(keys.node(name), format_record_json(example_record(name)));
    pairs.emplace_back(keys.live(name), "");  // as if each were alive elsewhere
  }
  server.hands().put_all(pairs);
  const std::string file = (server.directory() / "metrics").string();
  EtcdOptions options;
  options.endpoints = {
      fmt::format("http://127.0.0.1:{}", with_proxy ? proxy->port() : server.port())};

  Counts before = read_counts(server, file);
  double processor = processor_seconds(server.process().pid());
  std::vector<std::unique_ptr<ObservedStore>> stores;
  for (int i = 0; i < nodes; ++i) {
    stores.push_back(std::make_unique<ObservedStore>(std::make_unique<EtcdStore>(options)));
    (*stores.back())->publish(example_record(fmt::format("node-{}", i)));
  }
  for (auto& store : stores)
    for (int i = 0; i < nodes; ++i)
      (void)store->seen().wait_record(example_record(fmt::format("node-{}", i)));
  std::this_thread::sleep_for(std::chrono::seconds(2));
  Counts after = read_counts(server, file);
  show(fmt::format("{} nodes join, {} records", nodes, std::max(nodes, records)), before, after,
       processor_seconds(server.process().pid()) - processor);

  before = after;
  processor = processor_seconds(server.process().pid());
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  after = read_counts(server, file);
  show(fmt::format("{} s of steady state", seconds), before, after,
       processor_seconds(server.process().pid()) - processor);

  before = after;
  processor = processor_seconds(server.process().pid());
  constexpr int kChanges = 100;
  for (int i = 0; i < kChanges; ++i)
    server.hands().put(keys.node("node-changing"),
                       format_record_json(example_record("node-changing", fmt::format("{}", i))));
  for (auto& store : stores)
    (void)store->seen().wait_record(
        example_record("node-changing", fmt::format("{}", kChanges - 1)));
  std::this_thread::sleep_for(std::chrono::seconds(1));
  after = read_counts(server, file);
  show(fmt::format("{} changes of one record", kChanges), before, after,
       processor_seconds(server.process().pid()) - processor);
  return 0;
}

}  // namespace
}  // namespace mesh::testing

int main(int argc, char** argv) {
  if (argc < 4) {
    fmt::print(stderr, "usage: etcd_load NODES RECORDS SECONDS [proxy]\n");
    return 2;
  }
  return mesh::testing::run(std::atoi(argv[1]), std::atoi(argv[2]), std::atoi(argv[3]), argc > 4);
}
