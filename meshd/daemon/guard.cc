#include "meshd/daemon/guard.h"

#include <algorithm>
#include <set>

#include "core/mesh_model.h"
#include "core/planner.h"
#include "meshd/daemon/kernel_view.h"
#include "meshd/daemon/local_facts.h"
#include "meshd/daemon/snapshot_keeper.h"

namespace mesh {
namespace {

LocalNode known_from_config(Dataplane& dataplane, const Config& config) {
  LocalNode local = local_from_config(config);
  local.nft = dataplane.nft_expressions(nft_spec(local).uses());
  return local;
}

// This node, as far as it is known without a device and, at boot, without a network: what the
// configuration does not say, the snapshot may.
LocalNode local_at_boot(Dataplane& dataplane, const Config& config, const Mirror& mirror,
                        const Snapshot& snapshot, const PublicKey& own_key) {
  LocalNode local = known_from_config(dataplane, config);
  if (local.addresses.empty())
    if (auto found = default_addresses(dataplane, mirror)) local.addresses = std::move(*found);
  if (snapshot.own && local.addresses.empty()) local.addresses = snapshot.own->addresses;
  // There the configuration has no word in it.
  if (snapshot.own && config.store.type == StoreType::kKubernetes)
    local.cidrs = snapshot.own->cidrs;
  fill_from_links(local, config, mirror);
  // Whether WireGuard works shows later: until then a proven peer is one whose device vanished.
  local.backend = Backend::kKernel;
  local.key = own_key;
  return local;
}

// Only what closes: nothing of pairs that need not encrypt, nothing of devices and links, and no
// route in the place of one that leads into the mesh.
bool closes(const Operation& operation, const std::set<std::string>& required,
            const Desired& desired, const Mirror& mirror) {
  if (std::holds_alternative<PutRule>(operation.act) ||
      std::holds_alternative<InstallRuleset>(operation.act))
    return true;
  if (const auto* put = std::get_if<PutElement>(&operation.act)) {
    const std::string& owner = desired.elements().at(put->element);
    return owner.empty() || required.contains(owner);
  }
  const auto* put = std::get_if<PutRoute>(&operation.act);
  if (put == nullptr) return false;
  const auto there = mirror.routes().find(put->route.key);
  if (there != mirror.routes().end() && there->second.type == RouteType::kUnicast) return false;
  // My own prefixes stay mine also inside a wider one that is closed.
  return required.contains(operation.node) || put->route.type == RouteType::kThrow;
}

}  // namespace

Result<GuardOutcome> hold_closed(Dataplane& dataplane, const Config& config,
                                 const Snapshot& snapshot, const PublicKey& own_key, Instant now) {
  KernelView kernel(dataplane);
  const LocalNode known = known_from_config(dataplane, config);
  kernel.set_scope(config.wireguard.interface, known.tables());
  kernel.want(nft_spec(known));
  Touched touched;
  if (auto read = kernel.read_everything(touched); !read) return read.error();

  MeshModel model;
  model.set_local(local_at_boot(dataplane, config, kernel.mirror(), snapshot, own_key), now);
  remember_snapshot(model, snapshot);
  restore_snapshot(model, snapshot, now);
  model.adopt(kernel.mirror(), now);
  Desired desired;
  Requests requests;
  (void)model.settle(now, desired, touched, requests);
  GuardOutcome outcome;
  std::set<std::string> required;
  for (const auto& [node, peer] : model.peers())
    if (peer.mode(model.local()) == Mode::kRequire || peer.held(model.local()) || peer.gone())
      required.insert(node);
  outcome.closed.assign(required.begin(), required.end());
  if (required.empty()) return outcome;
  if (model.local().addresses.empty())
    outcome.warning =
        "this node's own addresses are not known before its network is up (set node.addresses): "
        "what other nodes' workloads send to them in plaintext is not refused until meshd runs";

  desired.set_device(desired_device(model.local(), true));
  Plan plan = make_plan(desired, kernel.mirror(), touched, requests, {false, true});
  std::erase_if(plan, [&](const Operation& operation) {
    return !closes(operation, required, desired, kernel.mirror());
  });
  const auto results = dataplane.apply(plan);
  outcome.operations = plan.size();
  for (std::size_t i = 0; i < results.size(); ++i)
    if (!results[i])
      outcome.failed.push_back(to_string(plan[i]) + ": " + results[i].error().message);
  return outcome;
}

}  // namespace mesh
