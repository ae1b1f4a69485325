// What policies cost: 1,000 of them, and the pairs of one node with up to 5,000 others. A third of
// the policies could mean this node; the pairs that one of them decides are its peers of one role.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <memory>
#include <string>

#include "core/pair_policies.h"

namespace mesh {
namespace {

constexpr int kPolicies = 1000;
constexpr int kRoles = 100;

EncryptionPolicy policy(int n, const std::string& zone = "z1") {
  EncryptionPolicy policy;
  policy.name = fmt::format("policy-{:04}", n);
  policy.order = n;
  policy.selector = fmt::format("role == 'role-{}' && zone in {{'{}', 'z2'}}", n % kRoles, zone);
  policy.peer_selector = n % 3 == 0 ? "all()" : fmt::format("role == 'role-{}'", (n + 7) % kRoles);
  policy.action = n % 2 == 0 ? PolicyAction::kRequire : PolicyAction::kPlaintext;
  return policy;
}

std::shared_ptr<const StoreEntry> record(int n, int role) {
  NodeRecord record;
  record.name = fmt::format("node-{:05}", n);
  record.labels = {{"role", fmt::format("role-{}", role % kRoles)},
                   {"zone", fmt::format("z{}", n % 3 + 1)},
                   {"kubernetes.io/hostname", record.name}};
  return std::make_shared<const StoreEntry>(std::move(record));
}

PolicyChange change(const EncryptionPolicy& document) {
  return {document.name, std::make_shared<const PolicyEntry>(document)};
}

// One node of a mesh of so many.
struct Mesh {
  explicit Mesh(int nodes) {
    StoreUpdate update;
    for (int n = 0; n < kPolicies; ++n) update.policies.push_back(change(policy(n)));
    (void)policies.apply(update);
    pairs.set_policies(policies);
    pairs.set_own({{"role", "role-5"}, {"zone", "z1"}});
    for (int n = 0; n < nodes; ++n) pairs.set_peer(fmt::format("node-{:05}", n), record(n, n));
    (void)pairs.settle();
  }
  void apply(const EncryptionPolicy& document) {
    StoreUpdate update;
    update.policies.push_back(change(document));
    (void)policies.apply(update);
    pairs.set_policies(policies);
  }

  Policies policies;
  PairPolicies pairs;
};

void EverythingFromNothing(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Mesh(static_cast<int>(state.range(0))));
}

void LabelOfAPeerChanges(benchmark::State& state) {
  Mesh mesh(static_cast<int>(state.range(0)));
  const std::array entries{record(7, 7), record(7, 8)};
  std::size_t i = 0;
  for (auto _ : state) {
    mesh.pairs.set_peer("node-00007", entries.at(++i % 2));
    benchmark::DoNotOptimize(mesh.pairs.settle());
  }
}

void OwnLabelChanges(benchmark::State& state) {
  Mesh mesh(static_cast<int>(state.range(0)));
  int i = 0;
  for (auto _ : state) {
    mesh.pairs.set_own({{"role", fmt::format("role-{}", ++i % 2)}, {"zone", "z1"}});
    benchmark::DoNotOptimize(mesh.pairs.settle());
  }
}

// Neither side of it can be this node.
void PolicyOfOthersChanges(benchmark::State& state) {
  Mesh mesh(static_cast<int>(state.range(0)));
  int i = 0;
  for (auto _ : state) {
    mesh.apply(policy(1, ++i % 2 == 0 ? "z3" : "z4"));
    benchmark::DoNotOptimize(mesh.pairs.settle());
  }
}

void PolicyOfMineChanges(benchmark::State& state) {
  Mesh mesh(static_cast<int>(state.range(0)));
  int i = 0;
  for (auto _ : state) {
    mesh.apply(policy(105, ++i % 2 == 0 ? "z1" : "z3"));
    benchmark::DoNotOptimize(mesh.pairs.settle());
  }
}

#define SIZES ->Arg(50)->Arg(500)->Arg(5000)->Unit(benchmark::kMicrosecond)
BENCHMARK(LabelOfAPeerChanges) SIZES;
BENCHMARK(PolicyOfOthersChanges) SIZES;
BENCHMARK(PolicyOfMineChanges) SIZES;
BENCHMARK(OwnLabelChanges) SIZES;
BENCHMARK(EverythingFromNothing) SIZES;

}  // namespace
}  // namespace mesh
