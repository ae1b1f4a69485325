#include "meshd/daemon/held_back.h"

#include <algorithm>

namespace mesh {
namespace {

constexpr Duration kFirstPause = std::chrono::milliseconds(200);
constexpr Duration kLongestPause = std::chrono::seconds(30);
constexpr Duration kFirstPauseOfCounting = std::chrono::seconds(1);
constexpr Duration kLongestPauseOfCounting = std::chrono::seconds(60);

// A node's operations follow from each other; those of the device and of counting do not.
bool in_a_chain(const Operation& operation) {
  return !operation.node.empty() && !is_counting(operation.act);
}

bool sets_up_device(const Act& act) {
  return std::holds_alternative<ConfigureDevice>(act) ||
         std::holds_alternative<ConfigureLink>(act) || std::holds_alternative<AddAddress>(act);
}

}  // namespace

bool is_counting(const Act& act) {
  return std::holds_alternative<InstallRuleset>(act) || std::holds_alternative<PutElement>(act) ||
         std::holds_alternative<RemoveElement>(act);
}

// A chain stands still at one operation; the others fail each for itself.
std::string HeldBack::key_of(const Operation& operation) {
  if (in_a_chain(operation)) return operation.node;
  // There is one device: what it lacks may change, the problem is the same.
  if (std::holds_alternative<ConfigureDevice>(operation.act)) return " configure-device";
  return " " + to_string(operation);
}

// The device's own objects are compared in every plan.
void HeldBack::touch(const Operation& operation) {
  const Act& act = operation.act;
  if (const auto* change = std::get_if<ChangePeer>(&act)) touched_.peers.insert(change->change.key);
  if (const auto* put = std::get_if<PutRoute>(&act)) touched_.routes.insert(put->route.key);
  if (const auto* gone = std::get_if<RemoveRoute>(&act)) touched_.routes.insert(gone->route.key);
  if (const auto* put = std::get_if<PutElement>(&act)) touched_.elements.insert(put->element);
  if (const auto* gone = std::get_if<RemoveElement>(&act)) touched_.elements.insert(gone->element);
}

Plan HeldBack::release(Plan plan, MonotonicTime now) {
  waiting_.clear();
  touched_ = Touched();
  touched_.everything = false;
  if (held_.empty()) return plan;
  std::erase_if(plan, [&](const Operation& operation) {
    const std::string key = key_of(operation);
    const auto found = held_.find(key);
    const bool waits =
        found != held_.end() && now < found->second.again && found->second.operation == operation;
    if (!waits && !waiting_.contains(key)) return false;
    waiting_.insert(key);
    touch(operation);
    return true;
  });
  return plan;
}

std::vector<const Operation*> HeldBack::note(const Plan& plan,
                                             const std::vector<Result<void>>& results,
                                             MonotonicTime now) {
  std::vector<const Operation*> tried;
  // The next pass makes the table anew.
  const auto is_tried_otherwise = [](const Act& act) {
    const auto* install = std::get_if<InstallRuleset>(&act);
    return install != nullptr && install->keep_sets;
  };
  std::set<std::string> failed_nodes;
  std::set<std::string> failed;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    if (results[i]) continue;
    if (is_tried_otherwise(plan[i].act)) {
      failed_nodes.insert(plan[i].node);
      continue;
    }
    touch(plan[i]);
    // After the first failure of a node the data plane does not try the rest.
    const bool not_tried =
        results[i].error().code == ErrorCode::kUnavailable && failed_nodes.contains(plan[i].node);
    failed_nodes.insert(plan[i].node);
    if (not_tried) continue;
    tried.push_back(&plan[i]);
    const bool first = failed.insert(key_of(plan[i])).second;
    if (first) fail(plan[i], results[i].error(), now);
  }
  const bool nftables_wait = this->nftables_wait(now);
  std::erase_if(held_, [&](const auto& item) {
    if (nftables_wait && is_counting(item.second.operation.act)) return false;
    return !failed.contains(item.first) && !waiting_.contains(item.first);
  });
  return tried;
}

void HeldBack::fail(const Operation& operation, const Error& error, MonotonicTime now) {
  const Backoff fresh = is_counting(operation.act)
                            ? Backoff(kFirstPauseOfCounting, kLongestPauseOfCounting)
                            : Backoff(kFirstPause, kLongestPause);
  auto [it, inserted] = held_.try_emplace(key_of(operation), Held{operation, "", {}, fresh});
  Held& held = it->second;
  if (held.operation != operation) held = {operation, "", {}, fresh};
  held.message = error.message;
  held.again = now + held.pause.next();
}

bool HeldBack::holds(const Operation& operation) const {
  const auto found = held_.find(key_of(operation));
  return found != held_.end() && (in_a_chain(operation) || found->second.operation == operation);
}

std::optional<MonotonicTime> HeldBack::next() const {
  std::optional<MonotonicTime> earliest;
  for (const auto& [key, held] : held_)
    if (!earliest || held.again < *earliest) earliest = held.again;
  return earliest;
}

bool HeldBack::nftables_missing() const { return nftables_wait(MonotonicTime::min()); }

bool HeldBack::nftables_wait(MonotonicTime now) const {
  return std::any_of(held_.begin(), held_.end(), [&](const auto& item) {
    return std::holds_alternative<InstallRuleset>(item.second.operation.act) &&
           now < item.second.again;
  });
}

bool HeldBack::only_counting() const {
  return std::all_of(held_.begin(), held_.end(),
                     [](const auto& item) { return is_counting(item.second.operation.act); });
}

std::string HeldBack::device_problem() const {
  for (const auto& [key, held] : held_)
    if (held.operation.node.empty() && sets_up_device(held.operation.act)) return held.message;
  return "";
}

std::map<std::string, std::string> HeldBack::problems() const {
  std::map<std::string, std::string> problems;
  for (const auto& [key, held] : held_) {
    std::string place =
        is_counting(held.operation.act) ? "nftables" : std::string(name_of(held.operation.act));
    if (in_a_chain(held.operation)) place += " " + held.operation.node;
    problems.try_emplace(std::move(place), held.message);
  }
  return problems;
}

}  // namespace mesh
