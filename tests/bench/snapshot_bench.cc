// What the snapshot costs: the loop's part (telling whether anything changed, handing it over), the
// writer's and the start's.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "fakes/values.h"
#include "meshd/store/snapshot_file.h"

namespace mesh {
namespace {

Snapshot snapshot_of(int nodes) {
  Snapshot snapshot;
  snapshot.store = {"directory", "/store", "me"};
  for (int n = 1; n <= nodes; ++n) {
    const auto number = static_cast<std::uint32_t>(n);
    NodeRecord record;
    record.name = fmt::format("node-{:05}.example.org", n);
    record.addresses = {IpAddress::v4(0xC6120000U + number)};
    record.cidrs = {Cidr(IpAddress::v4(0x0A000000U + (number << 8U)), 24),
                    test::cidr(fmt::format("fd00:{:x}::/64", n))};
    record.labels = {{"role", "web"}, {"zone", "z1"}};
    record.annotations = {{"meshd.io/wireguard-public-key", test::key(n).to_base64()},
                          {"meshd.io/wireguard-endpoint", "198.18.0.1:51820"},
                          {"meshd.io/wireguard-support", "kernel"},
                          {"meshd.io/encryption-mode", "prefer"}};
    snapshot.nodes.push_back(
        {std::make_shared<const StoreEntry>(std::move(record)), test::key(n), false});
  }
  return snapshot;
}

void Compare(benchmark::State& state) {
  const Snapshot snapshot = snapshot_of(static_cast<int>(state.range(0)));
  for (auto _ : state) {
    auto copy = snapshot.nodes;
    benchmark::DoNotOptimize(copy == snapshot.nodes);
  }
}
BENCHMARK(Compare)->Arg(100)->Arg(10'000)->Unit(benchmark::kMillisecond);

void Save(benchmark::State& state) {
  const Snapshot snapshot = snapshot_of(static_cast<int>(state.range(0)));
  const auto path =
      std::filesystem::temp_directory_path() / fmt::format("snapshot_bench.{}", ::getpid());
  for (auto _ : state)
    if (!save_snapshot(path, snapshot)) state.SkipWithError("cannot write");
  state.counters["bytes"] = static_cast<double>(format_snapshot(snapshot).size());
  std::filesystem::remove(path);
}
BENCHMARK(Save)->Arg(100)->Arg(10'000)->Unit(benchmark::kMillisecond);

void Parse(benchmark::State& state) {
  const std::string text = format_snapshot(snapshot_of(static_cast<int>(state.range(0))));
  for (auto _ : state) benchmark::DoNotOptimize(parse_snapshot(text, "bench"));
}
BENCHMARK(Parse)->Arg(100)->Arg(10'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace mesh
