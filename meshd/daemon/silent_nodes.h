// SilentNodes: which nodes give no sign of life in the store, and which of them are forgotten.
//
// Pure but for its state; loop thread. A node's record is forgotten when the store has heard
// nothing of it for `forget_after`, its tunnel has answered nothing that long, and it does not
// answer when it is asked once more (an idle tunnel says nothing by itself). Silence never changes
// a data path: only the record's removal does, by the store's own word.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/mesh_model.h"
#include "core/mirror.h"
#include "mesh/clock.h"
#include "mesh/node_store.h"

namespace mesh {

class SilentNodes {
 public:
  // From asking a silent node to giving it up: a handshake takes up to REKEY_ATTEMPT_TIME (90 s).
  static constexpr Duration kAnswersWithin = std::chrono::seconds(100);
  // Each node acts at another moment of this, so that one does what all have found.
  static constexpr Duration kSpread = std::chrono::seconds(60);
  // A tunnel that was heard this recently belongs to a node that lives (REJECT_AFTER_TIME).
  static constexpr Duration kLives = std::chrono::seconds(180);

  void on_store_update(const StoreUpdate& update);

  // What the store says of a node: "alive", or since when it is not; nothing of most nodes of most
  // stores.
  const std::optional<WallTime>* told(const std::string& node) const {
    const auto found = told_.find(node);
    return found == told_.end() ? nullptr : &found->second;
  }

  struct Acts {
    std::vector<std::string> ask;     // send a keepalive: it starts a handshake where one is due
    std::vector<std::string> forget;  // ask the store to remove the record
  };
  // `forget_after` zero: nobody is forgotten. Call it only while the store answers.
  Acts decide(const MeshModel& model, const Mirror& mirror, Duration forget_after, Instant now);
  // When to call decide() again if nothing else happens.
  std::optional<MonotonicTime> next() const { return next_; }

  // Why an operator should not delete the record of `node`: it lives. "": nothing says so.
  std::string signs_of_life(const std::string& node, const MeshModel& model, const Mirror& mirror,
                            WallTime now) const;

 private:
  std::map<std::string, std::optional<WallTime>> told_;  // by the store; empty: it lives
  std::map<std::string, MonotonicTime> asked_;
  std::optional<MonotonicTime> next_;
};

}  // namespace mesh
