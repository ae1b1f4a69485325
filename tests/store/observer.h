// Observer: a sink that keeps the store as an observer of its updates knows it, and lets a test
// wait for a state instead of sleeping. Checks on the way what every update must keep to.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "mesh/node_store.h"

namespace mesh::testing {

// What an observer knows. Only ever looked at under the Observer's lock.
struct Observed {
  std::map<std::string, StoreEntry> entries;
  std::set<std::string> ever_gone;  // nodes that were said to be gone, at any time
  std::map<std::string, PolicyEntry> policies;
  std::set<std::string> policies_ever_gone;
  std::map<std::string, std::optional<WallTime>> liveness;  // as last told
  bool in_sync = false;
  std::string error;
  std::string errors;     // all that were told
  std::string went_back;  // likewise
  int updates = 0;
  int completes = 0;
  int changes = 0;  // of all updates that were not complete

  const NodeRecord* record(const std::string& node) const {
    const auto found = entries.find(node);
    return found == entries.end() ? nullptr : std::get_if<NodeRecord>(&found->second);
  }
  const BadRecord* bad(const std::string& node) const {
    const auto found = entries.find(node);
    return found == entries.end() ? nullptr : std::get_if<BadRecord>(&found->second);
  }
  bool has(const std::string& node) const { return entries.contains(node); }
  bool is_silent(const std::string& node) const {
    const auto found = liveness.find(node);
    return found != liveness.end() && found->second.has_value();
  }
  const EncryptionPolicy* policy(const std::string& name) const {
    const auto found = policies.find(name);
    return found == policies.end() ? nullptr : std::get_if<EncryptionPolicy>(&found->second);
  }
  const BadRecord* bad_policy(const std::string& name) const {
    const auto found = policies.find(name);
    return found == policies.end() ? nullptr : std::get_if<BadRecord>(&found->second);
  }
};

class Observer {
 public:
  // Far beyond what anything takes, under sanitizers on a busy machine too.
  static constexpr auto kPatience = std::chrono::seconds(60);

  NodeStore::Sink sink() {
    return [this](StoreUpdate update) { take(update); };
  }

  // False, and a failure of the test, when it does not come true.
  bool wait(const std::string& what, const std::function<bool(const Observed&)>& condition) {
    std::unique_lock lock(mutex_);
    const bool came = changed_.wait_for(lock, kPatience, [&] { return condition(observed_); });
    EXPECT_TRUE(came) << "never seen: " << what << "; in sync: " << observed_.in_sync
                      << ", error: " << observed_.error
                      << ", records: " << observed_.entries.size();
    return came;
  }

  bool wait_in_sync() {
    return wait("in sync", [](const Observed& seen) { return seen.in_sync; });
  }
  bool wait_out() {
    return wait("out", [](const Observed& seen) { return seen.updates > 0 && !seen.in_sync; });
  }
  bool wait_record(const NodeRecord& record) {
    return wait("record of " + record.name, [&](const Observed& seen) {
      const NodeRecord* found = seen.record(record.name);
      return found != nullptr && *found == record;
    });
  }
  bool wait_gone(const std::string& node) {
    return wait(node + " gone", [&](const Observed& seen) { return !seen.has(node); });
  }
  bool wait_policy(const EncryptionPolicy& policy) {
    return wait("policy " + policy.name, [&](const Observed& seen) {
      const EncryptionPolicy* found = seen.policy(policy.name);
      return found != nullptr && *found == policy;
    });
  }
  bool wait_policy_gone(const std::string& name) {
    return wait("policy " + name + " gone",
                [&](const Observed& seen) { return !seen.policies.contains(name); });
  }
  bool wait_bad(const std::string& node) {
    return wait(node + " bad", [&](const Observed& seen) { return seen.bad(node) != nullptr; });
  }

  bool wait_silent(const std::string& node, bool silent = true) {
    return wait(node + (silent ? " silent" : " alive"), [&](const Observed& seen) {
      return seen.liveness.contains(node) && seen.is_silent(node) == silent;
    });
  }

  // Runs `action` while the store's thread, at its next update, waits for it to end.
  void held(const std::function<void()>& action) {
    const std::lock_guard lock(mutex_);
    action();
  }
  // Runs `action` while the store's thread waits for it to end, with the update that `cause` makes
  // in its hands and none of what comes after.
  void held(const std::function<void()>& cause, const std::function<void()>& action) {
    const std::lock_guard lock(mutex_);
    const int before = arrivals_;
    cause();
    while (arrivals_ == before) std::this_thread::yield();
    action();
  }

  Observed now() {
    const std::lock_guard lock(mutex_);
    return observed_;
  }

