// What a pass costs as the mesh grows: one changed record must not cost more among 10,000 peers
// than among 100.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>

#include "core/mesh_model.h"

namespace mesh {
namespace {

PublicKey key_of(int node) {
  std::array<std::uint8_t, PublicKey::kSize> bytes{};
  bytes[0] = 1;
  bytes[1] = static_cast<std::uint8_t>(node >> 8);
  bytes[2] = static_cast<std::uint8_t>(node);
  return PublicKey(bytes);
}

// What all nodes claim beside what is their own, as if they were made from one template.
enum class Shared { kNothing, kPrefix, kAddress, kKey };

StoreChange record_of(int node, bool with_extra_prefix, Shared shared = Shared::kNothing) {
  NodeRecord record;
  record.name = fmt::format("node-{}", node);
  record.addresses = {
      IpAddress::v4(0xC6120000U + static_cast<std::uint32_t>(node))};  // 198.18.0.0/15
  record.cidrs = {Cidr(IpAddress::v4(0x0A000000U + (static_cast<std::uint32_t>(node) << 8U)), 24)};
  if (with_extra_prefix)
    record.cidrs.push_back(
        Cidr(IpAddress::v4(0xAC100000U + (static_cast<std::uint32_t>(node) << 4U)), 28));
  // It covers the nodes' addresses, too.
  if (shared == Shared::kPrefix) record.cidrs.push_back(*Cidr::parse("198.18.0.0/15"));
  if (shared == Shared::kPrefix) record.cidrs.push_back(*Cidr::parse("10.96.0.0/16"));
  if (shared == Shared::kAddress) record.addresses.push_back(*IpAddress::parse("203.0.113.1"));
  record.annotations[std::string(kPublicKeyAnnotation)] =
      key_of(shared == Shared::kKey ? 0 : node).to_base64();
  return {record.name, std::make_shared<const StoreEntry>(std::move(record))};
}

struct Mesh {
  MeshModel model;
  Desired desired;
  Mirror mirror;
  Touched touched;
  LocalNode local;
  Instant now{MonotonicTime(std::chrono::hours(1)), WallTime(std::chrono::hours(1))};

