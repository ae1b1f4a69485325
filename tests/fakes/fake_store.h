// A store in memory: the test writes records, and says when they are seen. Nothing happens on its
// own and no thread is started: every update is delivered on the caller's thread, inside the call
// that makes it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mesh/node_store.h"

namespace mesh::test {

class FakeStore final : public NodeStore {
 public:
  // --- NodeStore ---
  void start(Sink sink) override {
    sink_ = std::move(sink);
    if (answers_) deliver_all();
  }
  // Written at once when the store answers, else when it is back.
  void publish(NodeRecord record) override {
    if (published_ && *published_ == record && !wants_write_) return;
    ++publications_;
    published_ = std::move(record);
    wants_write_ = true;
    write_published();
  }
  void stop() override { sink_ = nullptr; }

  // --- the test's side ---
  void put(NodeRecord record) {
    const std::string name = record.name;
    change(name, std::make_shared<const StoreEntry>(std::move(record)));
  }
  void put_bad(const std::string& name, std::string message) {
    change(name, std::make_shared<const StoreEntry>(BadRecord{std::move(message)}));
  }
  void remove(const std::string& name) { change(name, nullptr); }
  void put_policy(const EncryptionPolicy& policy) {
    change_policy(policy.name, std::make_shared<const PolicyEntry>(policy));
  }
  void put_bad_policy(const std::string& name, std::string message) {
    change_policy(name, std::make_shared<const PolicyEntry>(BadRecord{std::move(message)}));
  }
  void remove_policy(const std::string& name) { change_policy(name, nullptr); }
  // Empty: the node lives.
  void say_silent(const std::string& name, std::optional<WallTime> since) {
    StoreUpdate update{true, "", false, {}};
    update.liveness.push_back({name, since});
    send(std::move(update));
  }
  void forget(const std::string& name) override { forgotten_.push_back(name); }
  const std::vector<std::string>& forgotten() const { return forgotten_; }
  void go_out(std::string error) {
    answers_ = false;
    send({false, std::move(error), false, {}});
  }
  void come_back() {
    answers_ = true;
    write_published();
    deliver_all();
  }
  // It answers, but does not take what is published.
  void refuse(std::string error) {
    refusal_ = std::move(error);
    send({true, refusal_, false, {}});
  }
  void accept() {
    refusal_.clear();
    write_published();
    deliver_all();
  }
  // Emptied behind everybody's back: what it holds now is all there is.
  void go_back(std::string why) {
    entries_.clear();
    policies_.clear();
    published_.reset();
    StoreUpdate update{true, "", true, {}};
    update.went_back = std::move(why);
    send(std::move(update));
  }
  // Everything again, as after a lost watch.
  void deliver_all() {
    StoreUpdate update{true, "", true, {}};
    for (const auto& [name, entry] : entries_) update.changes.push_back({name, entry});
    for (const auto& [name, entry] : policies_) update.policies.push_back({name, entry});
    send(std::move(update));
  }

  const std::optional<NodeRecord>& published() const { return published_; }
  int publications() const { return publications_; }
  const NodeRecord* record(const std::string& name) const {
    const auto found = entries_.find(name);
    return found == entries_.end() ? nullptr : std::get_if<NodeRecord>(found->second.get());
  }

 private:
  void change(const std::string& name, std::shared_ptr<const StoreEntry> entry) {
    if (entry) {
      entries_[name] = entry;
    } else {
      entries_.erase(name);
    }
    if (answers_) send({true, refusal_, false, {{name, std::move(entry)}}});
  }
  void change_policy(const std::string& name, std::shared_ptr<const PolicyEntry> entry) {
    if (entry) {
      policies_[name] = entry;
    } else {
      policies_.erase(name);
    }
    if (answers_) send({true, "", false, {}, {{name, std::move(entry)}}});
  }
  void write_published() {
    if (!answers_ || !refusal_.empty() || !wants_write_ || !published_) return;
    wants_write_ = false;
    put(*published_);
  }
  void send(StoreUpdate update) {
    if (sink_) sink_(std::move(update));
  }

  Sink sink_;
  bool answers_ = true;
  std::string refusal_;
  std::map<std::string, std::shared_ptr<const StoreEntry>> entries_;
  std::map<std::string, std::shared_ptr<const PolicyEntry>> policies_;
  std::optional<NodeRecord> published_;
  bool wants_write_ = false;
  int publications_ = 0;
  std::vector<std::string> forgotten_;
};

}  // namespace mesh::test
