// Policies: all that the store says about encryption, compiled and in the order in which it counts.
//
// Pure; one thread. Of a store that went back (StoreUpdate::went_back) those that it lost stay in
// force. A policy that cannot be read costs itself alone: the last version that could stays in
// force, and of one that never could be read, what is known of it is kept, so that pairs
// which it might concern can be held as they are (see PairPolicies).
#pragma once

#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/selector.h"
#include "mesh/node_store.h"
#include "mesh/peer_state.h"

namespace mesh {

constexpr Mode mode_of(PolicyAction action) {
  switch (action) {
    case PolicyAction::kRequire:
      return Mode::kRequire;
    case PolicyAction::kPrefer:
      return Mode::kPrefer;
    case PolicyAction::kPlaintext:
      break;
  }
  return Mode::kOff;
}

// One that is in force.
struct Policy {
  EncryptionPolicy document;
  Selector selector;
  Selector peer_selector;

  // kInvalid: which selector cannot be read, its column, and what was expected.
  static Result<Policy> compile(EncryptionPolicy document);
};

// One in the store that cannot be read.
struct RefusedPolicy {
  std::string message;
  bool earlier_in_force = false;  // its last good version
  // What can be read of it; an unknown order is the first, an unknown selector means every node.
  double order = -std::numeric_limits<double>::infinity();
  std::optional<Selector> selector;
  std::optional<Selector> peer_selector;
};

class Policies {
 public:
  // Returns how many policies changed.
  std::size_t apply(const StoreUpdate& update);
  // The good versions of an earlier run, for policies that cannot be read now; before the store's
  // first answer. Those in `lost` that require encryption are in force at once, as they were then.
  void remember(const std::vector<EncryptionPolicy>& earlier,
                const std::set<std::string>& lost = {});

  // In the order in which they count: lowest order first, then by name.
  std::vector<const Policy*> ordered() const;
  std::size_t size() const { return in_force_.size(); }
  const Policy* find(const std::string& name) const;  // null: none of this name is in force
  const std::map<std::string, RefusedPolicy>& refused() const { return refused_; }
  // In force although a store that went back has them no more.
  const std::set<std::string>& lost() const { return lost_; }

 private:
  bool apply(const PolicyChange& change);
  void refuse(const std::string& name, RefusedPolicy refused);
  bool lose(const std::string& name);

  std::map<std::string, Policy> in_force_;
  std::map<std::string, RefusedPolicy> refused_;
  std::map<std::string, EncryptionPolicy> earlier_;
  std::set<std::string> lost_;
};

}  // namespace mesh
