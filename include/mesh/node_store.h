// NodeStore: the port behind which directory, etcd and Kubernetes stand.
//
// A store runs its own thread, so that a hung server never stalls the loop. It posts immutable
// updates; whoever made it owns the decisions. A store never removes, never decides, never retries
// a *decision*; it only says what it sees.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "mesh/clock.h"
#include "mesh/node_record.h"
#include "mesh/policy.h"

namespace mesh {

// A record that exists and cannot be read. `message` names the place (file, line, column where
// known) and the remedy.
struct BadRecord {
  std::string message;
  friend bool operator==(const BadRecord&, const BadRecord&) = default;
};

using StoreEntry = std::variant<NodeRecord, BadRecord>;

struct StoreChange {
  std::string node;
  std::shared_ptr<const StoreEntry> entry;  // null: the record is gone
};

using PolicyEntry = std::variant<EncryptionPolicy, BadRecord>;

struct PolicyChange {
  std::string policy;
  std::shared_ptr<const PolicyEntry> entry;  // null: the policy is gone
};

// A node's sign of life in the store (etcd: a key under a lease). It never changes its data path.
struct LivenessChange {
  std::string node;
  std::optional<WallTime> silent_since;  // empty: it is alive
};

// One batch of what the store saw. Updates are delivered in order.
struct StoreUpdate {
  bool in_sync = false;  // the store answers and everything it holds has been delivered up to here
  std::string
      error;  // why not in sync, or why the own record could not be written; "" when all is well
  // `changes` and `policies` are the whole store: what is known and not in it is gone.
  bool complete = false;
  std::vector<StoreChange> changes = {};
  std::vector<PolicyChange> policies = {};
  std::vector<LivenessChange> liveness = {};  // empty in stores without one
  // How it is known that the store holds an earlier state than what was told before, or is another
  // one: it was emptied, or restored from a backup. "": nothing says so.
  std::string went_back = {};
};

class NodeStore {
 public:
  using Sink = std::function<void(StoreUpdate)>;  // called on the store's thread; must not block

  virtual ~NodeStore() = default;  // stops first

  // Starts the thread. Never fails for an absent store: that is an update with in_sync = false, and
  // the store goes on trying.
  virtual void start(Sink sink) = 0;
  // Makes the own record equal to `record`; any thread; returns at once. The last call wins and is
  // retried, with back-off, until it is written. Writes nothing when the store already holds an
  // equal record.
  virtual void publish(NodeRecord record) = 0;
  // Removes the record of a node that has been silent for long, unless it shows life again before
  // that is done; any thread; returns at once. Stores whose records have another owner (a person, a
  // kubelet) do nothing.
  virtual void forget(const std::string& node) { (void)node; }
  // Ends the thread; no update is delivered after it returns. Idempotent.
  virtual void stop() = 0;
};

}  // namespace mesh
