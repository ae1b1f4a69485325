#include "meshd/daemon/reconciler.h"

#include <algorithm>
#include <utility>

#include "meshd/daemon/local_facts.h"
#include "meshd/daemon/log.h"
#include "meshd/daemon/report.h"

namespace mesh {
namespace {

constexpr Duration kRetryDevice = std::chrono::seconds(30);
constexpr Duration kRetryNftables = std::chrono::seconds(60);
constexpr Duration kFullComparison = std::chrono::seconds(60);
// WireGuard has no events. Somebody who waits for a handshake makes us look often; a settled mesh,
// now and then. Either way looking never takes more than one part in kSampleShare of the time.
constexpr Duration kSampleWaiting = std::chrono::milliseconds(200);
constexpr Duration kSampleSettled = std::chrono::seconds(2);
constexpr int kSampleShare = 100;

bool is_counting(const Act& act) {
  return std::holds_alternative<InstallRuleset>(act) || std::holds_alternative<PutElement>(act) ||
         std::holds_alternative<RemoveElement>(act);
}

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

// --- inputs
// --------------------------------------------------------------------------------------------------------------

void Reconciler::on_store_update(const StoreUpdate& update) {
  const Instant now = clock_.now();
  const std::size_t changes = model_.apply(update, now);
  metrics_.count_store_events(changes);
  if (changes != 0) store_changed_ = now.wall;
  if (update.in_sync != store_in_sync_) {
    if (update.in_sync) {
      log::info("the store answers");
    } else {
      log::warn("the store is out; the data path stays as it is", {{"reason", update.error}});
    }
  }
  if (!update.error.empty() && update.error != store_error_) metrics_.count_error("store");
  store_in_sync_ = update.in_sync;
  store_error_ = update.error;
}

void Reconciler::on_kernel_events() {
  Touched touched = nothing_touched();
  std::set<std::string> kinds = kernel_.drain(touched);
  if (touched.everything) read_everything_ = true;
  drift_.merge(kinds);
  drifted_.merge(touched);
  touched_.merge(touched);
}

void Reconciler::reconfigure(Config config) {
  config_ = std::move(config);
  log::configure(config_.log, config_.node.name);
}

// --- the pass
// ------------------------------------------------------------------------------------------------------------

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
  on_kernel_events();
  const auto read_if_due = [&] {
    if (read_everything_ || now.monotonic >= next_full_) read_kernel(now);
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
  if (!drift_.empty()) count_repairs(drift_, drifted_);
  drift_.clear();
  drifted_ = nothing_touched();
}

void Reconciler::ensure_device(Instant now) {
  const bool exists = kernel_.mirror().index_of(config_.wireguard.interface) != 0;
  if (options_.dry_run) return assume_device(exists);
  // Gone, or never there: by the link, which has events, not by the device, which has none.
  if (device_known_ && !exists && backend_.backend != Backend::kNone) {
    device_known_ = false;
    retry_device_at_ = {};
  }
  if (device_known_ && backend_.backend != Backend::kNone) return;
  if (now.monotonic < retry_device_at_) return;
  retry_device_at_ = now.monotonic + kRetryDevice;
  const BackendPreference preference = config_.wireguard.backend;
  auto choice = dataplane_.ensure_device(
      {config_.wireguard.interface, preference, config_.wireguard.userspace_command});
  if (!choice) {
    note_problem("device", choice.error().message);
    metrics_.count_error("ensure-device");
    return;
  }
  if (choice->backend == Backend::kNone && preference != BackendPreference::kNone &&
      carries_traffic()) {
    // What is encrypted does not become plaintext because a device cannot be made: it stays closed,
    // and is tried again.
    note_problem(
        "device",
        fmt::format(
            "{} cannot be made again ({}); traffic of encrypted peers is dropped until it can, "
            "or until wireguard.backend is set to none",
            config_.wireguard.interface, choice->reason));
    retry_device_at_ = now.monotonic + std::chrono::seconds(1);
    return;
  }
  clear_problem("device");
  if (preference == BackendPreference::kNone) retry_device_at_ = MonotonicTime::max();
  const bool changed =
      !device_known_ || choice->backend != backend_.backend || choice->reason != backend_.reason;
  backend_ = *choice;
  device_known_ = true;
  if (changed)
    log::info(backend_.created ? "made the device" : "looked for the device",
              {{"device", config_.wireguard.interface},
               {"backend", std::string(to_string(backend_.backend))},
               {"reason", backend_.reason}});
  if (backend_.backend != Backend::kNone) read_everything_ = true;
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
  const bool first = !adopted_;
  Touched touched = nothing_touched();
  // Events that came before the dump are part of it; those that come later are applied to it.
  (void)kernel_.drain(touched);
  touched = nothing_touched();
  if (auto read = kernel_.read_everything(touched); !read) {
    note_problem("kernel", read.error().message);
    metrics_.count_error("read-kernel");
    next_full_ = now.monotonic + retry_.next();
    return;
  }
  clear_problem("kernel");
  touched_.merge(touched);
  if (!first && !read_everything_) {
    drift_.insert("comparison");
    drifted_.merge(touched);
  }
  read_everything_ = false;
  sample_now_ = true;
  next_full_ = now.monotonic + kFullComparison;
}

void Reconciler::sample_device(Instant now) {
  Touched touched = nothing_touched();
  if (auto sampled = kernel_.sample(desired_.elements(), touched); !sampled) {
    note_problem("device dump", sampled.error().message);
    metrics_.count_error("read-device");
  } else {
    clear_problem("device dump");
  }
  if (adopted_ && !touched.peers.empty()) {
    drift_.insert("peer");
    drifted_.merge(touched);
  }
  touched_.merge(touched);
  sample_now_ = false;
  model_.observe(kernel_.mirror(), kernel_.traffic().all(NftSet::kTxWireguard), now);
  const Duration wanted = model_.unsettled() ? kSampleWaiting : kSampleSettled;
  next_sample_ = now.monotonic + std::max(wanted, kernel_.sample_cost() * kSampleShare);
}

void Reconciler::update_local(Instant now) {
  LocalNode local = local_from_config(config_);
  const Mirror& mirror = kernel_.mirror();
  if (local.addresses.empty()) {
    if (auto addresses = default_addresses(dataplane_, mirror)) {
      local.addresses = *addresses;
      clear_problem("addresses");
    } else {
      local.addresses =
          model_.local().addresses;  // those of a moment ago: the interface may be on its way back
      note_problem("addresses", addresses.error().message);
    }
  }
  fill_from_links(local, config_, mirror);
  local.backend = device_known_ && device_problem_.empty() ? backend_.backend : Backend::kNone;
  // What was encrypted stays so while the device is away: it is being made again.
  if (!device_known_ && model_.local().has_wireguard()) local.backend = model_.local().backend;
  if (local.has_wireguard() || !device_problem_.empty()) {
    local.key = options_.key;
    local.device_index = mirror.device() ? mirror.device()->ifindex : 0;
  }
  model_.set_local(std::move(local), now);
}

// What would have to be done if nothing were wanted anew is what somebody else undid.
void Reconciler::count_repairs(const std::set<std::string>& kinds, const Touched& drifted) {
  if (!adopted_ || failed_) return;
  std::map<std::string_view, int> repaired;
  for (const Operation& operation :
       make_plan(desired_, kernel_.mirror(), drifted, {}, {model_.store_answered(), true}))
    ++repaired[object_of(operation.act)];
  if (kinds.contains("device")) ++repaired["device"];
  for (const auto& [object, count] : repaired) {
    log::warn("somebody else changed what meshd had set; repairing it",
              {{"object", std::string(object)}, {"count", std::to_string(count)}});
    repairs_ += static_cast<std::uint64_t>(count);
    for (int i = 0; i < count; ++i) metrics_.count_repair(object);
  }
}

PlanLimits Reconciler::limits(Instant now) const {
  return {model_.store_answered(), now.monotonic >= nftables_again_};
}

void Reconciler::decide(Instant now) {
  Requests requests;
  log_changes(model_.settle(now, desired_, touched_, requests));
  LocalNode local = model_.local();
  if (!device_problem_.empty())
    local.backend = backend_.backend;  // not used by peers, still to be put right
  desired_.set_device(desired_device(local, true));
  const Plan plan = make_plan(desired_, kernel_.mirror(), touched_, requests, limits(now));
  execute(plan, now);
}

void Reconciler::execute(const Plan& plan, Instant now) {
  if (options_.dry_run) {
    for (const Operation& operation : plan) dry_run_text_ += to_string(operation) + "\n";
    return;
  }
  if (plan.empty()) {
    failed_ = false;
    touched_ = nothing_touched();
    device_problem_.clear();
    return;
  }
  // Elements take their counters with them.
  const bool counters_go = std::any_of(plan.begin(), plan.end(), [](const Operation& operation) {
    return std::holds_alternative<RemoveElement>(operation.act) ||
           std::holds_alternative<InstallRuleset>(operation.act);
  });
  if (counters_go) kernel_.read_counters(desired_.elements());
  note_results(plan, dataplane_.apply(plan), now);
  sample_now_ = true;
}

void Reconciler::note_results(const Plan& plan, const std::vector<Result<void>>& results,
                              Instant now) {
  std::set<std::string> failing;
  std::string device_problem;
  failed_ = false;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    const Operation& operation = plan[i];
    log::debug("did", {{"operation", to_string(operation)},
                       {"error", results[i] ? "" : results[i].error().message}});
    if (results[i]) {
      kernel_.acknowledge(operation);
      continue;
    }
    const Error& error = results[i].error();
    metrics_.count_error(name_of(operation.act));
    if (is_counting(operation.act)) {
      nftables_again_ = now.monotonic + kRetryNftables;
      note_problem("nftables", error.message);
      failing.insert("nftables");
      continue;
    }
    failed_ = true;
    const bool device = std::holds_alternative<ConfigureDevice>(operation.act) ||
                        std::holds_alternative<ConfigureLink>(operation.act);
    if (device && device_problem.empty()) device_problem = error.message;
    const std::string place = fmt::format("{} {}", name_of(operation.act), operation.node);
    note_problem(place, error.message);
    failing.insert(place);
  }
  std::erase_if(problems_, [&](const auto& item) {
    const bool of_an_operation =
        item.first.find('-') != std::string::npos || item.first == "nftables";
    return of_an_operation && !failing.contains(item.first);
  });
  // A data path that carries somebody's packets is not given up for a failed write.
  device_problem_ = carries_traffic() ? "" : device_problem;
  if (failed_) {
    retry_at_ = now.monotonic + retry_.next();
    touched_.everything = true;
  } else {
    retry_.reset();
    touched_ = nothing_touched();
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
  const std::string problem = !device_problem_.empty() ? device_problem_ : backend_.reason;
  if (!device_known_) return;
  own_record_.set(make_own_record(model_.local(), config_.node.labels, problem));
  own_record_again_ = own_record_.reconcile(model_.own_record(), store_in_sync_, now.monotonic);
  if (!own_record_.conflict().empty()) {
    note_problem("record", own_record_.conflict());
  } else {
    clear_problem("record");
  }
}

// --- report
// --------------------------------------------------------------------------------------------------------------

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
  } else if (failed_) {
    not_ready_ = problems_.empty() ? "the last pass failed" : problems_.begin()->second;
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
  options_.report(std::make_shared<const Status>(make_status(inputs)));
}

MonotonicTime Reconciler::next_time(Instant now) const {
  MonotonicTime next = std::min(next_full_, next_sample_);
  const auto consider = [&](std::optional<MonotonicTime> time) {
    if (time) next = std::min(next, *time);
  };
  if (sample_now_) consider(now.monotonic + std::chrono::milliseconds(20));
  if (failed_) consider(retry_at_);
  if (backend_.backend == Backend::kNone) consider(retry_device_at_);
  if (nftables_again_ > now.monotonic) consider(nftables_again_);
  consider(own_record_again_);
  consider(model_.deadline(now.monotonic));
  return next;
}

std::string Reconciler::dry_run() {
  (void)pass();
  if (!model_.store_answered()) return "the store has not answered: nothing can be planned\n";
  return dry_run_text_.empty() ? std::string("nothing to do: the kernel is as it should be\n")
                               : dry_run_text_;
}

Result<std::string> Reconciler::preview() {
  on_kernel_events();
  Touched touched;
  if (auto read = kernel_.read_everything(touched); !read) return read.error();
  touched_.merge(touched);
  std::string text;
  for (const Operation& operation :
       make_plan(desired_, kernel_.mirror(), touched, {}, limits(clock_.now())))
    text += to_string(operation) + "\n";
  return text.empty() ? std::string("nothing to do: the kernel is as it should be\n") : text;
}

}  // namespace mesh
