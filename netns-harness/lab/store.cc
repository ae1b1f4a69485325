#include "lab/store.h"

#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>

#include "lab/error.h"
#include "lab/process.h"

namespace mesh::lab {
namespace {

namespace fs = std::filesystem;
constexpr milliseconds kRelayInterval(10);

}  // namespace

RecordStore::RecordStore(std::string path) : path_(std::move(path)) {
  fs::create_directories(path_);
}

std::string RecordStore::file_of(const std::string& node) const {
  return path_ + "/nodes/" + node + ".yaml";
}

bool RecordStore::has(const std::string& node) const { return fs::exists(file_of(node)); }

std::string RecordStore::read(const std::string& node) const { return read_file(file_of(node)); }

void RecordStore::write(const std::string& node, const std::string& text) const {
  static std::atomic<unsigned> counter{0};
  fs::create_directories(path_ + "/nodes");
  const std::string temporary =
      fmt::format("{}/nodes/.lab-{}-{}", path_, ::getpid(), counter.fetch_add(1));
  write_file(temporary, text);
  check(::rename(temporary.c_str(), file_of(node).c_str()), "rename to " + file_of(node));
}

void RecordStore::remove(const std::string& node) const {
  std::error_code ignored;
  fs::remove(file_of(node), ignored);
}

std::vector<std::string> RecordStore::nodes() const {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(path_ + "/nodes", ignored))
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  return names;
}

void RecordStore::set_annotation(const std::string& node, const std::string& key,
                                 const std::string& value) const {
  YAML::Node record = YAML::Load(read(node));
  if (value.empty())
    record["annotations"].remove(key);
  else
    record["annotations"][key] = value;
  write(node, YAML::Dump(record) + "\n");
}

std::string RecordStore::annotation(const std::string& node, const std::string& key) const {
  const YAML::Node record = YAML::Load(read(node));
  const YAML::Node value = record["annotations"] ? record["annotations"][key] : YAML::Node();
  return value && value.IsScalar() ? value.as<std::string>() : "";
}

StoreRelay::StoreRelay(std::map<std::string, RecordStore> stores)
    : stores_(std::move(stores)), thread_([this] { work(); }) {}

StoreRelay::~StoreRelay() {
  {
    const std::lock_guard guard(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void StoreRelay::delay(const std::string& node, milliseconds by) {
  const std::lock_guard guard(mutex_);
  delays_[node] = by;
}

void StoreRelay::pause(const std::string& node, bool paused) {
  const std::lock_guard guard(mutex_);
  paused_[node] = paused;
}

void StoreRelay::work() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    const auto now = Clock::now();
    notice_news(now);
    deliver_due(now);
    wake_.wait_for(lock, kRelayInterval, [this] { return ending_; });
  }
}

void StoreRelay::notice_news(Clock::time_point now) {
  for (const auto& [node, store] : stores_) {
    if (paused_[node]) continue;
    std::string text = store.read(node);
    if (text == published_[node]) continue;
    for (const auto& [other, unused] : stores_)
      if (other != node) under_way_.push_back({now + delays_[other], other, node, text});
    published_[node] = std::move(text);
  }
}

void StoreRelay::deliver_due(Clock::time_point now) {
  std::vector<Delivery> later;
  for (auto& delivery : under_way_) {
    if (delivery.due > now || paused_[delivery.to]) {
      later.push_back(std::move(delivery));
    } else if (delivery.text.empty()) {
      stores_.at(delivery.to).remove(delivery.record);
    } else {
      stores_.at(delivery.to).write(delivery.record, delivery.text);
    }
  }
  under_way_ = std::move(later);
}

}  // namespace mesh::lab
