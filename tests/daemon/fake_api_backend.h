// A daemon as the API sees it: tests set what it says and read what it was asked.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/sample_status.h"
#include "meshd/daemon/api_server.h"

namespace mesh::test {

class FakeApiBackend : public ApiBackend {
 public:
  std::shared_ptr<const Status> status() override {
    const std::lock_guard lock(mutex_);
    return status_;
  }
  ServiceHealth health() override {
    const std::lock_guard lock(mutex_);
    return health_;
  }
  Result<std::string> command(std::string_view name, const nlohmann::json& arguments) override {
    std::unique_lock lock(mutex_);
    commands_.push_back({std::string(name), arguments});
    if (on_command_) on_command_(commands_.size(), status_);
    changed_.notify_all();
    changed_.wait(lock, [this] { return !held_; });
    return answer_;
  }

  void set_status(std::optional<Status> status) {
    const std::lock_guard lock(mutex_);
    status_ = status ? std::make_shared<const Status>(*std::move(status)) : nullptr;
  }
  void set_health(ServiceHealth health) {
    const std::lock_guard lock(mutex_);
    health_ = std::move(health);
  }
  void set_answer(Result<std::string> answer) {
    const std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
  }
  // What the n-th command makes of the status.
  using StatusPointer = std::shared_ptr<const Status>;
  void on_command(std::function<void(std::size_t n, StatusPointer& status)> act) {
    const std::lock_guard lock(mutex_);
    on_command_ = std::move(act);
  }
  // While held, commands do not return.
  void hold(bool held) {
    const std::lock_guard lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }
  void wait_for_commands(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return commands_.size() >= count; });
  }
  std::vector<std::pair<std::string, nlohmann::json>> commands() {
    const std::lock_guard lock(mutex_);
    return commands_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<const Status> status_ = std::make_shared<const Status>(sample_status());
  ServiceHealth health_{true, true, ""};
  Result<std::string> answer_{std::string("done")};
  bool held_ = false;
  std::function<void(std::size_t, StatusPointer&)> on_command_;
  std::vector<std::pair<std::string, nlohmann::json>> commands_;
};

}  // namespace mesh::test
