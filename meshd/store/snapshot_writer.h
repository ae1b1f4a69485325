// SnapshotWriter: writes snapshots on a thread of its own, so that neither 10,000 records nor a
// disk that hangs hold up the loop: 10,000 records are 4.4 MB, and cost 85 ms of a processor to
// format and to write, and 125 ms to read at the start, but 0.2 ms of the loop
// (tests/bench/snapshot_bench).
//
// save() and problem() from any thread; start to stop on one. A write that fails is tried again
// with back-off.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "mesh/clock.h"
#include "meshd/store/snapshot.h"

namespace mesh {

class SnapshotWriter {
 public:
  explicit SnapshotWriter(std::filesystem::path path);  // starts the thread
  SnapshotWriter(const SnapshotWriter&) = delete;
  SnapshotWriter& operator=(const SnapshotWriter&) = delete;
  ~SnapshotWriter();

  void save(Snapshot snapshot);  // returns at once; the last one wins
  // Why the last attempt failed; "" when it did not.
  std::string problem() const;
  // Writes what waits, trying once, and ends the thread. Idempotent.
  void stop();

 private:
  void work();

  std::filesystem::path path_;
  mutable std::mutex mutex_;  // guards the four below
  std::condition_variable wake_;
  std::optional<Snapshot> waiting_;
  std::string problem_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace mesh
