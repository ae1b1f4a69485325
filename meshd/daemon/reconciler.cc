#include "meshd/daemon/reconciler.h"

#include <algorithm>
#include <utility>

#include "meshd/daemon/local_facts.h"
#include "meshd/daemon/log.h"

namespace mesh {
namespace {

// A device that fails at once, or for a moment, does not withdraw this node's key.
constexpr Duration kDeviceProblemPatience = std::chrono::seconds(3);
constexpr Duration kShortestPause = std::chrono::milliseconds(1);

NftSets one_set(NftSet set) { return NftSets().set(static_cast<std::size_t>(set)); }

Touched nothing_touched() {
  Touched touched;
  touched.everything = false;
  return touched;
}

}  // namespace

Reconciler::Reconciler(Dataplane& dataplane, const Clock& clock, Metrics& metrics, Config config,
                       ReconcilerOptions options)
    : dataplane_(dataplane),
      clock_(clock),
      metrics_(metrics),
      config_(std::move(config)),
      options_(std::move(options)),
      kernel_(dataplane),
      device_(dataplane, metrics, problems_),
      own_record_(options_.publish, config_.store.type == StoreType::kKubernetes),
      drain_(options_.drain_file, problems_),
      addresses_(dataplane, problems_),
      diversions_(dataplane, problems_),
      snapshots_(std::move(options_.snapshots), store_identity(config_), problems_),
      counts_(std::move(options_.traffic), kernel_.traffic(), problems_),
      drift_(metrics) {
  set_scope();
  LocalNode local = local_from_config(config_);
  local.nft = dataplane_.nft_expressions(nft_spec(local).uses());
  kernel_.want(nft_spec(local));
  // Whose record is mine must be known before the first one comes.
  model_.set_local(std::move(local), clock_.now());
  snapshots_.tell(model_);
}

void Reconciler::set_scope() {
  kernel_.set_scope(config_.wireguard.interface, local_from_config(config_).tables());
}

// --- inputs ---

void Reconciler::on_store_update(const StoreUpdate& update) {
  const Instant now = clock_.now();
  report_pace_.news();
  const std::size_t changes = model_.apply(update, now);
  for (const PolicyChange& change : update.policies)
    if (const auto refused = model_.policies().refused().find(change.policy);
        refused != model_.policies().refused().end())
      log::warn("a policy cannot be read",
                {{"policy", change.policy}, {"reason", refused->second.message}});
  snapshots_.on_store_update(update);
  silent_nodes_.on_store_update(update);
  metrics_.count_store_events(changes);
  if (changes != 0) store_changed_ = now.wall;
  if (!store_seen_ || update.in_sync != store_in_sync_) {
    if (update.in_sync) {
      log::info("the store answers");
    } else {
      log::warn("the store is out; the data path stays as it is", {{"reason", update.error}});
    }
  }
  if (!update.error.empty() && update.error != store_error_) metrics_.count_error("store");
  if (!update.went_back.empty()) note_went_back(update.went_back, now.wall);
  store_seen_ = true;
  store_in_sync_ = update.in_sync;
  store_error_ = update.error;
  // It answers, but my own record could not be written.
  if (update.in_sync && !update.error.empty()) {
    problems_.note("store", update.error);
  } else {
    problems_.clear("store");
  }
}

// Records that are gone by that are gone: owners put them back, and a peer that does not is treated
// as one whose record vanished. Policies stay in force. And whoever has to find out why is told.
void Reconciler::note_went_back(const std::string& why, WallTime now) {
  log::warn("the store went back: it was emptied, restored from a backup, or is another",
            {{"reason", why}});
  store_went_back_ = StoreWentBack{now, why};
  metrics_.count_store_went_back();
}

bool Reconciler::on_kernel_events() {
  Touched touched = nothing_touched();
  KernelView::Heard heard = kernel_.drain(touched);
  if (!heard.kinds.empty() || heard.rules || touched.everything) report_pace_.news();
  if (touched.everything) comparison_.distrust();
  touched.everything = false;  // only the dump will tell what was missed
  drift_.note(std::move(heard.kinds), touched);
  touched_.merge(touched);
  return heard.anything;
}

void Reconciler::reconfigure(Config config) {
  const std::uint16_t port = config_.wireguard.listen_port;
  config_ = std::move(config);
  report_pace_.news();
  former_ports_.move(port, config_.wireguard.listen_port, clock_.now().monotonic);
  set_scope();
  comparison_.distrust();  // the tables may be others
  log::configure(config_.log, config_.node.name);
}

Result<void> Reconciler::drain() {
  if (drain_.phase() == DrainPhase::kNo) log::info("leaving the mesh");
  return drain_.leave();
}

Result<void> Reconciler::resume() {
  const bool was_in = drain_.phase() == DrainPhase::kNo;
  if (auto back = drain_.come_back(); !back) return back;
  if (!was_in) log::info("coming back into the mesh");
  device_.look_again();
  return {};
}

Result<void> Reconciler::forget(const std::string& node) {
  if (auto forgotten = model_.forget_gone(node); !forgotten) return forgotten;
  snapshots_.touch();
  log::info("forgot the node: its prefixes are free", {{"peer", node}});
  return {};
}

Result<void> Reconciler::allow_downgrade(const std::string& node) {
  if (auto allowed = model_.allow_downgrade(node); !allowed) return allowed;
  log::warn("an operator allows that the peer is encrypted no more", {{"peer", node}});
  remember_at_once_ = true;
  return {};
}

void Reconciler::finish() {
  const Instant now = clock_.now();
  snapshots_.keep(model_, now, true);
  // The last counts are those that the kernel goes on with.
  sampling_.count_at_once();
  if (adopted_) sample_device(now);
  counts_.keep(kernel_.traffic(), now.monotonic, true);
}

// --- the pass ---

MonotonicTime Reconciler::pass() {
  const Instant now = clock_.now();
  const CpuStopwatch cost;
  gather(now);
  if (adopted_) {
    decide(now);
    // On the word of a snapshot nothing is published: the store may hold what another wrote since.
    if (model_.store_answered()) keep_own_record(now);
    if (store_in_sync_) forget_silent_nodes(now);
    if (remember_at_once_) snapshots_.touch();
    snapshots_.keep(model_, now, std::exchange(remember_at_once_, false));
    counts_.keep(kernel_.traffic(), now.monotonic);
    // On its way out, and nobody sends to it any more: the next pass takes the device down.
    // Of a device that cannot be read nobody knows who sends.
    if (drain_.steer(model_, kernel_.mirror(), store_in_sync_ && !sampling_.unread_since(),
                     now.monotonic))
      again_at_once_ = true;
  }
  // What was read, what it was compared with, and the plan.
  comparison_.passed(now.monotonic, cost.elapsed());
  report(now);
  const Instant end = clock_.now();
  metrics_.observe_reconcile(end.monotonic - now.monotonic);
  return next_time(end);
}

void Reconciler::gather(Instant now) {
  const bool was_adopted = adopted_;
  device_is_new_ = again_at_once_ = false;
  on_kernel_events();
  const auto read_if_due = [&] {
    if (comparison_.due(now.monotonic)) read_kernel(now);
  };
  read_if_due();
  if (options_.dry_run) {
    device_.assume(config_, kernel_.mirror());
  } else if (drain_.phase() == DrainPhase::kLeft) {
    if (device_.release(config_, now)) device_is_new_ = true;
  } else if (device_.ensure(config_, kernel_.mirror(), carries_traffic(), now)) {
    device_is_new_ = true;
  }
  if (device_is_new_) comparison_.distrust();
  read_if_due();
  update_local(now);
  snapshots_.feed(model_, now);
  if (!adopted_ && model_.has_records() && comparison_.trusted()) {
    model_.adopt(kernel_.mirror(), now);
    adopted_ = true;
  }
  if (sampling_.due(now.monotonic)) sample_device(now);
  if (drain_.phase() == DrainPhase::kLeft) drift_.device_was_ourselves();
  if (was_adopted) drift_.count(desired_, kernel_.mirror(), held_, limits(now), device_is_new_);
  drift_.forget();
}

void Reconciler::read_kernel(Instant now) {
  Touched touched = nothing_touched();
  // Events that came before the dump are part of it; those that come later are applied to it.
  on_kernel_events();
  if (auto read = kernel_.read_everything(touched); !read) {
    problems_.note("kernel", read.error().message);
    metrics_.count_error("read-kernel");
    comparison_.failed(now.monotonic);
    return;
  }
  problems_.clear("kernel");
  if (const std::string& why = kernel_.elements_problem(); !why.empty()) {
    problems_.note("nftables dump", why + ": what others change in the table is not found");
    metrics_.count_error("read-elements");
  } else {
    problems_.clear("nftables dump");
  }
  touched_.merge(touched);
  drift_.compared(touched);
  comparison_.read(now.monotonic);
  sampling_.at_once();
}

void Reconciler::sample_device(Instant now) {
  const CpuStopwatch cost;
  Touched touched = nothing_touched();
  const bool was_right = device_is_right();
  const bool count_all = sampling_.counts_due(now.monotonic);
  const NftSets sets = count_all ? kAllNftSets : one_set(NftSet::kTxWireguard);
  if (auto sampled = kernel_.sample(desired_.elements(), sets, touched); !sampled) {
    problems_.note("device dump", sampled.error().message);
    metrics_.count_error("read-device");
    sampling_.unread(now.monotonic);
  } else {
    problems_.clear("device dump");
    sampling_.read();
    kernel_.traffic().update_tunnels(kernel_.mirror().peers(), model_.owners_of_keys());
    const auto inner_tx = kernel_.traffic().all(NftSet::kTxWireguard);
    model_.observe(kernel_.mirror(), kernel_.counts() ? &inner_tx : nullptr, now);
  }
  if (kernel_.counted()) counters_read_ = now.wall;
  if (const std::string& why = kernel_.counters_problem(); !why.empty()) {
    problems_.note("counters", why + ": the bytes that are shown are old");
    metrics_.count_error("read-counters");
  } else {
    problems_.clear("counters");
  }
  if (!touched.peers.empty() || (was_right && !device_is_right())) drift_.compared(touched);
  touched_.merge(touched);
  sampling_.sampled(now.monotonic, cost.elapsed(), count_all, model_.unsettled());
}

// Key, port and mark are as meshd set them. WireGuard has no events to tell otherwise.
bool Reconciler::device_is_right() const {
  const auto& have = kernel_.mirror().device();
  const DesiredDevice& want = desired_.device();
  return have && want.present && have->public_key == want.key &&
         have->listen_port == want.listen_port && have->fwmark == want.fwmark;
}

void Reconciler::update_local(Instant now) {
  LocalNode local = local_from_config(config_);
  local.former_ports = former_ports_.at(now.monotonic);
  local.nft = dataplane_.nft_expressions(nft_spec(local).uses());
  const Mirror& mirror = kernel_.mirror();
  if (config_.store.type == StoreType::kKubernetes)
    fill_from_node_object(local, model_.own_record(), model_.local(), mirror, problems_);
  if (local.addresses.empty())
    local.addresses = addresses_.find(mirror, model_.local().addresses, now.monotonic);
  fill_from_links(local, config_, mirror);
  local.drained = drain_.phase() != DrainPhase::kNo;
  local.backend = device_problem_.empty() ? device_.choice().backend : Backend::kNone;
  if (!device_.known()) local.backend = backend_meanwhile();
  if (local.has_wireguard() || !device_problem_.empty()) {
    local.key = options_.key;
    local.device_index = mirror.device() ? mirror.device()->ifindex : 0;
  }
  model_.set_local(std::move(local), now);
}

// What was encrypted stays so while the device is away: it is being made again.
Backend Reconciler::backend_meanwhile() const {
  if (model_.local().has_wireguard()) return model_.local().backend;
  if (!carries_traffic()) return Backend::kNone;
  // An earlier run left packets to an encrypted peer with nowhere to go: there they stay.
  return config_.wireguard.backend == BackendPreference::kUserspace ? Backend::kUserspace
                                                                    : Backend::kKernel;
}

PlanLimits Reconciler::limits(Instant now) const {
  return {model_.store_answered(), !held_.nftables_wait(now.monotonic)};
}

void Reconciler::decide(Instant now) {
  Requests requests;
  if (options_.paths != nullptr) options_.paths->tell(model_);
  const std::vector<std::string> changed = model_.settle(now, desired_, touched_, requests);
  if (!changed.empty()) snapshots_.touch();
  log_changes(changed);
  if (requests.look) sampling_.at_once();
  tell_downgrades(requests.downgrades);
  drift_.count_foreign_peers(requests.foreign);
  LocalNode local = model_.local();
  if (!device_problem_.empty())
    local.backend = device_.choice().backend;  // not used by peers, still to be put right
  DesiredDevice device = desired_device(local, true);
  kernel_.want(device.nft);
  desired_.set_device(std::move(device));
  decided_ = true;
  touched_.merge(held_.touched());
  Plan plan = make_plan(desired_, kernel_.mirror(), touched_, requests, limits(now));
  if (!changed.empty() || !plan.empty()) report_pace_.news();
  kernel_.adopt_endpoints(desired_);
  execute(held_.release(std::move(plan), now.monotonic), now);
  if (options_.paths != nullptr) options_.paths->follow(model_, kernel_.mirror());
}

void Reconciler::execute(const Plan& plan, Instant now) {
  if (options_.dry_run) {
    for (const Operation& operation : plan) dry_run_text_ += to_string(operation) + "\n";
    return;
  }
  touched_ = nothing_touched();
  // Elements take their counters with them.
  NftSets going;
  for (const Operation& operation : plan) {
    if (const auto* gone = std::get_if<RemoveElement>(&operation.act)) {
      going.set(static_cast<std::size_t>(gone->element.set));
    } else if (const auto* install = std::get_if<InstallRuleset>(&operation.act)) {
      if (!install->keep_sets) going.set();
    }
  }
  if (going.any()) (void)kernel_.read_counters(desired_.elements(), going);
  std::vector<Result<void>> results;
  if (!plan.empty()) {
    metrics_.count_operations(plan.size());
    results = dataplane_.apply(plan);
    sampling_.changed();
  }
  acknowledge(plan, results);
  if (device_vanished_meanwhile(results)) {
    // Not an error of ours: the next pass makes the device again, and everything on it.
    touched_.everything = true;
    again_at_once_ = true;
    return;
  }
  note_results(plan, results, now);
}

void Reconciler::acknowledge(const Plan& plan, const std::vector<Result<void>>& results) {
  for (std::size_t i = 0; i < plan.size(); ++i) {
    log::debug("did", {{"operation", to_string(plan[i])},
                       {"error", results[i] ? "" : results[i].error().message}});
    if (results[i]) kernel_.acknowledge(plan[i]);
    const auto* install = std::get_if<InstallRuleset>(&plan[i].act);
    if (results[i] || install == nullptr || !install->keep_sets) continue;
    // Whatever is in the way, a table made anew is not.
    log::warn("the rules of nftables could not be replaced; making the table anew",
              {{"reason", results[i].error().message}});
    kernel_.forget_nftables(touched_);
    again_at_once_ = true;
  }
}

// What failed because the device went away under the plan is not worth a line.
bool Reconciler::device_vanished_meanwhile(const std::vector<Result<void>>& results) {
  const std::string& device = config_.wireguard.interface;
  const bool all_well = std::all_of(results.begin(), results.end(),
                                    [](const auto& result) { return result.has_value(); });
  if (all_well || kernel_.mirror().index_of(device) == 0) return false;
  on_kernel_events();
  return kernel_.mirror().index_of(device) == 0;
}

void Reconciler::note_results(const Plan& plan, const std::vector<Result<void>>& results,
                              Instant now) {
  for (const Operation* failed : held_.note(plan, results, now.monotonic))
    metrics_.count_error(name_of(failed->act));
  problems_.set_all("held back", held_.problems());
  // A data path that carries somebody's packets is not given up for a failed write.
  device_problem_ = carries_traffic() ? "" : held_.device_problem();
  if (device_problem_.empty()) {
    device_problem_since_.reset();
  } else if (!device_problem_since_) {
    device_problem_since_ = now.monotonic;
  }
}

// Something is encrypted now, by what was decided or, before anything was, by what an earlier run
// left in the kernel.
bool Reconciler::carries_traffic() const {
  for (const auto& [node, peer] : model_.peers())
    if (peer.decision().path == Path::kWireguard) return true;
  if (adopted_) return false;
  for (const auto& [key, route] : kernel_.mirror().routes())
    if (key.metric == kGuardMetric && route.protocol == kProtocol) return true;
  return false;
}

void Reconciler::keep_own_record(Instant now) {
  if (record_may_change(now))
    own_record_.set(
        make_own_record(model_.local(), config_.node.labels,
                        device_problem_.empty() ? device_.choice().reason : device_problem_));
  own_record_again_ = own_record_.reconcile(model_.own_record(), store_in_sync_, now.monotonic);
  if (!own_record_.conflict().empty()) {
    problems_.note("record", own_record_.conflict());
  } else {
    problems_.clear("record");
  }
}

void Reconciler::forget_silent_nodes(Instant now) {
  if (!options_.forget) return;
  const SilentNodes::Acts acts =
      silent_nodes_.decide(model_, kernel_.mirror(), config_.store.forget_after, now);
  for (const std::string& node : acts.ask) model_.ask(node);
  if (!acts.ask.empty()) again_at_once_ = true;
  for (const std::string& node : acts.forget) {
    log::info("the node has been silent for too long: its record is removed", {{"peer", node}});
    options_.forget(node);
  }
}

Result<void> Reconciler::may_delete(const std::string& node) const {
  const std::string alive =
      node == model_.local().name
          ? node + " is this node itself, and would publish its record again"
          : silent_nodes_.signs_of_life(node, model_, kernel_.mirror(), clock_.now().wall);
  if (alive.empty()) return {};
  return make_error(ErrorCode::kBusy, "{}: --force deletes its record all the same", alive);
}

// The record says what is known to be so: nothing of a device that is on its way, and a key only
// when the device works.
bool Reconciler::record_may_change(Instant now) const {
  if (!device_.known()) return false;
  if (!device_problem_.empty())
    return !model_.local().has_wireguard() &&
           now.monotonic - *device_problem_since_ >= kDeviceProblemPatience;
  return !model_.local().has_wireguard() ||
         kernel_.mirror().index_of(config_.wireguard.interface) != 0;
}

MonotonicTime Reconciler::next_time(Instant now) const {
  MonotonicTime next = std::min(comparison_.next(), sampling_.next(now.monotonic));
  const auto consider = [&](std::optional<MonotonicTime> time) {
    if (time) next = std::min(next, *time);
  };
  if (again_at_once_) consider(now.monotonic);
  consider(device_.next());
  if (device_problem_since_ && now.monotonic - *device_problem_since_ < kDeviceProblemPatience)
    consider(*device_problem_since_ + kDeviceProblemPatience);
  consider(held_.next());
  consider(own_record_again_);
  consider(snapshots_.next());
  consider(counts_.next());
  consider(model_.deadline(now.monotonic));
  consider(drain_.next());
  consider(former_ports_.next());
  consider(silent_nodes_.next());
  consider(report_pace_.next());
  // Whatever is late, the loop breathes.
  return std::max(next, now.monotonic + kShortestPause);
}

}  // namespace mesh
