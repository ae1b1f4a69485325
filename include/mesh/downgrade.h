// What is remembered of a peer that was encrypted, so that its becoming less is seen and, where an
// operator wants it so, not followed. Outlives its record, and restarts. Any thread (values).
#pragma once

#include <optional>

#include "mesh/clock.h"
#include "mesh/peer_state.h"
#include "mesh/public_key.h"

namespace mesh {

// A peer that was encrypted is so no more, by what its record says.
struct Downgrade {
  WallTime since{};
  Reason cause = Reason::kNone;  // of the moment it began
  bool allowed = false;          // an operator has said that this is right
  friend bool operator==(const Downgrade&, const Downgrade&) = default;
};

struct EncryptionMemory {
  // The last key through which packets went to it. An operator who allows a downgrade ends this.
  std::optional<PublicKey> proven;
  std::optional<Downgrade> downgrade;
  bool empty() const { return !proven && !downgrade; }
  friend bool operator==(const EncryptionMemory&, const EncryptionMemory&) = default;
};

}  // namespace mesh
