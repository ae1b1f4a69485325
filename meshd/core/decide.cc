#include "core/decide.h"

namespace mesh {
namespace {

// Encryption is not possible: plaintext where that is allowed, nothing where it is not.
Decision without_wireguard(Mode mode, Reason reason) {
  if (mode == Mode::kRequire) return {State::kBlocked, reason, Path::kDrop};
  return {State::kPlaintext, reason, Path::kPlaintext};
}

Reason why_no_key(const PairFacts& facts) {
  switch (facts.key) {
    case KeyVerdict::kAbsent:
      return facts.peer_unsupported ? Reason::kPeerUnsupported : Reason::kNoPublicKey;
    case KeyVerdict::kInvalid:
      return Reason::kInvalidPublicKey;
    case KeyVerdict::kDuplicate:
      return Reason::kDuplicatePublicKey;
    case KeyVerdict::kValid:
      break;
  }
  return facts.has_endpoint ? Reason::kNone : Reason::kNoEndpoint;
}

// What this node itself turned off, or cannot do, is no act of the peer's.
bool is_held(const PairFacts& facts) {
  return facts.held && !facts.local_off && facts.local_wireguard &&
         (facts.mode != Mode::kOff || facts.peer_off);
}

Decision by_proof(const PairFacts& facts) {
  switch (facts.proof) {
    case Proof::kProven:
      return {State::kEncrypted, Reason::kNone, Path::kWireguard};
    case Proof::kUnsettled:
      return {State::kDegraded, Reason::kHandshaking, Path::kWireguard};
    case Proof::kUnanswered:
      // Lost packets alone never turn encryption off: only this option of the operator does.
      if (facts.mode == Mode::kPrefer && facts.fallback_after > Duration::zero() &&
          facts.unanswered_for >= facts.fallback_after)
        return {State::kPlaintext, Reason::kFallback, Path::kPlaintext};
      return {State::kDegraded, Reason::kNoHandshake, Path::kWireguard};
    case Proof::kNever:
      break;
  }
  const bool closed = facts.mode == Mode::kRequire || facts.held;
  const Path path = closed ? Path::kDrop : Path::kPlaintext;
  return {State::kPending,
          facts.trying_for >= kHandshakePatience ? Reason::kNoHandshake : Reason::kHandshaking,
          path};
}

}  // namespace

Decision decide(const PairFacts& facts) {
  const bool held = is_held(facts);
  if (facts.mode == Mode::kOff && !held)
    return {State::kPlaintext, Reason::kPolicy, Path::kPlaintext};
  if (facts.record_gone) return {State::kBlocked, Reason::kNoRecord, Path::kDrop};
  if (facts.local_off) return without_wireguard(facts.mode, Reason::kPolicy);
  if (!facts.local_wireguard) return without_wireguard(facts.mode, Reason::kLocalUnsupported);
  if (const Reason reason = why_no_key(facts); reason != Reason::kNone)
    return without_wireguard(held ? Mode::kRequire : facts.mode, reason);
  return by_proof(facts);
}

std::optional<Reason> withdrawal(const PairFacts& facts) {
  if (facts.local_off || !facts.local_wireguard) return std::nullopt;
  if (facts.mode == Mode::kOff && !facts.peer_off) return std::nullopt;
  if (facts.record_gone) return Reason::kNoRecord;
  if (facts.mode == Mode::kOff) return Reason::kPolicy;
  if (const Reason reason = why_no_key(facts); reason != Reason::kNone) return reason;
  // A key that was proven never: another one than before, or that one again after a withdrawal.
  if (facts.proof == Proof::kNever && facts.trying_for >= kHandshakePatience)
    return Reason::kNoHandshake;
  return std::nullopt;
}

}  // namespace mesh
