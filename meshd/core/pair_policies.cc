#include "core/pair_policies.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace mesh {

// ---- selectors and their answers ----

PairPolicies::SelectorId PairPolicies::Table::intern(const Selector& selector) {
  const auto [known, is_new] = ids_.try_emplace(selector.to_string(), slots_.size());
  if (is_new && !free_.empty()) {
    known->second = free_.back();
    free_.pop_back();
    slots_[known->second].selector = selector;
  } else if (is_new) {
    slots_.push_back({selector, round_});
  }
  slots_[known->second].round = round_;
  return known->second;
}

std::vector<PairPolicies::SelectorId> PairPolicies::Table::end() {
  std::vector<SelectorId> dropped;
  std::erase_if(ids_, [&](const auto& item) {
    if (slots_[item.second].round == round_) return false;
    dropped.push_back(item.second);
    return true;
  });
  free_.insert(free_.end(), dropped.begin(), dropped.end());
  return dropped;
}

bool PairPolicies::Answers::ask(const Table& table, SelectorId id, const Labels& labels) {
  if (id == kUnknown) return true;
  if (id >= answers_.size()) answers_.resize(id + 1, Answer::kUnknown);
  if (answers_[id] == Answer::kUnknown)
    answers_[id] = table.at(id).matches(labels) ? Answer::kYes : Answer::kNo;
  return answers_[id] == Answer::kYes;
}

void PairPolicies::Answers::forget(SelectorId id) {
  if (id < answers_.size()) answers_[id] = Answer::kUnknown;
}

// ---- inputs ----

void PairPolicies::set_policies(const Policies& policies) {
  table_.begin();
  const auto id_of = [&](const std::optional<Selector>& selector) {
    return selector ? table_.intern(*selector) : kUnknown;
  };
  all_.clear();
  for (const Policy* policy : policies.ordered())
    all_.push_back({policy->document.name, policy->document.order, mode_of(policy->document.action),
                    id_of(policy->selector), id_of(policy->peer_selector), false, false});
  for (const auto& [name, refused] : policies.refused())
    if (!refused.earlier_in_force)
      all_.push_back({name, refused.order, std::nullopt, id_of(refused.selector),
                      id_of(refused.peer_selector), false, false});
  std::stable_sort(all_.begin(), all_.end(), [](const Candidate& a, const Candidate& b) {
    return std::tie(a.order, a.name) < std::tie(b.order, b.name);
  });
  const std::vector<SelectorId> dropped = table_.end();
  for (const SelectorId id : dropped) own_answers_.forget(id);
  for (auto& [node, peer] : peers_)
    for (const SelectorId id : dropped) peer.answers.forget(id);
  list_dirty_ = true;
}

void PairPolicies::set_own(const Labels& labels) {
  if (labels == own_) return;
  own_ = labels;
  own_answers_.clear();
  list_dirty_ = true;
}

void PairPolicies::set_peer(const std::string& node, std::shared_ptr<const StoreEntry> record) {
  const auto [found, is_new] = peers_.try_emplace(node);
  Peer& peer = found->second;
  const bool same =
      !is_new && (peer.record == record || peer.labels() == std::get<NodeRecord>(*record).labels);
  peer.record = std::move(record);
  if (same) return;
  peer.answers.clear();
  dirty_.insert(node);
}

void PairPolicies::remove_peer(const std::string& node) {
  peers_.erase(node);
  dirty_.erase(node);
}

// ---- decisions ----

std::set<std::string> PairPolicies::settle() {
  if (std::exchange(list_dirty_, false)) {
    const std::vector<Candidate> before = std::exchange(mine_, {});
    list_mine();
    if (mine_ != before)
      for (const auto& [node, peer] : peers_) dirty_.insert(node);
  }
  std::set<std::string> changed;
  for (const std::string& node : std::exchange(dirty_, {})) {
    Peer& peer = peers_.at(node);
    PairPolicy says = walk(peer);
    if (says == peer.says) continue;
    peer.says = std::move(says);
    changed.insert(node);
  }
  return changed;
}

void PairPolicies::list_mine() {
  for (Candidate candidate : all_) {
    candidate.as_selected = own_answers_.ask(table_, candidate.selector, own_);
    candidate.as_peer = own_answers_.ask(table_, candidate.peer_selector, own_);
    if (candidate.as_selected || candidate.as_peer) mine_.push_back(std::move(candidate));
  }
}

PairPolicy PairPolicies::walk(Peer& peer) {
  ++walks_;
  PairPolicy says;
  const Labels& labels = peer.labels();
  for (const Candidate& candidate : mine_) {
    const bool matches =
        (candidate.as_selected && peer.answers.ask(table_, candidate.peer_selector, labels)) ||
        (candidate.as_peer && peer.answers.ask(table_, candidate.selector, labels));
    if (!matches) continue;
    if (candidate.mode) {
      says.policy = candidate.name;
      says.mode = candidate.mode;
      break;
    }
    if (says.unreadable.empty()) says.unreadable = candidate.name;
  }
  return says;
}

const PairPolicy& PairPolicies::of(const std::string& node) const {
  static const PairPolicy kNothing;
  const auto found = peers_.find(node);
  return found == peers_.end() ? kNothing : found->second.says;
}

}  // namespace mesh
