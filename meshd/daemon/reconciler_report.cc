// What the pass says: log lines, readiness, the status, and what it would do.
#include <fmt/format.h>

#include <utility>

#include "meshd/daemon/log.h"
#include "meshd/daemon/reconciler.h"
#include "meshd/daemon/report.h"

namespace mesh {
namespace {

// A device that is being made again cannot be read for a moment.
constexpr Duration kUnreadPatience = std::chrono::seconds(5);

}  // namespace

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

void Reconciler::tell_downgrades(const std::map<std::string, Reason>& downgrades) {
  for (const auto& [node, cause] : downgrades) {
    const auto peer = model_.peers().find(node);
    const bool gone = peer == model_.peers().end();
    std::string consequence = gone ? "it has left the mesh" : "it is sent to in plaintext";
    if (!gone && peer->second.held(model_.local()))
      consequence =
          "nothing is sent to it, until it proves a key or an operator allows it: "
          "meshctl allow-plaintext " +
          node;
    log::warn("the peer was encrypted and is so no more",
              {{"peer", node},
               {"cause", std::string(to_string(cause))},
               {"consequence", std::move(consequence)}});
    metrics_.count_downgrade(to_string(cause));
    remember_at_once_ = true;
  }
}

std::string Reconciler::why_not_ready() const {
  if (!model_.store_answered()) return "the store has not answered yet";
  if (!adopted_) return problems_.empty() ? "the kernel has not been read yet" : problems_.first();
  if (!held_.only_counting() || (held_.nftables_missing() && model_.must_close()))
    return held_.problems().begin()->second;
  // What cannot be read may be in any state.
  for (const char* place : {"device", "device dump", "kernel"})
    if (const std::string* problem = problems_.at(place)) return *problem;
  return "";
}

// What keeps this node from doing its work.
std::string Reconciler::error(MonotonicTime now) const {
  if (!device_problem_.empty()) return device_problem_;
  const std::string* unread = problems_.at("device dump");
  if (unread == nullptr || now - *sampling_.unread_since() < kUnreadPatience) return "";
  return fmt::format(
      "{}: for {} s nothing is known of the tunnels, whatever is shown of them", *unread,
      std::chrono::duration_cast<std::chrono::seconds>(now - *sampling_.unread_since()).count());
}

void Reconciler::report(Instant now) {
  if (std::string why = why_not_ready(); why != not_ready_) {
    not_ready_ = std::move(why);
    report_pace_.news();
  }
  if (std::exchange(problems_reported_, problems_.revision()) != problems_.revision())
    report_pace_.news();
  if (!report_pace_.due(now.monotonic)) return report_pace_.put_off();
  const CpuStopwatch cost;
  make_report(now);
  report_pace_.made(now.monotonic, cost.elapsed());
}

void Reconciler::make_report(Instant now) {
  std::set<std::string> nodes;
  for (const auto& [node, peer] : model_.peers()) nodes.insert(node);
  // Before the store has answered, who is not among the peers may be yet.
  if (model_.store_answered()) kernel_.traffic().keep_only(nodes);
  diversions_.look(model_, kernel_.mirror(), kernel_.traffic(), now.monotonic);
  const StoreStatus store{std::string(to_string(config_.store.type)),
                          store_in_sync_,
                          store_changed_,
                          store_error_,
                          snapshots_.in_force(),
                          store_went_back_};
  ReportInputs inputs{config_,
                      model_,
                      kernel_.mirror(),
                      kernel_.traffic(),
                      device_.choice().reason,
                      store,
                      drift_.repairs(),
                      now.wall,
                      options_.key_created,
                      error(now.monotonic),
                      problems_.messages(),
                      options_.version};
  inputs.counters_read = counters_read_;
  inputs.drain = drain_.status(model_, store_in_sync_, now.monotonic);
  inputs.diverted = diversions_.nodes();
  inputs.leaking = diversions_.leaking();
  if (std::string warning = snapshots_.warning(now.wall); !warning.empty())
    inputs.warnings.push_back(std::move(warning));
  for (std::string& warning : left_out_of(desired_.device().nft))
    inputs.warnings.push_back(std::move(warning));
  inputs.paths = options_.paths;
  inputs.silent_nodes = &silent_nodes_;
  options_.report(std::make_shared<const Status>(make_status(inputs)));
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
  drift_.compared(touched);
  std::string text;
  for (const Operation& operation :
       make_plan(desired_, kernel_.mirror(), touched, {}, limits(clock_.now())))
    text += to_string(operation) + "\n";
  return text.empty() ? std::string("nothing to do: the kernel is as it should be\n") : text;
}

}  // namespace mesh
