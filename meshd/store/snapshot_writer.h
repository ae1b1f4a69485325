// SnapshotWriter: writes snapshots on a thread of its own, so that neither 10,000 records nor a
// disk that hangs hold up the loop: 10,000 records are 4.4 MB, and cost 85 ms of a processor to
// format and to write, and 125 ms to read at the start, but 0.2 ms of the loop
// (tests/bench/snapshot_bench).
//
// Threads as those of SaveThread.
#pragma once

#include <filesystem>
#include <string>

#include "meshd/store/save_thread.h"
#include "meshd/store/snapshot_file.h"

namespace mesh {

class SnapshotWriter {
 public:
  explicit SnapshotWriter(std::filesystem::path path) : path_(std::move(path)) {}

  void save(Snapshot snapshot) {
    thread_.save(
        [path = path_, snapshot = std::move(snapshot)] { return save_snapshot(path, snapshot); });
  }
  std::string problem() const { return thread_.problem(); }
  void stop() { thread_.stop(); }

 private:
  std::filesystem::path path_;
  SaveThread thread_;
};

}  // namespace mesh