  explicit Mesh(int peers, Shared shared = Shared::kNothing) {
    local.name = "me";
    local.addresses = {IpAddress::v4(0xC0000201U)};
    local.backend = Backend::kKernel;
    local.key = key_of(60'000);
    local.device_index = 9;
    local.device_name = "mesh0";
    local.table_w = 5182;
    local.table_h = 5183;
    local.fwmark = 0x2000;
    local.rule_priority = 99;
    model.set_local(local, now);
    StoreUpdate all;
    all.in_sync = all.complete = true;
    for (int node = 0; node < peers; ++node) all.changes.push_back(record_of(node, false, shared));
    model.apply(all, now);
    settle();
  }
  Plan settle() {
    Requests requests;
    now.monotonic += std::chrono::hours(2);
    model.settle(now, desired, touched, requests);
    touched.everything = false;
    Plan plan = make_plan(desired, mirror, touched, requests, {true, true});
    for (const Operation& operation : plan) mirror.apply(operation);
    touched = Touched();
    touched.everything = false;
    return plan;
  }
};

// Claims, ranges and plan for one record whose prefixes change. The peers are unproven, so the
// kicks that are due go along: time stands still while it is measured.
void one_record_changes(benchmark::State& state, int node, Shared shared) {
  Mesh mesh(static_cast<int>(state.range(0)), shared);
  bool extra = false;
  for (auto _ : state) {
    extra = !extra;
    StoreUpdate update;
    update.in_sync = true;
    update.changes.push_back(record_of(node, extra, shared));
    mesh.model.apply(update, mesh.now);
    Requests requests;
    mesh.model.settle(mesh.now, mesh.desired, mesh.touched, requests);
    Plan plan = make_plan(mesh.desired, mesh.mirror, mesh.touched, requests, {true, true});
    for (const Operation& operation : plan) mesh.mirror.apply(operation);
    mesh.touched = Touched();
    mesh.touched.everything = false;
    benchmark::DoNotOptimize(plan);
  }
}
BENCHMARK_CAPTURE(one_record_changes, all_distinct, 7, Shared::kNothing)
    ->Arg(100)
    ->Arg(1'000)
    ->Arg(10'000)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(one_record_changes, one_prefix_of_all, 7, Shared::kPrefix)
    ->Arg(1'000)
    ->Arg(10'000)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(one_record_changes, one_prefix_of_all_its_holder, 0, Shared::kPrefix)
    ->Arg(1'000)
    ->Arg(10'000)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(one_record_changes, one_address_of_all, 7, Shared::kAddress)
    ->Arg(1'000)
    ->Arg(10'000)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(one_record_changes, one_key_of_all, 7, Shared::kKey)
    ->Arg(1'000)
    ->Arg(10'000)
    ->Unit(benchmark::kMicrosecond);

// The holder of what all claim goes, and comes back: everybody is told who has it now.
void the_holder_goes_and_comes_back(benchmark::State& state) {
  Mesh mesh(static_cast<int>(state.range(0)), Shared::kPrefix);
  for (auto _ : state) {
    for (const bool there : {false, true}) {
      StoreUpdate update;
      update.in_sync = true;
      update.changes.push_back(record_of(0, false, Shared::kPrefix));
      if (!there) update.changes[0].entry.reset();
      mesh.model.apply(update, mesh.now);
      Requests requests;
      mesh.model.settle(mesh.now, mesh.desired, mesh.touched, requests);
    }
  }
}
BENCHMARK(the_holder_goes_and_comes_back)->Arg(1'000)->Arg(10'000)->Unit(benchmark::kMillisecond);

// As the proxy of a cluster's services does it on every node, once a service.
void an_address_of_this_host_comes_or_goes(benchmark::State& state) {
  Mesh mesh(static_cast<int>(state.range(0)));
  const IpAddress service = *IpAddress::parse("172.30.0.10");
  for (auto _ : state) {
    if (mesh.local.host_addresses.erase(service) == 0) mesh.local.host_addresses.insert(service);
    mesh.model.set_local(mesh.local, mesh.now);
    Requests requests;
    mesh.model.settle(mesh.now, mesh.desired, mesh.touched, requests);
  }
}
BENCHMARK(an_address_of_this_host_comes_or_goes)
    ->Arg(100)
    ->Arg(1'000)
    ->Arg(10'000)
    ->Unit(benchmark::kMicrosecond);

void everything_from_nothing(benchmark::State& state, Shared shared) {
  for (auto _ : state) {
    Mesh mesh(static_cast<int>(state.range(0)), shared);
    benchmark::DoNotOptimize(mesh.mirror.peers().size());
  }
}
BENCHMARK_CAPTURE(everything_from_nothing, all_distinct, Shared::kNothing)
    ->Arg(100)
    ->Arg(1'000)
    ->Arg(10'000)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(everything_from_nothing, one_prefix_of_all, Shared::kPrefix)
    ->Arg(1'000)
    ->Arg(10'000)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(everything_from_nothing, one_address_of_all, Shared::kAddress)
    ->Arg(1'000)
    ->Arg(10'000)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(everything_from_nothing, one_key_of_all, Shared::kKey)
    ->Arg(1'000)
    ->Arg(10'000)
    ->Unit(benchmark::kMillisecond);

void full_comparison_with_nothing_to_do(benchmark::State& state) {
  Mesh mesh(static_cast<int>(state.range(0)));
  const Requests none;
  for (auto _ : state) {
    Touched touched;
    touched.everything = true;
    benchmark::DoNotOptimize(make_plan(mesh.desired, mesh.mirror, touched, none, {true, true}));
  }
}
BENCHMARK(full_comparison_with_nothing_to_do)
    ->Arg(100)
    ->Arg(1'000)
    ->Arg(10'000)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace mesh
