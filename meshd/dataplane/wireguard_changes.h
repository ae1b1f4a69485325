// What both WireGuard backends do alike with a list of peer changes: the removal of single prefixes
// through a dummy peer, and the fall-back from a failed batch to one change at a time. No I/O of
// its own; one thread at a time.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "mesh/result.h"
#include "mesh/wireguard.h"

namespace mesh {

inline constexpr std::uint16_t kKickKeepalive = 25;  // seconds, when a kick names no keepalive

// The intervals a kick sets, in order, after it has set 0: the turn from 0 to anything is what
// sends.
std::vector<std::uint16_t> keepalives_of_kick(const WgPeerChange& change);

// Neither backend can take one prefix from a peer (the kernel since 6.16 only), and replacing the
// list loses packets. But a prefix that is given to a second peer leaves the first in one step: so
// a dummy peer takes all that must go, and is removed with it.
struct Removal {
  std::vector<WgPeerChange> dummy;    // empty, or: the dummy takes the prefixes; the dummy goes
  std::vector<std::size_t> asked_by;  // indexes of the changes that asked for any of them
};

// Which prefixes to remove once all `changes` are made: those that the asking peer holds in `now`
// or by these changes, and that none of them gives to anybody afterwards. Within one change an
// addition wins over a removal of the same prefix. What another peer holds is left alone. Linear in
// the prefixes of `now` and `changes`.
Removal plan_removal(std::span<const WgPeerChange> changes, const WgDevice& now,
                     const PublicKey& dummy_key);

// Random bytes: nobody has its private key.
Result<PublicKey> make_dummy_key();

// The backend's two acts.
struct ChangeBackend {
  std::function<Result<WgDevice>()> read;
  // Sends all in as few messages as possible, ignoring remove_allowed_ips; one result for each. An
  // error may be that of a neighbour in the same message.
  std::function<std::vector<Result<void>>(std::span<const WgPeerChange>)> send;
};

// One result for each change. A change whose batch failed is tried again alone, unless the error
// says that the device or the backend is at fault, not one peer. Between the read and the send
// another program may still move a prefix: a window of the time of one system call.
std::vector<Result<void>> apply_changes(const ChangeBackend& backend,
                                        std::span<const WgPeerChange> changes);

}  // namespace mesh
