#include "chaos/chaos.h"

#include <fmt/format.h>

#include <algorithm>

#include "chaos/growth.h"
#include "chaos/invariants.h"
#include "faults/damage.h"
#include "lab/error.h"
#include "lab/pinger.h"

namespace mesh::lab {
namespace {

constexpr unsigned kProbesPerSecond = 50;
constexpr milliseconds kWatchInterval(100);
constexpr milliseconds kTick(200);
constexpr milliseconds kExcused(2000);  // after a path was opened by force, times patience()

class Chaos {
 public:
  explicit Chaos(const ChaosOptions& options)
      : options_(options),
        lab_(make_spec(options)),
        order_(options.seed, options.nodes),
        netem_(Lab::has_netem()) {}

  ChaosReport run() {
    begin();
    const auto until = Clock::now() + options_.duration;
    if (options_.sabotage) {
      wait(3 * Invariants::kAround);  // looks before it
      options_.sabotage(lab_);
      wait(3 * Invariants::kAround * patience());
    }
    while (!options_.calm && Clock::now() < until) take(order_.next());
    for (const Step& step : order_.rest()) take(step);
    finish();
    return std::move(report_);
  }

 private:
  struct Pair {
    std::string a;
    std::string b;
    std::unique_ptr<Pinger> pinger;
  };

  static LabSpec make_spec(const ChaosOptions& options) {
    LabSpec spec;
    spec.nodes = numbered_nodes(options.nodes);
    spec.backend = options.backend;
    return spec;
  }

  // IPv4 and IPv6 by turns.
  std::vector<Pair> probe_all(unsigned per_second) {
    std::vector<Pair> pairs;
    auto& nodes = lab_.nodes();
    for (std::size_t a = 0; a < nodes.size(); ++a)
      for (std::size_t b = a + 1; b < nodes.size(); ++b)
        pairs.push_back({nodes[a]->name(), nodes[b]->name(),
                         std::make_unique<Pinger>(nodes[a]->workload(), nodes[b]->workload(),
                                                  (a + b) % 2 == 0 ? Family::kIpv4 : Family::kIpv6,
                                                  per_second)});
    return pairs;
  }

  void begin() {
    lab_.start_all();
    if (!lab_.wait_all_encrypted())
      fail("the mesh does not become encrypted:\n{}", lab_.diagnosis());
    capture_ = std::make_unique<Capture>(lab_, std::set<std::uint16_t>{51820, 51999});
    pairs_ = probe_all(kProbesPerSecond);
    pairs_.front().pinger->let_pass(2 * kProbesPerSecond);  // what a daemon holds under traffic
    for (auto& node : lab_.nodes()) footprints_[node->name()] = footprint_of(lab_, *node);
    watch_ =
        std::make_unique<StatusWatch>(lab_, kWatchInterval * patience(),
                                      [this](const std::string& node, const StatusSample& sample) {
                                        invariants_.status(node, sample);
                                      });
    started_ = Clock::now();
    for (const Act& act : all_acts())
      if (const std::string why = why_not_here(act); !why.empty())
        report_.left_out.push_back(fmt::format("{}: {}", act.name, why));
  }

  // "" where an act is possible.
  [[nodiscard]] std::string why_not_here(const Act& act) const {
    if (act.needs_netem && !netem_) return "this kernel has no netem";
    if (act.needs_wireguard_go && on_kernel_) return "the kernel needs no such process";
    if (act.needs_own_machine && !owns_machine()) return std::string(kClockIsOthers);
    return "";
  }

  void take(const Step& step) {
    const Act& act = all_acts()[step.act];
    Node& node = lab_[static_cast<std::size_t>(step.node)];
    Node& peer = lab_[static_cast<std::size_t>(step.peer)];
    ++report_.steps;
    current_ = describe(step, lab_);
    const std::string impossible = why_not_here(act);
    const bool possible = impossible.empty();
    if (!possible) ++report_.skipped;
    say_step(impossible);
    if (possible) {
      const auto from = Clock::now() - Invariants::kAround;
      try {
        (step.ends ? act.end : act.begin)(lab_, node, peer);
      } catch (const LabError& error) {
        // What it would break is broken already. The end of an act must not fail.
        if (step.ends) throw;
        ++report_.skipped;
        if (options_.on_step)
          options_.on_step(fmt::format("  had nothing to break: {}", error.what()));
      }
      if (act.opens) invariants_.excuse(node.name(), from, Clock::now() + kExcused * patience());
    }
    wait(step.pause);
  }

  void wait(milliseconds time) {
    const auto until = Clock::now() + time;
    do {
      look();
      // Time passes in traffic: a tick is ten probes.
      pairs_.front().pinger->let_pass(static_cast<std::uint32_t>(kTick.count()) * kProbesPerSecond /
                                      1000);
    } while (Clock::now() < until);
  }

  void look() {
    for (const auto& seen : capture_->take_plaintext()) invariants_.plaintext(seen);
    for (const auto& pair : pairs_) {
      const auto silence = pair.pinger->silence();
      invariants_.silence(pair.a, pair.b, silence.there);
      invariants_.silence(pair.b, pair.a, silence.back);
    }
    invariants_.judge(false);
    if (options_.on_progress && Clock::now() - progressed_ > milliseconds(1000)) {
      progressed_ = Clock::now();
      options_.on_progress(progress());
    }
  }

