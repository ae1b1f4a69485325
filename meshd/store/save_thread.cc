#include "meshd/store/save_thread.h"

#include <algorithm>
#include <utility>

#include "mesh/clock.h"

namespace mesh {
namespace {

constexpr Duration kFirstPause = std::chrono::seconds(1);
constexpr Duration kLongestPause = std::chrono::minutes(1);

}  // namespace

SaveThread::SaveThread() : thread_([this] { work(); }) {}

SaveThread::~SaveThread() { stop(); }

void SaveThread::save(Save save) {
  {
    const std::lock_guard lock(mutex_);
    waiting_ = std::move(save);
  }
  wake_.notify_one();
}

std::string SaveThread::problem() const {
  const std::lock_guard lock(mutex_);
  return problem_;
}

void SaveThread::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void SaveThread::work() {
  Duration pause = kFirstPause;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return waiting_ || stopping_; });
    if (!waiting_) return;
    Save save = std::exchange(waiting_, nullptr);
    const bool last = stopping_;
    lock.unlock();
    auto saved = save();
    lock.lock();
    problem_ = saved ? "" : saved.error().message;
    if (saved) {
      pause = kFirstPause;
      continue;
    }
    if (!waiting_) waiting_ = std::move(save);
    if (last) return;
    wake_.wait_for(lock, pause, [this] { return stopping_; });
    pause = std::min(pause * 2, kLongestPause);
  }
}

}  // namespace mesh
