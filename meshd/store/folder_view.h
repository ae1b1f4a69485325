// FolderView: what is known of the records in one StoreFolder, and how it changes.
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
#include <variant>
#include <vector>

#include "mesh/clock.h"
#include "mesh/node_store.h"
#include "meshd/store/record_file.h"
#include "meshd/store/store_folder.h"

namespace mesh {

template <class Value>
class FolderView {
 public:
  using Entry = std::variant<Value, BadRecord>;
  // By name: what was read last counts, and is delivered once.
  using Changes = std::map<std::string, std::shared_ptr<const Entry>>;

  FolderView(Duration settle, const RecordKind<Value>& kind) : settle_(settle), kind_(kind) {}

  // Each function that reads adds what changed to `changes`; its error means that the directory
  // itself cannot be read now, and that nothing has been concluded from that.

  // Reads everything; `changes` becomes all that is known. What is not there is gone, but for a
  // folder that is missing as a whole: what it held has to settle first.
  Result<void> read_all(const StoreFolder& folder, MonotonicTime now, Changes& changes);
  // Reads what changed since. What vanished, or was written just now, waits until it has settled.
  Result<void> rescan(const StoreFolder& folder, MonotonicTime now, Changes& changes);
  // Somebody has finished writing `file`: read it now.
  Result<void> written(const StoreFolder& folder, const std::string& file, MonotonicTime now,
                       Changes& changes);
  // `file` appeared or vanished: read it when it has settled.
  void unsettled(const std::string& file, MonotonicTime now);
  // Reads the files that have settled.
  Result<void> settle(const StoreFolder& folder, MonotonicTime now, Changes& changes);
  // When settle() has work; empty: it has none.
  std::optional<MonotonicTime> next_settled() const;

  // The file of this node's own record, whose stale temporary files are removed by the scans.
  void set_own_file(const std::string& file) { own_file_ = file; }

 private:
  struct Known {
    std::shared_ptr<const Entry> entry;
    std::optional<FileSignature> signature;  // empty: too young to be trusted
  };

  Result<std::optional<Entry>> read_entry(const StoreFolder& folder, const std::string& file) const;
  Result<std::vector<std::string>> list_records(const StoreFolder& folder) const;
  void remove_if_stale(const StoreFolder& folder, const std::string& temporary) const;
  bool is_unchanged(const std::string& file, const std::optional<FileSignature>& signature) const;
  bool is_young(const std::optional<FileSignature>& signature, Duration age) const;
  enum class Removal { kSettled, kToSettle };
  Result<void> read(const StoreFolder& folder, const std::string& file, Removal removal,
                    MonotonicTime now, Changes& changes);
  void forget(const std::string& file, Changes& changes);

  Duration settle_;
  RecordKind<Value> kind_;
  std::string own_file_;
  std::map<std::string, Known> known_;              // by file name
  std::map<std::string, MonotonicTime> unsettled_;  // by file name: when it will have settled
};

extern template class FolderView<NodeRecord>;
extern template class FolderView<EncryptionPolicy>;

}  // namespace mesh
