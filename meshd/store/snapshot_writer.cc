#include "meshd/store/snapshot_writer.h"

#include <algorithm>
#include <utility>

#include "meshd/store/snapshot_file.h"

namespace mesh {
namespace {

constexpr Duration kFirstPause = std::chrono::seconds(1);
constexpr Duration kLongestPause = std::chrono::minutes(1);

}  // namespace

SnapshotWriter::SnapshotWriter(std::filesystem::path path)
    : path_(std::move(path)), thread_([this] { work(); }) {}

SnapshotWriter::~SnapshotWriter() { stop(); }

void SnapshotWriter::save(Snapshot snapshot) {
  {
    const std::lock_guard lock(mutex_);
    waiting_ = std::move(snapshot);
  }
  wake_.notify_one();
}

std::string SnapshotWriter::problem() const {
  const std::lock_guard lock(mutex_);
  return problem_;
}

void SnapshotWriter::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void SnapshotWriter::work() {
  Duration pause = kFirstPause;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return waiting_ || stopping_; });
    if (!waiting_) return;
    Snapshot snapshot = std::move(*waiting_);
    waiting_.reset();
    const bool last = stopping_;
    lock.unlock();
    auto saved = save_snapshot(path_, snapshot);
    lock.lock();
    problem_ = saved ? "" : saved.error().message;
    if (saved) {
      pause = kFirstPause;
      continue;
    }
    if (!waiting_) waiting_ = std::move(snapshot);
    if (last) return;
    wake_.wait_for(lock, pause, [this] { return stopping_; });
    pause = std::min(pause * 2, kLongestPause);
  }
}

}  // namespace mesh
