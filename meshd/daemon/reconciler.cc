#include "meshd/daemon/reconciler.h"

#include <algorithm>
#include <utility>

#include "meshd/daemon/local_facts.h"
#include "meshd/daemon/log.h"
#include "meshd/daemon/report.h"

namespace mesh {
namespace {

constexpr Duration kRetryDevice = std::chrono::seconds(30);       // perhaps a module was loaded
constexpr Duration kRetryClosedDevice = std::chrono::seconds(1);  // packets are dropped meanwhile
// A device that fails at once, or for a moment, does not withdraw this node's key.
constexpr Duration kDeviceProblemPatience = std::chrono::seconds(3);
constexpr Duration kFindAddresses = std::chrono::seconds(10);
constexpr Duration kShortestPause = std::chrono::milliseconds(1);
constexpr Duration kFullComparison = std::chrono::seconds(60);
// WireGuard has no events. Somebody who waits for a handshake makes us look often; a settled mesh,
// now and then. Either way looking never takes more than one part in kSampleShare of the time.
constexpr Duration kSampleSettled = std::chrono::seconds(1);
constexpr int kSampleShare = 100;

// The kind of object an operation repairs, for the metric.
std::string_view object_of(const Act& act) {
  struct Object {
    std::string_view operator()(const ConfigureDevice&) const { return "device"; }
    std::string_view operator()(const ConfigureLink&) const { return "link"; }
    std::string_view operator()(const AddAddress&) const { return "address"; }
    std::string_view operator()(const RemoveAddress&) const { return "address"; }
    std::string_view operator()(const SetRpFilter&) const { return "rp_filter"; }
    std::string_view operator()(const PutRule&) const { return "rule"; }
    std::string_view operator()(const RemoveRule&) const { return "rule"; }
    std::string_view operator()(const InstallRuleset&) const { return "nftables"; }
    std::string_view operator()(const ChangePeer&) const { return "peer"; }
    std::string_view operator()(const PutRoute&) const { return "route"; }
    std::string_view operator()(const RemoveRoute&) const { return "route"; }
    std::string_view operator()(const PutElement&) const { return "nftables"; }
    std::string_view operator()(const RemoveElement&) const { return "nftables"; }
  };
  return std::visit(Object{}, act);
}

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
      own_record_(options_.publish),
      drifted_(nothing_touched()) {
  kernel_.set_scope(config_.wireguard.interface,
                    {config_.wireguard.routing_table, config_.wireguard.host_table()});
}

// --- inputs ---

void Reconciler::on_store_update(const StoreUpdate& update) {
  const Instant now = clock_.now();
  const std::size_t changes = model_.apply(update, now);
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
  store_seen_ = true;
  store_in_sync_ = update.in_sync;
  store_error_ = update.error;
  // It answers, but my own record could not be written.
  if (update.in_sync && !update.error.empty()) {
    note_problem("store", update.error);
  } else {
    clear_problem("store");
  }
}

void Reconciler::on_kernel_events() {
  Touched touched = nothing_touched();
  std::set<std::string> kinds = kernel_.drain(touched);
  if (touched.everything) read_everything_ = true;
  touched.everything = false;  // only the dump will tell what was missed
  drift_.merge(kinds);
  drifted_.merge(touched);
  touched_.merge(touched);
}

void Reconciler::reconfigure(Config config) {
  config_ = std::move(config);
  log::configure(config_.log, config_.node.name);
}

// --- the pass ---

MonotonicTime Reconciler::pass() {
  const Instant now = clock_.now();
  gather(now);
  if (adopted_) {
    decide(now);
    keep_own_record(now);
  }
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
    if ((read_everything_ || now.monotonic >= next_full_) && now.monotonic >= read_again_)
      read_kernel(now);
  };
  read_if_due();
  ensure_device(now);
  read_if_due();
  update_local(now);
  if (!adopted_ && model_.store_answered() && !read_everything_) {
    model_.adopt(kernel_.mirror());
    adopted_ = true;
  }
  if (sample_now_ || now.monotonic >= next_sample_) sample_device(now);
  if (was_adopted && !drift_.empty()) count_repairs(drift_, drifted_, now);
  drift_.clear();
  drifted_ = nothing_touched();
}

void Reconciler::ensure_device(Instant now) {
  const bool exists = kernel_.mirror().index_of(config_.wireguard.interface) != 0;
  if (options_.dry_run) return assume_device(exists);
  // Gone, or never there: by the link, which has events, not by the device, which has none.
  if (device_known_ && !exists && backend_.backend != Backend::kNone) {
    device_known_ = false;
    if (now.monotonic - device_made_at_ > kRetryDevice) remake_.reset();
    retry_device_at_ = device_made_at_ + remake_.next();
  }
  if (device_known_ && backend_.backend != Backend::kNone) return;
  if (now.monotonic < retry_device_at_) return;
  const BackendPreference preference = config_.wireguard.backend;
  auto choice = dataplane_.ensure_device(
      {config_.wireguard.interface, preference, config_.wireguard.userspace_command});
  if (!choice) metrics_.count_error("ensure-device");
  const bool unusable = !choice || choice->backend == Backend::kNone;
  if (unusable && preference != BackendPreference::kNone && carries_traffic()) {
    // What is encrypted does not become plaintext because a device cannot be made: it stays closed,
    // and is tried again.
    device_known_ = false;
    retry_device_at_ = now.monotonic + kRetryClosedDevice;
    return note_problem(
        "device",
        fmt::format(
            "{} cannot be made again ({}); traffic of encrypted peers is dropped until it can, "
            "or until wireguard.backend is set to none",
            config_.wireguard.interface, choice ? choice->reason : choice.error().message));
  }
  if (!choice) {
    retry_device_at_ = now.monotonic + device_pause_.next();
    return note_problem("device", choice.error().message);
  }
  device_pause_.reset();
  retry_device_at_ =
      preference == BackendPreference::kNone ? MonotonicTime::max() : now.monotonic + kRetryDevice;
  clear_problem("device");
  note_device(*choice, now);
}

void Reconciler::note_device(const BackendChoice& choice, Instant now) {
  const bool changed =
      !device_known_ || choice.backend != backend_.backend || choice.reason != backend_.reason;
  backend_ = choice;
  device_known_ = true;
  if (changed)
    log::info(backend_.created ? "made the device" : "looked for the device",
              {{"device", config_.wireguard.interface},
               {"backend", std::string(to_string(backend_.backend))},
               {"reason", backend_.reason}});
  if (backend_.backend == Backend::kNone) return;
  device_is_new_ = true;
  device_made_at_ = now.monotonic;
  read_everything_ = true;
}

// Without touching it: what a start would find.
void Reconciler::assume_device(bool exists) {
  const Link* link = kernel_.mirror().link(config_.wireguard.interface);
  device_known_ = true;
  backend_.backend = !exists                     ? Backend::kNone
                     : link->kind == "wireguard" ? Backend::kKernel
                                                 : Backend::kUserspace;
  if (!exists) backend_.reason = "the device does not exist yet: a start would make it";
}

void Reconciler::read_kernel(Instant now) {
  Touched touched = nothing_touched();
  // Events that came before the dump are part of it; those that come later are applied to it.
  on_kernel_events();
  if (auto read = kernel_.read_everything(touched); !read) {
    note_problem("kernel", read.error().message);
    metrics_.count_error("read-kernel");
    read_everything_ = true;
    read_again_ = now.monotonic + read_pause_.next();
    return;
  }
  clear_problem("kernel");
  read_pause_.reset();
  touched_.merge(touched);
  drift_.insert("comparison");
  drifted_.merge(touched);
  read_everything_ = false;
  sample_now_ = true;
  next_full_ = now.monotonic + kFullComparison;
}

void Reconciler::sample_device(Instant now) {
  Touched touched = nothing_touched();
  const bool was_right = device_is_right();
  if (auto sampled = kernel_.sample(desired_.elements(), touched); !sampled) {
    note_problem("device dump", sampled.error().message);
    metrics_.count_error("read-device");
  } else {
    clear_problem("device dump");
    model_.observe(kernel_.mirror(), kernel_.traffic().all(NftSet::kTxWireguard), now);
  }
  if (!touched.peers.empty() || (was_right && !device_is_right())) {
    drift_.insert("comparison");
    drifted_.merge(touched);
  }
  touched_.merge(touched);
  sample_now_ = false;
  // A handshake shows soon after it was started, or not soon.
  const Duration wanted = model_.unsettled() ? sample_pause_.next() : kSampleSettled;
  next_sample_ = now.monotonic + std::max(wanted, kernel_.sample_cost() * kSampleShare);
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
  const Mirror& mirror = kernel_.mirror();
  if (local.addresses.empty()) local.addresses = found_addresses(now);
  fill_from_links(local, config_, mirror);
  local.backend = device_problem_.empty() ? backend_.backend : Backend::kNone;
  if (!device_known_) local.backend = backend_meanwhile();
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

// The main table may be large and has no events here: it is read when an address came or went, and
// now and then.
std::vector<IpAddress> Reconciler::found_addresses(Instant now) {
  const Mirror& mirror = kernel_.mirror();
  if (now.monotonic < find_addresses_at_ && mirror.addresses() == searched_addresses_)
    return model_.local().addresses;
  searched_addresses_ = mirror.addresses();
  find_addresses_at_ = now.monotonic + kFindAddresses;
  auto addresses = default_addresses(dataplane_, mirror);
  if (addresses) {
    clear_problem("addresses");
    return *addresses;
  }
  note_problem("addresses", addresses.error().message);
  return model_.local().addresses;  // the interface may be on its way back
}

// What would have to be done if nothing were wanted anew is what somebody else undid.
void Reconciler::count_repairs(const std::set<std::string>& kinds, const Touched& drifted,
                               Instant now) {
  std::map<std::string_view, int> repaired;
  if (kinds.contains("device")) {
    repaired["device"] = 1;  // all that was on it went with it
  } else if (!device_is_new_) {
    for (const Operation& operation :
         make_plan(desired_, kernel_.mirror(), drifted, {}, limits(now)))
      if (!held_.holds(operation)) ++repaired[object_of(operation.act)];
    // The table and all that is in it are put back in one step.
    if (!kernel_.mirror().ruleset_installed() && repaired.contains("nftables"))
      repaired["nftables"] = 1;
  }
  for (const auto& [object, count] : repaired) {
    log::warn("somebody else changed what meshd had set; repairing it",
              {{"object", std::string(object)}, {"count", std::to_string(count)}});
    repairs_ += static_cast<std::uint64_t>(count);
    for (int i = 0; i < count; ++i) metrics_.count_repair(object);
  }
}

PlanLimits Reconciler::limits(Instant now) const {
  return {model_.store_answered(), !held_.nftables_wait(now.monotonic)};
}

void Reconciler::decide(Instant now) {
  Requests requests;
  if (options_.paths != nullptr) options_.paths->tell(model_);
  log_changes(model_.settle(now, desired_, touched_, requests));
  LocalNode local = model_.local();
  if (!device_problem_.empty())
    local.backend = backend_.backend;  // not used by peers, still to be put right
  desired_.set_device(desired_device(local, true));
  touched_.merge(held_.touched());
  Plan plan = make_plan(desired_, kernel_.mirror(), touched_, requests, limits(now));
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
  const bool counters_go = std::any_of(plan.begin(), plan.end(), [](const Operation& operation) {
    return std::holds_alternative<RemoveElement>(operation.act) ||
           std::holds_alternative<InstallRuleset>(operation.act);
  });
  if (counters_go) kernel_.read_counters(desired_.elements());
  std::vector<Result<void>> results;
  if (!plan.empty()) {
    results = dataplane_.apply(plan);
    sample_now_ = true;
    sample_pause_.reset();
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
  const std::map<std::string, std::string> problems = held_.problems();
  for (const std::string& place : std::exchange(held_places_, {}))
    if (!problems.contains(place)) clear_problem(place);
  for (const auto& [place, message] : problems) {
    note_problem(place, message);
    held_places_.insert(place);
  }
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
    own_record_.set(make_own_record(model_.local(), config_.node.labels,
                                    device_problem_.empty() ? backend_.reason : device_problem_));
  own_record_again_ = own_record_.reconcile(model_.own_record(), store_in_sync_, now.monotonic);
  if (!own_record_.conflict().empty()) {
    note_problem("record", own_record_.conflict());
  } else {
    clear_problem("record");
  }
}

// The record says what is known to be so: nothing of a device that is on its way, and a key only
// when the device works.
bool Reconciler::record_may_change(Instant now) const {
  if (!device_known_) return false;
  if (!device_problem_.empty())
    return !model_.local().has_wireguard() &&
           now.monotonic - *device_problem_since_ >= kDeviceProblemPatience;
  return !model_.local().has_wireguard() ||
         kernel_.mirror().index_of(config_.wireguard.interface) != 0;
}

// --- report ---

void Reconciler::note_problem(const std::string& place, const std::string& message) {
  auto [it, inserted] = problems_.try_emplace(place, message);
  if (!inserted && it->second == message) return;
  it->second = message;
  log::error(message, {{"operation", place}});
}

void Reconciler::clear_problem(const std::string& place) {
  if (problems_.erase(place) != 0) log::info("resolved", {{"operation", place}});
}

std::vector<std::string> Reconciler::warnings() const {
  std::vector<std::string> warnings;
  for (const auto& [place, message] : problems_) warnings.push_back(message);
  return warnings;
}

void Reconciler::log_changes(const std::vector<std::string>& nodes) {
  for (const std::string& node : nodes) {
    const auto found = model_.peers().find(node);
    if (found == model_.peers().end()) {
      log::info("peer is gone", {{"peer", node}});
      continue;
    }
    const Decision& decision = found->second.decision();
    log::info("peer is now", {{"peer", node},
                              {"state", std::string(to_string(decision.state))},
                              {"reason", std::string(to_string(decision.reason))},
                              {"path", std::string(to_string(decision.path))}});
  }
}

void Reconciler::report(Instant now) {
  if (!model_.store_answered()) {
    not_ready_ = "the store has not answered yet";
  } else if (!adopted_) {
    not_ready_ = problems_.empty() ? "the kernel has not been read yet" : problems_.begin()->second;
  } else if (!held_.only_counting()) {
    not_ready_ = held_.problems().begin()->second;
  } else if (const auto device = problems_.find("device"); device != problems_.end()) {
    not_ready_ = device->second;
  } else {
    not_ready_.clear();
  }
  std::set<std::string> nodes;
  for (const auto& [node, peer] : model_.peers()) nodes.insert(node);
  kernel_.traffic().keep_only(nodes);
  ReportInputs inputs{config_,           model_,          kernel_.mirror(),
                      kernel_.traffic(), backend_.reason, {},
                      repairs_,          now.wall,        options_.key_created,
                      device_problem_,   warnings(),      options_.version};
  inputs.store = {std::string(to_string(config_.store.type)), store_in_sync_, store_changed_,
                  store_error_};
  inputs.paths = options_.paths;
  options_.report(std::make_shared<const Status>(make_status(inputs)));
}

MonotonicTime Reconciler::next_time(Instant now) const {
  MonotonicTime next = std::min(read_everything_ ? read_again_ : next_full_, next_sample_);
  const auto consider = [&](std::optional<MonotonicTime> time) {
    if (time) next = std::min(next, *time);
  };
  if (again_at_once_) consider(now.monotonic);
  if (sample_now_) consider(now.monotonic + std::chrono::milliseconds(20));
  if (!device_known_ || backend_.backend == Backend::kNone) consider(retry_device_at_);
  if (device_problem_since_ && now.monotonic - *device_problem_since_ < kDeviceProblemPatience)
    consider(*device_problem_since_ + kDeviceProblemPatience);
  consider(held_.next());
  consider(own_record_again_);
  consider(model_.deadline(now.monotonic));
  // Whatever is late, the loop breathes.
  return std::max(next, now.monotonic + kShortestPause);
}

std::string Reconciler::dry_run() {
  (void)pass();
  if (!model_.store_answered()) return "the store has not answered: nothing can be planned\n";
  return dry_run_text_.empty() ? std::string("nothing to do: the kernel is as it should be\n")
                               : dry_run_text_;
}

Result<std::string> Reconciler::preview() {
  if (!adopted_) return make_error(ErrorCode::kUnavailable, "nothing is planned: {}", not_ready_);
  on_kernel_events();
  Touched touched;
  if (auto read = kernel_.read_everything(touched); !read) return read.error();
  // What it finds is the next pass's to repair.
  touched_.merge(touched);
  drift_.insert("comparison");
  drifted_.merge(touched);
  std::string text;
  for (const Operation& operation :
       make_plan(desired_, kernel_.mirror(), touched, {}, limits(clock_.now())))
    text += to_string(operation) + "\n";
  return text.empty() ? std::string("nothing to do: the kernel is as it should be\n") : text;
}

}  // namespace mesh
