#include "meshd/store/etcd/etcd_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "meshd/store/policy_codec.h"
#include "meshd/store/record_codec.h"
#include "meshd/store/utf8.h"

namespace mesh {
namespace {

// A name of foreign bytes is changed by this, but never into one that a node can have.
std::string shown(std::string_view name) { return printable(name, kMaxNameBytes + 1); }

// What is no time says nothing of how long: as if it were still to come.
WallTime read_time(std::string_view value) {
  constexpr std::int64_t kLast = 9'000'000'000;  // the year 2255: WallTime ends in 2262
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (error != std::errc() || end != value.data() + value.size()) seconds = kLast;
  return WallTime(std::chrono::seconds(std::clamp<std::int64_t>(seconds, 0, kLast)));
}

template <class T>
void erase_unread(std::map<std::string, T>& map, unsigned read, std::set<std::string>& dirty) {
  for (auto item = map.begin(); item != map.end();) {
    if (item->second.read == read) {
      ++item;
      continue;
    }
    dirty.insert(item->first);
    item = map.erase(item);
  }
}

}  // namespace

std::string EtcdView::why_back(const EtcdStateId& now) const {
  if (state_.revision == 0) return "";
  if (now.cluster != 0 && state_.cluster != 0 && now.cluster != state_.cluster)
    return fmt::format("another etcd cluster answers (its id is {:x}, and was {:x})", now.cluster,
                       state_.cluster);
  if (now.revision >= state_.revision) return "";
  return fmt::format("etcd is at revision {}, and was at {}", now.revision, state_.revision);
}

void EtcdView::start_over() { ++read_; }

void EtcdView::finish(EtcdStateId state) {
  if (std::string why = why_back(state); !why.empty()) went_back_ = std::move(why);
  state_ = state;
  erase_unread(nodes_, read_, dirty_nodes_);
  erase_unread(live_, read_, dirty_nodes_);
  erase_unread(silent_, read_, dirty_nodes_);
  erase_unread(policies_, read_, dirty_policies_);
}

void EtcdView::put(std::string_view key, std::string_view value, std::int64_t revision) {
  const auto [kind, name] = keys_.parse(key);
  switch (kind) {
    case EtcdKeys::Kind::kNode:
      return put_node(name, value, revision);
    case EtcdKeys::Kind::kPolicy:
      return put_policy(name, value, revision);
    case EtcdKeys::Kind::kLive:
      live_[shown(name)] = {revision, read_, {}};
      break;
    case EtcdKeys::Kind::kSilent:
      silent_[shown(name)] = {revision, read_, read_time(value)};
      break;
    case EtcdKeys::Kind::kOther:
      return;
  }
  dirty_nodes_.insert(shown(name));
}

void EtcdView::remove(std::string_view key) {
  const auto [kind, name] = keys_.parse(key);
  const std::string node = shown(name);
  bool known = false;
  switch (kind) {
    case EtcdKeys::Kind::kNode:
      known = nodes_.erase(node) != 0;
      break;
    case EtcdKeys::Kind::kLive:
      known = live_.erase(node) != 0;
      break;
    case EtcdKeys::Kind::kSilent:
      known = silent_.erase(node) != 0;
      break;
    case EtcdKeys::Kind::kPolicy:
      if (policies_.erase(node) != 0) dirty_policies_.insert(node);
      return;
    case EtcdKeys::Kind::kOther:
      return;
  }
  if (known) dirty_nodes_.insert(node);
}

// A document of the name that its key has, or why there is none.
template <class Entry, class Parse>
static Entry read_document(const std::string& key, std::string_view name, Parse parse) {
  const std::string place = "etcd " + key;
  if (auto checked = check_node_name(name); !checked)
    return BadRecord{fmt::format("{}: rename it: {}", place,
                                 printable(checked.error().message, 2 * kMaxNameBytes))};
  auto document = parse(place);
  if (!document) return BadRecord{document.error().message};
  return std::move(*document);
}

StoreEntry EtcdView::read_record(std::string_view name, std::string_view value) const {
  return read_document<StoreEntry>(keys_.node(shown(name)), name, [&](const std::string& place) {
    return parse_record_json(value, place, name);
  });
}

PolicyEntry EtcdView::read_policy(std::string_view name, std::string_view value) const {
  return read_document<PolicyEntry>(keys_.policy(shown(name)), name, [&](const std::string& place) {
    return parse_policy_json(value, place, name);
  });
}

template <class Known>
bool EtcdView::seen(Known& known, std::string_view value, std::int64_t revision) const {
  const std::size_t text = std::hash<std::string_view>{}(value);
  const bool same = known.entry != nullptr && known.revision == revision && known.text == text;
  known.read = read_;
  known.revision = revision;
  known.text = text;
  return same;
}

void EtcdView::put_node(std::string_view name, std::string_view value, std::int64_t revision) {
  Record& record = nodes_[shown(name)];
  if (seen(record, value, revision)) return;
  StoreEntry entry = read_record(name, value);
  if (record.entry == nullptr || *record.entry != entry)
    record.entry = std::make_shared<const StoreEntry>(std::move(entry));
  dirty_nodes_.insert(shown(name));
}

void EtcdView::put_policy(std::string_view name, std::string_view value, std::int64_t revision) {
  Policy& policy = policies_[shown(name)];
  if (seen(policy, value, revision)) return;
  PolicyEntry entry = read_policy(name, value);
  if (policy.entry == nullptr || *policy.entry != entry)
    policy.entry = std::make_shared<const PolicyEntry>(std::move(entry));
  dirty_policies_.insert(shown(name));
}

// ---- what to tell ----

namespace {

// Of the names in `dirty`, those whose content differs from what was told.
template <class Known, class Entry, class Change>
void tell(const std::set<std::string>& dirty, const std::map<std::string, Known>& known,
          std::map<std::string, std::shared_ptr<const Entry>>& told, std::vector<Change>& changes) {
  for (const std::string& name : dirty) {
    const auto now = known.find(name);
    const auto before = told.find(name);
    if (now == known.end()) {
      if (before == told.end()) continue;
      told.erase(before);
      changes.push_back({name, nullptr});
    } else if (before == told.end() || *before->second != *now->second.entry) {
      told[name] = now->second.entry;
      changes.push_back({name, now->second.entry});
    }
  }
}

template <class Known>
void insert_names(const std::map<std::string, Known>& known, std::set<std::string>& names) {
  for (const auto& [name, unused] : known) names.insert(name);
}

}  // namespace

StoreUpdate EtcdView::take(bool complete) {
  if (complete) {
    told_nodes_.clear();
    told_policies_.clear();
    told_silent_.clear();
    insert_names(nodes_, dirty_nodes_);
    insert_names(policies_, dirty_policies_);
  }
  StoreUpdate update;
  update.complete = complete;
  update.went_back = std::exchange(went_back_, {});
  tell(dirty_nodes_, nodes_, told_nodes_, update.changes);
  tell_liveness(update);
  tell(dirty_policies_, policies_, told_policies_, update.policies);
  dirty_nodes_.clear();
  dirty_policies_.clear();
  return update;
}

// Of nodes with a record only. A sign of life beats a mark that says it is silent.
void EtcdView::tell_liveness(StoreUpdate& update) {
  for (const std::string& name : dirty_nodes_) {
    const auto before = told_silent_.find(name);
    if (!nodes_.contains(name)) {
      if (before != told_silent_.end()) told_silent_.erase(before);
      continue;
    }
    const Mark* mark = silent(name);
    if (mark == nullptr && live(name) == nullptr) continue;  // nobody has said anything
    std::optional<WallTime> since;
    if (live(name) == nullptr) since = mark->since;
    if (before != told_silent_.end() && before->second == since) continue;
    told_silent_[name] = since;
    update.liveness.push_back({name, since});
  }
}

}  // namespace mesh