  [[nodiscard]] std::string progress() const {
    std::size_t encrypted = 0;
    for (const auto& node : lab_.spec().nodes)
      if (const auto sample = watch_->latest(node.name))
        for (const auto& [peer, view] : sample->peers) encrypted += view.state == "encrypted";
    const auto seconds = [](auto time) {
      return std::chrono::duration_cast<std::chrono::seconds>(time).count();
    };
    const auto counts = invariants_.counts();
    return fmt::format("{}/{} s, seed {}, step {}: {}; encrypted {}/{}, violations {}",
                       seconds(Clock::now() - started_), seconds(options_.duration), options_.seed,
                       report_.steps, current_, encrypted, options_.nodes * (options_.nodes - 1),
                       counts.violations);
  }

  void say_step(const std::string& impossible) {
    if (!options_.on_step) return;
    options_.on_step(fmt::format("{:>8.1f} s  step {:>4}  {}{}",
                                 std::chrono::duration<double>(Clock::now() - started_).count(),
                                 report_.steps, current_,
                                 impossible.empty() ? "" : "  (not here: " + impossible + ")"));
  }

  void finish() {
    for (auto& node : lab_.nodes())
      if (!node->running()) node->start();
    current_ = "waiting for convergence";
    const bool converged = wait_until(
        [&] {
          look();
          report_.not_converged = what_is_missing();
          return report_.not_converged.empty();
        },
        options_.convergence, kTick);
    look();
    (void)capture_->plaintext_among({});  // that nothing of the capture was dropped
    invariants_.judge(true);
    for (auto& pair : pairs_) report_.probes += pair.pinger->stop().there.received;
    pairs_.clear();
    if (converged) expect_lossless();
    watch_.reset();
    measure_growth();
    const auto counts = invariants_.counts();
    report_.samples = counts.samples;
    report_.plaintext = counts.plaintext;
    report_.excused = counts.excused;
    report_.violations = invariants_.violations();
    if (!report_.ok()) report_.diagnosis = lab_.diagnosis();
  }

  std::vector<std::string> what_is_missing() {
    std::vector<std::string> missing;
    for (auto& node : lab_.nodes()) {
      const auto sample = watch_->latest(node->name());
      for (auto& peer : lab_.nodes()) {
        if (peer == node) continue;
        const std::string state = sample && sample->peers.contains(peer->name())
                                      ? sample->peers.at(peer->name()).state
                                      : "unknown";
        if (state != "encrypted")
          missing.push_back(fmt::format("{} calls {} {}", node->name(), peer->name(), state));
      }
    }
    if (!missing.empty()) return missing;
    for (auto& node : lab_.nodes()) {
      const Outcome plan = node->meshctl({"plan"});
      if (plan.output.find("nothing to do") == std::string::npos)
        missing.push_back(fmt::format("{} plans: {}{}", node->name(), plan.output, plan.errors));
    }
    return missing;
  }

  void expect_lossless() {
    try {
      // All pairs at once: an emulated machine is asked for fewer, or it would lose them itself.
      const unsigned per_second = 200 / static_cast<unsigned>(patience());
      auto pairs = probe_all(per_second);
      pairs.front().pinger->let_pass(5 * per_second);
      for (auto& pair : pairs) {
        const PingReport report = pair.pinger->stop();
        if (!report.lossless())
          report_.not_converged.push_back(
              fmt::format("{} and {}: {}", pair.a, pair.b, report.to_string()));
      }
    } catch (const LabError& error) {
      report_.not_converged.emplace_back(error.what());
    }
  }

  void measure_growth() {
    for (auto& node : lab_.nodes()) {
      const Footprint& before = footprints_[node->name()];
      const Footprint now = footprint_of(lab_, *node);
      const bool same = before.pid == now.pid;
      const bool witness = node == lab_.nodes()[kWitness];
      report_.footprints.push_back(
          fmt::format("{} ({}): {}, then {}", node->name(),
                      same ? fmt::format("process {} from the beginning to the end", now.pid)
                           : fmt::format("process {}, and {} at the end", before.pid, now.pid),
                      to_string(before), to_string(now)));
      std::string grown = growth(before, now);
      if (witness && !same)
        grown = "its meshd is another process than at the beginning, and no act restarts it";
      if (!grown.empty()) report_.grown.push_back(node->name() + ": " + grown);
    }
  }

  const ChaosOptions& options_;
  Lab lab_;
  Order order_;
  bool netem_;
  bool on_kernel_ = Lab::kernel_has_wireguard();
  Invariants invariants_;
  std::unique_ptr<Capture> capture_;
  std::vector<Pair> pairs_;
  std::unique_ptr<StatusWatch> watch_;
  std::map<std::string, Footprint> footprints_;
  Clock::time_point started_;
  Clock::time_point progressed_;
  std::string current_;
  ChaosReport report_;
};

}  // namespace

std::string ChaosReport::to_string() const {
  std::string text = fmt::format(
      "{} steps ({} not possible here), {} looks at the status, {} probes arrived, {} "
      "packets in plaintext of pairs that were not encrypted or whose path was opened "
      "by force\n",
      steps, skipped, samples, probes, plaintext);
  text += "What each meshd held:\n";
  for (const auto& line : footprints) text += "  " + line + "\n";
  for (const auto& line : left_out) text += "Not possible here: " + line + "\n";
  const auto list = [&](const char* title, const std::vector<std::string>& lines) {
    for (const auto& line : lines) text += fmt::format("{}: {}\n", title, line);
  };
  list("VIOLATION", violations);
  list("NOT CONVERGED", not_converged);
  list("GROWN", grown);
  return text + (ok() ? "All invariants held.\n" : "FAILED.\n");
}

ChaosReport run_chaos(const ChaosOptions& options) {
  if (options.nodes < 2) fail("chaos needs two nodes");
  return Chaos(options).run();
}

}  // namespace mesh::lab
