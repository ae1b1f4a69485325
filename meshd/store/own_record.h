// OwnRecordFile: makes this node's file equal to the record that was published last. One thread.
#pragma once

#include <optional>
#include <random>
#include <string>

#include "mesh/clock.h"
#include "mesh/node_record.h"
#include "meshd/store/store_folder.h"

namespace mesh {

class OwnRecordFile {
 public:
  // Pauses between attempts: `first`, doubled each time up to `cap`, less a random part, so that
  // the nodes on a shared file system that comes back do not all write at once.
  OwnRecordFile(Duration first, Duration cap) : first_(first), cap_(cap), pause_(first) {}

  void set(NodeRecord record, MonotonicTime now);
  // When write() should be called; empty: nothing to do.
  std::optional<MonotonicTime> due() const { return due_; }
  // Writes when it is due and the file does not hold the record already. Annotations in the file
  // that are not meshd's are kept. True: the file was written.
  bool write(const StoreFolder& nodes, MonotonicTime now);
  // The store is back: no reason to wait any longer.
  void retry_now(MonotonicTime now);

  std::string file() const { return record_ ? record_->name + ".yaml" : std::string(); }
  // Why the last attempt failed; "" when it did not.
  const std::string& problem() const { return problem_; }

 private:
  Result<bool> try_write(const StoreFolder& nodes) const;

  Duration first_;
  Duration cap_;
  Duration pause_;
  std::minstd_rand random_{std::random_device{}()};
  std::optional<NodeRecord> record_;
  std::optional<MonotonicTime> due_;
  std::string problem_;
};

}  // namespace mesh
