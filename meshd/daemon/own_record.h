// OwnRecord: keeps this node's record in the store as it should be, and notices when somebody else
// writes it.
//
// Loop thread. Two live daemons that claim one name overwrite each other: each overwriting
// lengthens the pause before the next, and is reported, so that the store is not worn down by the
// fight.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "core/backoff.h"
#include "core/local_node.h"
#include "mesh/node_record.h"

namespace mesh {

// What this node publishes. `problem` is why it has no usable WireGuard although it wants it; ""
// when all is well.
NodeRecord make_own_record(const LocalNode& local, const std::map<std::string, std::string>& labels,
                           const std::string& problem);

class OwnRecord {
 public:
  using Publish = std::function<void(NodeRecord)>;
  // `annotations_only`: the rest of the record is not this node's to write (a Kubernetes Node's).
  explicit OwnRecord(Publish publish, bool annotations_only = false)
      : publish_(std::move(publish)), annotations_only_(annotations_only) {}

  void set(NodeRecord wanted);
  // `stored`: null when the store has none, or an unreadable one; `in_sync`: the store answers now.
  // Returns when to call again; empty: when something changes.
  std::optional<MonotonicTime> reconcile(const NodeRecord* stored, bool in_sync, MonotonicTime now);
  // "" while nobody else writes this node's record.
  const std::string& conflict() const { return conflict_; }

 private:
  bool equal(const NodeRecord& stored, const NodeRecord& mine) const;
  bool is_earlier(const NodeRecord& stored) const;
  void note_overwritten(bool readable);

  Publish publish_;
  bool annotations_only_;
  NodeRecord wanted_;
  std::deque<NodeRecord> earlier_;  // what this node wanted before, and wrote
  bool published_ = false;          // wanted_ was handed to the store
  bool seen_ = false;               // and the store has shown it since
  MonotonicTime publish_again_{};
  bool waiting_ = false;  // until publish_again_, with the record known to be wrong
  int overwritten_ = 0;
  MonotonicTime last_overwritten_{};
  Backoff pause_{std::chrono::milliseconds(250), std::chrono::seconds(30)};  // overwritten
  Backoff late_{std::chrono::milliseconds(250), std::chrono::seconds(30)};   // not shown yet
  std::string conflict_;
};

}  // namespace mesh
