// The decision for one peer: what becomes of its packets, as a pure function (design section 2).
//
// This is the only place that turns facts about a pair into a state, a reason and a path. It sees
// no clock: ages are inputs.
#pragma once

#include <optional>

#include "mesh/clock.h"
#include "mesh/peer_state.h"

namespace mesh {

// A handshake not completed within this time is said to be missing (it is still tried).
inline constexpr Duration kHandshakePatience = std::chrono::seconds(15);

// The mode of a pair, from what both publish: alike on both sides.
constexpr Mode pair_mode(Mode a, Mode b) {
  if (a == Mode::kRequire || b == Mode::kRequire) return Mode::kRequire;
  if (a == Mode::kOff || b == Mode::kOff) return Mode::kOff;
  return Mode::kPrefer;
}

enum class KeyVerdict : std::uint8_t { kAbsent, kInvalid, kDuplicate, kValid };

// What the device has shown of the published key.
enum class Proof : std::uint8_t {
  kNever,       // no handshake yet, neither under this key nor under an earlier one
  kProven,      // a handshake completed, and what we send is answered
  kUnanswered,  // proven, and now sends go unanswered
  kUnsettled,   // proven before, but not since the device was made again, or under an earlier key
                // only
};

struct PairFacts {
  bool local_wireguard = false;  // this node has a device
  bool local_off = false;        // this node's own mode is off: it has withdrawn its key
  Mode mode = Mode::kPrefer;     // of the pair
  bool record_gone = false;      // the record vanished from a pair that had to encrypt
  bool peer_unsupported = false;
  KeyVerdict key = KeyVerdict::kAbsent;
  bool has_endpoint = false;
  Proof proof = Proof::kNever;
  Duration trying_for{};      // kNever: since the first attempt
  Duration unanswered_for{};  // kUnanswered: since the first send that nothing answered
  Duration fallback_after{};  // 0: never
  bool peer_off = false;      // the mode is off because the peer's record says so
  bool held = false;          // it was encrypted, and may not become less by its record alone
};

struct Decision {
  State state = State::kPlaintext;
  Reason reason = Reason::kNone;
  Path path = Path::kPlaintext;
  friend bool operator==(const Decision&, const Decision&) = default;
};

Decision decide(const PairFacts& facts);

// By what the peer's record says, or no longer says, a pair that was encrypted is so no more.
// Nothing: it is encrypted, it may be yet, or the cause is not the peer's: this node's own
// configuration, a policy, `fallbackAfter`.
std::optional<Reason> withdrawal(const PairFacts& facts);

}  // namespace mesh
