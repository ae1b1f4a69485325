// DirectoryView: what is known of the records in one NodeDirectory, and how it changes.
//
// Remembers what was read, so that unchanged content is no change and an unchanged file is not read
// again. Not a thread and not a clock of its own: DirectoryStore's thread drives it. The entries
// outlive an outage: a complete scan afterwards reads only what is new.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mesh/clock.h"
#include "mesh/node_store.h"
#include "meshd/store/node_directory.h"
#include "meshd/store/record_file.h"

namespace mesh {

class DirectoryView {
 public:
  // By node: what was read last counts, and is delivered once.
  using Changes = std::map<std::string, std::shared_ptr<const StoreEntry>>;

  explicit DirectoryView(Duration settle) : settle_(settle) {}

  // Each function that reads adds what changed to `changes`; its error means that the directory
  // itself cannot be read now, and that nothing has been concluded from that.

  // Reads everything; `changes` becomes the whole store. What is not there is gone.
  Result<void> read_all(const NodeDirectory& directory, Changes& changes);
  // Reads what changed since. What vanished, or was written just now, waits until it has settled.
  Result<void> rescan(const NodeDirectory& directory, MonotonicTime now, Changes& changes);
  // Somebody has finished writing `file`: read it now.
  Result<void> written(const NodeDirectory& directory, const std::string& file, MonotonicTime now,
                       Changes& changes);
  // `file` appeared or vanished: read it when it has settled.
  void unsettled(const std::string& file, MonotonicTime now);
  // Reads the files that have settled.
  Result<void> settle(const NodeDirectory& directory, MonotonicTime now, Changes& changes);
  // When settle() has work; empty: it has none.
  std::optional<MonotonicTime> next_settled() const;

  // The file of this node's own record, whose stale temporary files are removed by the scans.
  void set_own_file(const std::string& file) { own_file_ = file; }

 private:
  struct Known {
    std::shared_ptr<const StoreEntry> entry;
    std::optional<FileSignature> signature;  // empty: too young to be trusted
  };

  Result<std::vector<std::string>> list_records(const NodeDirectory& directory) const;
  void remove_if_stale(const NodeDirectory& directory, const std::string& temporary) const;
  bool is_unchanged(const std::string& file, const std::optional<FileSignature>& signature) const;
  bool is_young(const std::optional<FileSignature>& signature, Duration age) const;
  enum class Removal { kSettled, kToSettle };
  Result<void> read(const NodeDirectory& directory, const std::string& file, Removal removal,
                    MonotonicTime now, Changes& changes);
  void forget(const std::string& file, Changes& changes);

  Duration settle_;
  std::string own_file_;
  std::map<std::string, Known> known_;              // by file name
  std::map<std::string, MonotonicTime> unsettled_;  // by file name: when it will have settled
};

}  // namespace mesh
