#include "meshd/daemon/snapshot_keeper.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/status_render.h"
#include "meshd/daemon/log.h"

namespace mesh {
namespace {

const std::string kPlace = "snapshot";

// What the model holds, as it is written down.
Snapshot collect(const MeshModel& model) {
  Snapshot snapshot;
  snapshot.nodes.reserve(model.peers().size());
  for (const auto& [name, peer] : model.peers()) {
    SnapshotNode node{peer.entry(), std::nullopt, peer.gone()};
    if (peer.decision().path == Path::kWireguard && peer.active()) {
      node.proven = peer.active()->key;
    } else {
      node.memory = peer.memory();
      // Whole seconds are kept: what is read back shall be equal.
      if (auto& less = node.memory.downgrade)
        less->since = std::chrono::floor<std::chrono::seconds>(less->since);
    }
    snapshot.nodes.push_back(std::move(node));
  }
  const LocalNode& local = model.local();
  snapshot.own = NodeRecord{local.name, local.addresses, local.cidrs, {}, {}, {}};
  snapshot.own_labels = model.own_labels();
  for (const Policy* policy : model.policies().ordered())
    snapshot.policies.push_back(policy->document);
  snapshot.lost_policies = model.policies().lost();
  return snapshot;
}

}  // namespace

void restore_snapshot(MeshModel& model, const Snapshot& snapshot, Instant now) {
  StoreUpdate records;
  std::map<std::string, PublicKey> proven;
  std::vector<StoreChange> gone;
  for (const SnapshotNode& node : snapshot.nodes) {
    const std::string& name = std::get<NodeRecord>(*node.record).name;
    if (name == model.local().name) continue;
    records.changes.push_back({name, node.record});
    if (node.gone) gone.push_back({name, nullptr});
    if (node.proven) proven.emplace(name, *node.proven);
  }
  for (const EncryptionPolicy& policy : snapshot.policies)
    if (!snapshot.lost_policies.contains(policy.name))
      records.policies.push_back({policy.name, std::make_shared<const PolicyEntry>(policy)});
  // A record that is gone is one that was there.
  std::move(gone.begin(), gone.end(), std::back_inserter(records.changes));
  model.restore(records, std::move(proven), snapshot.own_labels, now);
}

void remember_snapshot(MeshModel& model, const Snapshot& snapshot) {
  model.remember_policies(snapshot.policies, snapshot.lost_policies);
  std::vector<MeshModel::Remembered> nodes;
  for (const SnapshotNode& node : snapshot.nodes) {
    nodes.push_back({node.record, node.memory, node.gone, node.proven});
    if (node.proven) nodes.back().memory.proven = node.proven;
  }
  model.remember(std::move(nodes));
}

StoreIdentity store_identity(const Config& config) {
  StoreIdentity identity{std::string(to_string(config.store.type)), "", config.node.name};
  switch (config.store.type) {
    case StoreType::kDirectory:
      identity.location = config.store.directory.path.lexically_normal().native();
      break;
    case StoreType::kEtcd: {
      auto endpoints = config.store.etcd.endpoints;  // in any order they are the same cluster
      std::sort(endpoints.begin(), endpoints.end());
      for (const std::string& endpoint : endpoints) identity.location += endpoint + " ";
      identity.location += config.store.etcd.prefix;
      break;
    }
    case StoreType::kKubernetes:
      identity.location = config.store.kubernetes.kubeconfig.lexically_normal().native();
      break;
  }
  return identity;
}

SnapshotKeeper::SnapshotKeeper(SnapshotPort port, StoreIdentity store, Problems& problems)
    : port_(std::move(port)), store_(std::move(store)), problems_(problems) {
  if (!port_.damage.empty())
    problems_.note(kPlace, fmt::format("{}: this snapshot is not used and stays as it is until the "
                                       "store has answered, which makes a new one",
                                       port_.damage));
  if (!port_.found) return;
  written_.nodes = port_.found->nodes;
  written_.policies = port_.found->policies;
  written_.lost_policies = port_.found->lost_policies;
  written_.own_labels = port_.found->own_labels;
  written_.own = port_.found->own;
  nothing_written_ = !port_.found->problems.empty();
  for (const std::string& problem : port_.found->problems)
    log::warn("the snapshot holds a record that cannot be used", {{"reason", problem}});
}

void SnapshotKeeper::tell(MeshModel& model) const {
  if (port_.found) remember_snapshot(model, *port_.found);
}

void SnapshotKeeper::on_store_update(const StoreUpdate& update) {
  store_out_ = !update.in_sync;
  if (!update.in_sync) return;
  complete_ = complete_ || update.complete;
  port_.found.reset();
  in_force_.reset();
  if (update.complete || !update.changes.empty() || !update.policies.empty()) touch();
}

void SnapshotKeeper::feed(MeshModel& model, Instant now) {
  if (!port_.found) return;
  if (!patient_until_) patient_until_ = now.monotonic + kPatience;
  if (!store_out_ && now.monotonic < *patient_until_) return;
  restore_snapshot(model, *port_.found, now);
  in_force_ = port_.found->written;
  log::warn("the store does not answer: taking the records of the snapshot",
            {{"nodes", std::to_string(port_.found->nodes.size())},
             {"written", format_time(port_.found->written)}});
  port_.found.reset();
}

void SnapshotKeeper::keep(const MeshModel& model, Instant now, bool at_once) {
  if (!port_.save) return;
  if (const std::string problem = port_.save_problem(); !problem.empty()) {
    problems_.note(kPlace, fmt::format("{}: the records are not written down, and a start without "
                                       "the store will not know them: mend it, or give another "
                                       "store.snapshot.path",
                                       problem));
  } else if (port_.damage.empty()) {
    problems_.clear(kPlace);
  }
  if (!complete_) return;
  if (std::exchange(touched_, false) && !due_)
    due_ = std::max(now.monotonic + kSettle, not_before_);
  if (!due_ || (now.monotonic < *due_ && !at_once)) return;
  due_.reset();
  Snapshot snapshot = collect(model);
  if (!nothing_written_ && snapshot.nodes == written_.nodes &&
      snapshot.policies == written_.policies && snapshot.lost_policies == written_.lost_policies &&
      snapshot.own_labels == written_.own_labels && snapshot.own == written_.own)
    return;
  written_ = snapshot;
  nothing_written_ = false;
  port_.damage.clear();
  if (now.monotonic >= not_before_ + kQuiet) pause_.reset();
  not_before_ = now.monotonic + pause_.next();
  snapshot.store = store_;
  snapshot.written = now.wall;
  port_.save(std::move(snapshot));
}

std::optional<MonotonicTime> SnapshotKeeper::next() const {
  if (port_.found && patient_until_) return patient_until_;
  return due_;
}

std::string SnapshotKeeper::warning(WallTime now) const {
  if (!in_force_) return "";
  return fmt::format(
      "the store has not answered since the start: the records are those of the snapshot written "
      "at {} ({})",
      format_time(*in_force_), format_age(*in_force_, now));
}

}  // namespace mesh
