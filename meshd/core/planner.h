// The plan: what to do so that the kernel holds what is desired, in the order in which no packet is
// lost or leaked (design section 4). A const function of values.
#pragma once

#include <map>
#include <set>
#include <string>

#include "core/desired.h"
#include "core/mirror.h"
#include "mesh/peer_state.h"
#include "mesh/plan.h"

namespace mesh {

// What the model asks for besides the state.
struct Requests {
  std::map<PublicKey, std::string> kicks;  // start a handshake with this key, for this node
  std::set<PublicKey> endpoints;           // write the record's endpoint, over a roamed one
  std::set<PublicKey> foreign;             // those of the retired that somebody else put there
  std::set<PublicKey> resets;   // forget the peer's sessions, so that a kick makes a new one
  bool look = false;            // read the device again soon: somebody has to know who was heard
  std::set<PublicKey> retired;  // peers no record publishes and that have been silent long enough
  // Peers that were encrypted and have just become less, and why: to be told.
  std::map<std::string, Reason> downgrades;
};

struct PlanLimits {
  bool may_remove = false;  // the store has answered: what is not desired may go
  bool nftables = true;     // this kernel has nf_tables
};

Plan make_plan(const Desired& desired, const Mirror& mirror, const Touched& touched,
               const Requests& requests, const PlanLimits& limits);

}  // namespace mesh
