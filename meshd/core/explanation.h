// Explanation: which policy decides for a pair, why, and what would be without it. For people:
// asked once in a while, it asks every policy afresh. Pure; any thread (a value).
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/policies.h"
#include "core/status.h"

namespace mesh {

// One node of a pair, as the policies are asked about it.
struct PairSide {
  std::string node;
  Labels labels;
  Mode mode = Mode::kPrefer;  // its own encryption.mode
};

struct PolicyMatch {
  std::string policy;
  std::optional<double> order;  // empty: it comes last, or is not known
  std::string action;           // "" when it is not known
  std::string selector;         // the texts; "" when they cannot be read
  std::string peer_selector;
  std::string selected;  // the node that the selector means; the other is the peerSelector's
  std::string problem;   // why it cannot be read, though it might match; "" when it counts
  friend bool operator==(const PolicyMatch&, const PolicyMatch&) = default;
};

struct Explanation {
  std::array<PairSide, 2> sides;
  Mode mode = Mode::kPrefer;         // by the first match, else by the nodes' own
  Mode nodes_mode = Mode::kPrefer;   // what the nodes' own modes alone would make of it
  Mode without = Mode::kPrefer;      // what it would be without the policy that decides
  std::vector<PolicyMatch> matches;  // in their order
  // Of a pair that this node is one side of: the mode in force, which a policy that cannot be read
  // may hold above `mode`, and the peer's state.
  std::optional<Mode> in_force;
  std::optional<State> state;
  std::string reason;

  const PolicyMatch* decides() const;  // null: the nodes' own modes decide
};

Explanation explain_pair(const Policies& policies, PairSide a, PairSide b);

nlohmann::ordered_json to_json(const Explanation& explanation);
std::string render_explanation(const Explanation& explanation);  // several lines

}  // namespace mesh