 private:
  void take(const StoreUpdate& update) {
    ++arrivals_;
    const std::lock_guard lock(mutex_);
    check(update);
    take(update.complete, update.changes, &StoreChange::node, observed_.entries,
         observed_.ever_gone);
    take(update.complete, update.policies, &PolicyChange::policy, observed_.policies,
         observed_.policies_ever_gone);
    if (update.complete)
      ++observed_.completes;
    else
      observed_.changes += static_cast<int>(update.changes.size());
    for (const LivenessChange& change : update.liveness)
      observed_.liveness[change.node] = change.silent_since;
    observed_.in_sync = update.in_sync;
    observed_.error = update.error;
    if (!update.error.empty()) observed_.errors += update.error + "\n";
    if (!update.went_back.empty()) observed_.went_back += update.went_back + "\n";
    ++observed_.updates;
    changed_.notify_all();
  }

  void check(const StoreUpdate& update) const {
    EXPECT_TRUE(update.in_sync || !update.complete) << "complete, and yet not in sync";
    EXPECT_TRUE(update.in_sync || !update.error.empty()) << "out without a reason";
    EXPECT_TRUE(!update.in_sync || observed_.in_sync || update.complete)
        << "in sync (again) without the whole store";
    EXPECT_EQ(update.error.find('\n'), std::string::npos) << "one line: " << update.error;
    EXPECT_TRUE(update.complete || (update.changes.empty() && update.policies.empty()) ||
                observed_.completes > 0)
        << "a change before the first complete update";
    EXPECT_TRUE(update.in_sync || update.went_back.empty()) << "of a store that does not answer";
    const bool says_something =
        update.complete || !update.went_back.empty() || !update.changes.empty() ||
        !update.policies.empty() || !update.liveness.empty() || observed_.updates == 0 ||
        update.in_sync != observed_.in_sync || update.error != observed_.error;
    EXPECT_TRUE(says_something) << "an update that says nothing new";
    check(update, update.changes, &StoreChange::node);
    check(update, update.policies, &PolicyChange::policy);
  }

  template <class Change>
  static void check(const StoreUpdate& update, const std::vector<Change>& changes,
                    std::string Change::*name) {
    std::set<std::string> names;
    for (const Change& change : changes) {
      EXPECT_TRUE(names.insert(change.*name).second) << change.*name << " twice in one update";
      if (change.entry != nullptr) continue;
      EXPECT_TRUE(update.in_sync) << change.*name << " gone by an update that is not in sync";
      EXPECT_FALSE(update.complete) << "a complete update says gone by leaving out";
    }
  }

  template <class Change, class Entry>
  static void take(bool complete, const std::vector<Change>& changes, std::string Change::*name,
                   std::map<std::string, Entry>& entries, std::set<std::string>& ever_gone) {
    std::map<std::string, Entry> before;
    if (complete) before.swap(entries);
    for (const Change& change : changes) {
      const std::string& key = change.*name;
      if (change.entry == nullptr) {
        EXPECT_EQ(entries.erase(key), 1U) << key << " was not known";
        ever_gone.insert(key);
        continue;
      }
      const auto known = entries.find(key);
      EXPECT_FALSE(known != entries.end() && known->second == *change.entry)
          << key << ": a change that changes nothing";
      entries.insert_or_assign(key, *change.entry);
    }
    for (const auto& [key, entry] : before)
      if (!entries.contains(key)) ever_gone.insert(key);
  }

  std::mutex mutex_;
  std::atomic<int> arrivals_ = 0;  // updates that came, taken or not
  std::condition_variable changed_;
  Observed observed_;
};

// A store with its observer, started; stopped before the observer dies.
class ObservedStore {
 public:
  explicit ObservedStore(std::unique_ptr<NodeStore> store) : store_(std::move(store)) {
    store_->start(observer_.sink());
  }
  NodeStore* operator->() { return store_.get(); }
  Observer& seen() { return observer_; }

 private:
  Observer observer_;
  std::unique_ptr<NodeStore> store_;
};

// A record as meshd publishes it.
inline NodeRecord example_record(const std::string& name, const std::string& key = "key") {
  NodeRecord record;
  record.name = name;
  record.addresses = {IpAddress::parse("192.0.2.1").value(),
                      IpAddress::parse("2001:db8::1").value()};
  record.cidrs = {Cidr::parse("10.1.0.0/24").value(), Cidr::parse("fd00:1::/64").value()};
  record.labels = {{"role", "web"}};
  record.annotations = {{std::string(kPublicKeyAnnotation), key},
                        {std::string(kModeAnnotation), "prefer"}};
  return record;
}

}  // namespace mesh::testing
