// DirectoryStore: node records as files `<path>/nodes/<node>.yaml`, encryption policies as files
// `<path>/policies/<policy>.yaml`. For one machine, a lab, or a shared file system. The contract
// ("The directory store") is what its users may rely on.
//
// Threads: a thread of its own reads, watches and writes, and calls the sink; it touches the file
// system only there, so that a file system that hangs stalls neither the caller of publish() nor
// the loop (but stop() waits for the system call that is under way). stop() must not be called from
// the sink.
//
// Cost: one inotify instance and a watch for each directory of the path; per event one small file
// is read; per rescan one stat a file. 5,000 records are read in a fraction of a second.
//
// Never: creates `<path>` or `<path>/policies` (DirectoryAdmin does); follows a symbolic link to a
// record or opens what is not a regular file; says that a record is gone because a directory could
// not be read. A file that vanishes, or that is still being written, is given `settle` before it
// counts: an editor that renames it away and back, and an `rm -r` of the whole store, are not nodes
// that leave, nor policies that are deleted.
#pragma once

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>

#include "mesh/clock.h"
#include "mesh/cost.h"
#include "mesh/node_store.h"

namespace mesh {

struct DirectoryStoreOptions {
  // How often everything is compared, for shared file systems whose remote writes make no events;
  // more seldom where there are so many files that it would take too much of a core.
  Duration rescan = std::chrono::seconds(10);
  // The same where the kernel grants no inotify watch.
  Duration rescan_unwatched = std::chrono::seconds(1);
  // How long a vanished or half-made file may take to come (back) before it counts.
  Duration settle = std::chrono::milliseconds(250);
  // Pauses between attempts to reach an absent store, and to write the own record.
  Duration retry_first = std::chrono::milliseconds(50);
  Duration attach_retry_cap = std::chrono::seconds(1);
  Duration publish_retry_cap = std::chrono::seconds(3);
  bool use_inotify = true;  // false: as on a kernel without watches to spare
};

// Until everything is compared again, after that took `cost` of processor time. Where events tell
// of nearly everything it takes no more than half a percent of a core, as long as that is every
// half minute; where nothing else tells, it is as often as ever.
inline Duration rescan_pause(const DirectoryStoreOptions& options, bool watched, Duration cost) {
  return watched ? pause_after(cost, 200, options.rescan, std::chrono::seconds(30))
                 : std::min(options.rescan, options.rescan_unwatched);
}

class DirectoryStore : public NodeStore {
 public:
  explicit DirectoryStore(const std::filesystem::path& path, DirectoryStoreOptions options = {});
  DirectoryStore(const DirectoryStore&) = delete;
  DirectoryStore& operator=(const DirectoryStore&) = delete;
  DirectoryStore(DirectoryStore&&) = delete;
  DirectoryStore& operator=(DirectoryStore&&) = delete;
  ~DirectoryStore() override;

  void start(Sink sink) override;  // once; after stop() it does nothing
  // Annotations of the present file that are not meshd's (no "meshd.io/") stay in it.
  void publish(NodeRecord record) override;
  void stop() override;

 private:
  class Worker;
  std::unique_ptr<Worker> worker_;
};

}  // namespace mesh
