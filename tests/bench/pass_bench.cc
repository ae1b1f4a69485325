// What the daemon's whole pass costs as the mesh grows, over a kernel in memory: the status that it
// leaves included, which core_bench knows nothing of.
#include <benchmark/benchmark.h>

#include "../daemon/rig.h"
#include "meshd/daemon/log.h"

namespace mesh::test {
namespace {

RecordOf peer_of(int n, bool with_extra_prefix) {
  RecordOf record = node("n" + std::to_string(n), 2);
  record.key(n);
  record.addresses = {ip(fmt::format("198.18.{}.{}", n / 250, n % 250 + 1))};
  record.cidrs = {cidr(fmt::format("10.{}.{}.0/24", 100 + n / 250, n % 250))};
  if (with_extra_prefix) record.cidrs.push_back(cidr("172.16.0.0/28"));
  return record;
}

std::unique_ptr<Rig> settled(int peers) {
  auto rig = std::make_unique<Rig>();
  log::configure(rig->config.log, "a");  // errors alone
  for (int n = 2; n < peers + 2; ++n) {
    rig->kernel.answer(key(n));
    rig->store.put(peer_of(n, false).record());
  }
  rig->start();
  // The loop of the rig, but without its check of how often: ten thousand handshakes take passes.
  for (int i = 0; i < 400; ++i) {
    rig->pass();
    rig->clock.advance(std::chrono::milliseconds(50));
  }
  return rig;
}

void a_pass_without_news(benchmark::State& state) {
  const auto rig = settled(static_cast<int>(state.range(0)));
  if (!rig->encrypted("n2")) state.SkipWithError("no peer is encrypted");
  for (auto _ : state) rig->pass();
}
BENCHMARK(a_pass_without_news)->Arg(100)->Arg(1'000)->Arg(10'000)->Unit(benchmark::kMicrosecond);

void a_pass_for_one_changed_record(benchmark::State& state) {
  const auto rig = settled(static_cast<int>(state.range(0)));
  bool extra = false;
  for (auto _ : state) {
    extra = !extra;
    rig->store.put(peer_of(7, extra).record());
    rig->pass();
  }
}
BENCHMARK(a_pass_for_one_changed_record)
    ->Arg(100)
    ->Arg(1'000)
    ->Arg(10'000)
    ->Unit(benchmark::kMicrosecond);

// A minute of a settled mesh; divide by a minute for the share of a core.
void an_idle_minute(benchmark::State& state) {
  const auto rig = settled(static_cast<int>(state.range(0)));
  for (auto _ : state) rig->run(std::chrono::minutes(1));
}
BENCHMARK(an_idle_minute)->Arg(100)->Arg(1'000)->Arg(10'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace mesh::test
