#include "faults/bench.h"

#include <fmt/format.h>

#include <algorithm>

#include "lab/kernel_state.h"

namespace mesh::lab {
namespace {

// Looking must not be what the mesh is busy with: an emulated machine is looked at less often.
milliseconds watch_interval() { return milliseconds(20) * patience(); }
milliseconds look_interval() { return milliseconds(patience() == 1 ? 0 : 50 * patience()); }
constexpr unsigned kLeadIn = 40;      // probes before a fault
constexpr unsigned kAftermath = 100;  // and after it is over: whatever is wrong shows by then

milliseconds since(Clock::time_point moment) {
  return std::chrono::duration_cast<milliseconds>(Clock::now() - moment);
}

bool starts_anew(Start start) { return start != Start::kMesh; }

}  // namespace

std::string to_string(Group group) {
  switch (group) {
    case Group::kPlanned:
      return "planned";
    case Group::kMove:
      return "move";
    case Group::kRepair:
      return "repair";
    case Group::kFailure:
      return "failure";
    case Group::kNaive:
      break;
  }
  return "naive";
}

std::string title_of(Group group) {
  switch (group) {
    case Group::kPlanned:
      return "Planned acts: nothing may be lost";
    case Group::kMove:
      return "Prefixes that move between nodes: nothing may be seen";
    case Group::kRepair:
      return "Repair: somebody changed what meshd made";
    case Group::kFailure:
      return "Failures";
    case Group::kNaive:
      break;
  }
  return "The naive order, by hand with ip and wg: the instrument must see loss";
}

std::vector<Fault> all_faults() {
  std::vector<Fault> all;
  for (auto& part : {planned_faults(), reload_faults(), move_faults(), device_faults(),
                     routing_faults(), store_faults(), failure_faults(), naive_faults()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

Bench::Bench(std::string backend)
    : backend_(std::move(backend)),
      on_kernel_(backend_ == "kernel" || (backend_ == "auto" && Lab::kernel_has_wireguard())) {}

Measured Bench::run(const Fault& fault) {
  Measured result;
  result.name = fault.name;
  result.group = fault.group;
  result.why = fault.why;
  result.why_plaintext = fault.why_plaintext;
  bool spoilt = fault.spoils;
  bool begun = false;
  try {
    prepare(fault);
    const std::string impossible = fault.impossible ? fault.impossible(*this) : "";
    if (!impossible.empty()) {
      result.verdict = Verdicts::kImpossible;
      result.remark = impossible;
      return result;
    }
    begun = true;
    measure(fault, result);
  } catch (const NotBuilt& error) {
    result.verdict = Verdicts::kNotBuilt;
    result.remark = error.what();
  } catch (const LabError& error) {
    result.verdict = Verdicts::kNotMet;
    result.remark = error.what();
    spoilt = true;
  }
  try {
    clean_up(begun && fault.undo ? fault.undo : Fault::Step());
  } catch (const LabError&) {
    spoilt = true;
  }
  if (spoilt || starts_anew(fault.start)) lab_.reset();
  return result;
}

void Bench::prepare(const Fault& fault) {
  if (starts_anew(fault.start)) lab_.reset();
  if (lab_ && !wait_whole(milliseconds(10'000))) lab_.reset();
  if (!lab_) make_lab(fault.start);
}

void Bench::make_lab(Start start) {
  LabSpec spec;
  spec.nodes = numbered_nodes(3);
  spec.backend = backend_;
  lab_ = std::make_unique<Lab>(std::move(spec));
  start_.clear();
  if (start == Start::kNoMeshd) return;
  for (auto& node : lab_->nodes())
    if (start != Start::kWithoutB || node.get() != &b()) node->start();
  const std::vector<std::string> names = start == Start::kWithoutB
                                             ? std::vector<std::string>{"node-a", "node-c"}
                                             : std::vector<std::string>{};
  if (!lab_->wait_all_encrypted(names)) {
    const std::string why = lab_->diagnosis();
    lab_.reset();
    fail("the mesh does not become encrypted:\n{}", why);
  }
  if (start == Start::kWithoutB) return;
  // The first moments of a mesh are not what is measured.
  (void)wait_until(
      [&] {
        bool calm = true;
        for (auto& node : lab_->nodes()) {
          const std::string now = kernel_state(*node);
          calm = calm && start_[node->name()] == now;
          start_[node->name()] = now;
        }
        return calm;
      },
      milliseconds(10'000), milliseconds(200));
}

bool Bench::whole() {
  for (auto& node : lab_->nodes()) {
    const auto status = fetch_status(node->network());
    if (!status || !status->at("store").value("inSync", false)) return false;
    std::size_t encrypted = 0;
    for (const auto& peer : status->at("peers"))
      encrypted += peer.value("state", "") == "encrypted";
    if (encrypted + 1 != lab_->nodes().size()) return false;
  }
  return std::all_of(lab_->nodes().begin(), lab_->nodes().end(),
                     [&](const auto& node) { return kernel_state(*node) == start_[node->name()]; });
}

bool Bench::wait_whole(milliseconds timeout) {
  return !start_.empty() && wait_until([&] { return whole(); }, timeout);
}

void Bench::remember() {
  before_.clear();
  for (auto& node : lab_->nodes()) before_[node->name()] = kernel_state(*node);
}

const std::string& Bench::before(const Node& node) const { return before_.at(node.name()); }

bool Bench::as_before(const Node& node) const { return kernel_state(node) == before(node); }

void Bench::reload(Node& node, const std::string& yaml) {
  node.configure(yaml);
  command(node, "reload");
}

void Bench::command(Node& node, const std::string& word) {
  const Outcome outcome = node.meshctl({word});
  if (outcome.ok()) return;
  std::string words = outcome.errors + outcome.output;
  while (!words.empty() && words.back() == '\n') words.pop_back();
  throw NotBuilt(fmt::format("meshctl {}: {}", word, words));
}

bool Bench::shows(const Node& node, const Node& peer, const std::string& state) {
  const auto sample = watch_->latest(node.name());
  if (!sample) return false;
  const auto found = sample->peers.find(peer.name());
  return found != sample->peers.end() && found->second.state == state;
}

bool Bench::both(const std::string& state) {
  return shows(a(), b(), state) && shows(b(), a(), state);
}

std::uint64_t Bench::leaked() {
  std::set<std::string> names = {"node-a", "node-b"};
  if (!start_.empty() || lab_->node("node-c").running()) names.insert("node-c");
  return capture_->plaintext_among(names);
}

void Bench::start_traffic() {
  capture_ = std::make_unique<Capture>(*lab_, std::set<std::uint16_t>{51820, 51999});
  watch_ = std::make_unique<StatusWatch>(*lab_, watch_interval());
  if (pingers_.empty())
    for (const Family family : list(lab_->spec().workloads))
      pingers_.push_back(std::make_unique<Pinger>(a().workload(), b().workload(), family));
  bystander_ = std::make_unique<Pinger>(a().workload(), c().workload(), Family::kIpv4, 50);
  let_pass(kLeadIn);
}

void Bench::measure(const Fault& fault, Measured& result) {
  pingers_.clear();
  if (fault.set_up) fault.set_up(*this);
  if (fault.start == Start::kMesh || fault.start == Start::kFreshMesh) remember();
  start_traffic();
  const auto repairs = [&] {
    const auto sample = watch_->latest("node-b");
    return sample ? sample->repairs : 0;
  };
  const std::uint64_t repairs_before = repairs();
  capture_->reset();
  (void)capture_->take_plaintext();
  watch_->forget();

  auto injected = Clock::now();
  fault.inject(*this);
  if (fault.lasts > 0) let_pass(fault.lasts);
  if (fault.end) {
    injected = Clock::now();
    fault.end(*this);
  }
  if (wait_until([&] { return is_over(fault); }, fault.deadline, look_interval()))
    result.repair = since(injected);
  else
    result.remark = what_differs();
  let_pass(kAftermath);
  if (fault.counted)  // what was repaired at once may be in the status a moment later
    (void)wait_until([&] { return repairs() > repairs_before; }, milliseconds(2000));
  result.repairs = repairs() - std::min(repairs(), repairs_before);
  result.states_a = watch_->seen("node-a", "node-b");
  result.states_b = watch_->seen("node-b", "node-a");
  stop_traffic(injected, result);
  result.leaked = leaked();
  judge(fault, examples(), result);
}

bool Bench::is_over(const Fault& fault) {
  return (!fault.encrypted || both("encrypted")) && fault.repaired(*this);
}

// For a row that does not become right: what is not as it was on node-b.
std::string Bench::what_differs() const {
  const auto was = before_.find("node-b");
  if (was == before_.end()) return "";
  std::string text = difference(was->second, kernel_state((*lab_)[1]));
  std::replace(text.begin(), text.end(), '\n', ';');
  return text.substr(0, 300);
}

void Bench::stop_traffic(Clock::time_point injected, Measured& result) {
  const auto count = [&](const Direction& direction, const Pinger& pinger, std::uint32_t& lost) {
    lost += direction.lost;
    if (!result.repair) return;
    for (const auto& range : direction.lost_ranges) {
      const auto last =
          pinger.started() + range.at + (range.last - range.first + 1) * milliseconds(5);
      const auto after = std::chrono::duration_cast<milliseconds>(last - injected);
      result.repair = std::max(*result.repair, after);
    }
  };
  for (auto& pinger : pingers_) {
    const PingReport report = pinger->stop();
    result.sent += report.there.sent;
    count(report.there, *pinger, result.lost_there);
    count(report.back, *pinger, result.lost_back);
  }
  const PingReport report = bystander_->stop();
  result.bystander_lost = report.there.lost + report.back.lost;
}

// The kinds of packets that were seen, with how many of each.
std::string Bench::examples() const {
  std::map<std::string, unsigned> kinds;
  for (const auto& seen : capture_->take_plaintext())
    ++kinds[fmt::format("{} to {}: {}", seen.from, seen.to, seen.what)];
  std::string text;
  for (const auto& [kind, count] : kinds)
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", count, kind);
  return text.substr(0, 400);
}

void Bench::clean_up(const Fault::Step& undo) {
  pingers_.clear();
  bystander_.reset();
  capture_.reset();
  if (undo && lab_) undo(*this);
  watch_.reset();
  kept.reset();
}

}  // namespace mesh::lab
