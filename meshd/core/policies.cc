#include "core/policies.h"

#include <algorithm>
#include <tuple>

namespace mesh {
namespace {

Error in_selector(std::string_view key, const Error& error) {
  return error.at(fmt::format("spec.{}", key));
}

// What is known of a document whose selectors cannot both be read.
RefusedPolicy refusal(const EncryptionPolicy& document, std::string message) {
  RefusedPolicy refused;
  refused.message = std::move(message);
  refused.order = document.order;
  if (auto selector = Selector::parse(document.selector)) refused.selector = std::move(*selector);
  if (auto selector = Selector::parse(document.peer_selector))
    refused.peer_selector = std::move(*selector);
  return refused;
}

}  // namespace

Result<Policy> Policy::compile(EncryptionPolicy document) {
  auto selector = Selector::parse(document.selector);
  if (!selector) return in_selector("selector", selector.error());
  auto peer_selector = Selector::parse(document.peer_selector);
  if (!peer_selector) return in_selector("peerSelector", peer_selector.error());
  return Policy{std::move(document), std::move(*selector), std::move(*peer_selector)};
}

std::size_t Policies::apply(const StoreUpdate& update) {
  std::size_t changed = 0;
  std::set<std::string> listed;
  for (const PolicyChange& change : update.policies) {
    // A store that was emptied, or restored from a backup, has not been told to turn anything off.
    const bool lost = change.entry == nullptr && !update.went_back.empty();
    if (lost ? lose(change.policy) : apply(change)) ++changed;
    if (change.entry) listed.insert(change.policy);
  }
  if (!update.complete) return changed;
  if (!update.went_back.empty()) {
    std::vector<std::string> missing;
    for (const auto& [name, policy] : in_force_)
      if (!listed.contains(name)) missing.push_back(name);
    changed += static_cast<std::size_t>(std::count_if(
        missing.begin(), missing.end(), [&](const auto& name) { return lose(name); }));
  }
  const auto is_gone = [&](const auto& item) {
    return !listed.contains(item.first) && !lost_.contains(item.first);
  };
  changed += std::erase_if(in_force_, is_gone);
  changed += std::erase_if(refused_, is_gone);
  earlier_.clear();
  return changed;
}

// Keeps in force what the store does not have any more.
bool Policies::lose(const std::string& name) {
  if (!in_force_.contains(name) || !lost_.insert(name).second) return false;
  RefusedPolicy lost;
  lost.message =
      "the store went back to a state without it, and it stays in force: `meshctl apply` it again, "
      "and delete it then if it shall go";
  lost.earlier_in_force = true;
  refused_.insert_or_assign(name, std::move(lost));
  return true;
}

bool Policies::apply(const PolicyChange& change) {
  lost_.erase(change.policy);
  if (change.entry == nullptr) {
    const bool was_refused = refused_.erase(change.policy) > 0;
    return in_force_.erase(change.policy) > 0 || was_refused;
  }
  if (const auto* bad = std::get_if<BadRecord>(change.entry.get())) {
    RefusedPolicy refused;
    refused.message = bad->message;
    refuse(change.policy, std::move(refused));
    return true;
  }
  const auto& document = std::get<EncryptionPolicy>(*change.entry);
  const Policy* known = find(change.policy);
  const bool was_refused = refused_.erase(change.policy) > 0;
  if (known != nullptr && known->document == document) return was_refused;
  auto policy = Policy::compile(document);
  if (policy)
    in_force_.insert_or_assign(change.policy, std::move(*policy));
  else
    refuse(change.policy, refusal(document, policy.error().message));
  return true;
}

void Policies::refuse(const std::string& name, RefusedPolicy refused) {
  const auto earlier = earlier_.find(name);
  if (!in_force_.contains(name) && earlier != earlier_.end())
    if (auto policy = Policy::compile(earlier->second))
      in_force_.insert_or_assign(name, std::move(*policy));
  refused.earlier_in_force = in_force_.contains(name);
  refused_.insert_or_assign(name, std::move(refused));
}

void Policies::remember(const std::vector<EncryptionPolicy>& earlier,
                        const std::set<std::string>& lost) {
  for (const EncryptionPolicy& policy : earlier) {
    earlier_.insert_or_assign(policy.name, policy);
    // What makes a pair weaker must come from a store that answers: it may have been deleted since.
    if (!lost.contains(policy.name) || policy.action != PolicyAction::kRequire) continue;
    auto compiled = Policy::compile(policy);
    if (!compiled) {
      refuse(policy.name, refusal(policy, compiled.error().message));
      continue;
    }
    in_force_.insert_or_assign(policy.name, std::move(*compiled));
    lose(policy.name);
  }
}

std::vector<const Policy*> Policies::ordered() const {
  std::vector<const Policy*> ordered;
  ordered.reserve(in_force_.size());
  for (const auto& [name, policy] : in_force_) ordered.push_back(&policy);
  // They come by name, and those of one order stay so.
  std::stable_sort(ordered.begin(), ordered.end(), [](const Policy* a, const Policy* b) {
    return a->document.order < b->document.order;
  });
  return ordered;
}

const Policy* Policies::find(const std::string& name) const {
  const auto found = in_force_.find(name);
  return found == in_force_.end() ? nullptr : &found->second;
}

}  // namespace mesh
