// SnapshotKeeper: when the last good records and policies are used, and when they are written down.
// Loop thread only.
//
// Used once, when the store is out at the start; given up when it answers. Written when the store
// has answered with all it holds, if they changed, and not more often than every few seconds: what
// is on disk is never replaced by less than a whole answer.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/backoff.h"
#include "core/mesh_model.h"
#include "mesh/clock.h"
#include "meshd/daemon/config.h"
#include "meshd/daemon/problems.h"
#include "meshd/store/snapshot.h"

namespace mesh {

// What the keeper needs of the outside.
struct SnapshotPort {
  std::optional<Snapshot> found;              // at the start
  std::string damage;                         // why what was there is not used; "": nothing
  std::function<void(Snapshot)> save;         // returns at once; none: no snapshot is kept
  std::function<std::string()> save_problem;  // why the last save failed; "" when it did not
};

// Which store the configuration names, for the snapshot.
StoreIdentity store_identity(const Config& config);

// Gives the model the records of the snapshot, as of a store that does not answer.
void restore_snapshot(MeshModel& model, const Snapshot& snapshot, Instant now);
// Tells the model who was encrypted in an earlier run; before any record.
void remember_snapshot(MeshModel& model, const Snapshot& snapshot);

class SnapshotKeeper {
 public:
  // If the store has said nothing at all for so long after the start, it is out.
  static constexpr Duration kPatience = std::chrono::seconds(2);
  // From a change to writing it down, so that changes that come together are written once; and
  // between two writings, longer while they follow each other: a host that reboots before has
  // forgotten who was encrypted.
  static constexpr Duration kSettle = std::chrono::milliseconds(200);
  static constexpr Duration kFirstPause = std::chrono::milliseconds(500);
  static constexpr Duration kLongestPause = std::chrono::seconds(5);
  static constexpr Duration kQuiet = std::chrono::seconds(10);  // after which the first is next

  SnapshotKeeper(SnapshotPort port, StoreIdentity store, Problems& problems);

  // At the start: who was encrypted, and the policies, which counts whether or not the store
  // answers.
  void tell(MeshModel& model) const;
  void on_store_update(const StoreUpdate& update);
  // Gives the model the records of the snapshot if the store is out and has not answered before.
  void feed(MeshModel& model, Instant now);
  // A record, or what is sent through WireGuard, may have changed.
  void touch() { touched_ = true; }
  // Writes down what is due. `at_once`: at an orderly stop.
  void keep(const MeshModel& model, Instant now, bool at_once = false);
  // When to call again if nothing else happens.
  std::optional<MonotonicTime> next() const;

  // When the records in force were written down; empty: they are the store's own.
  std::optional<WallTime> in_force() const { return in_force_; }
  std::string warning(WallTime now) const;  // what to say of that; "" when there is nothing

 private:
  SnapshotPort port_;
  StoreIdentity store_;
  Problems& problems_;
  Snapshot written_;  // what it holds, as it was written last
  bool nothing_written_ = true;
  std::optional<MonotonicTime> patient_until_;
  bool store_out_ = false;
  bool complete_ = false;  // the store has said all it holds
  bool touched_ = false;
  std::optional<MonotonicTime> due_;
  MonotonicTime not_before_{};
  Backoff pause_{kFirstPause, kLongestPause};
  std::optional<WallTime> in_force_;
};

}  // namespace mesh
