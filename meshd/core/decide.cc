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
  const Path path = facts.mode == Mode::kRequire ? Path::kDrop : Path::kPlaintext;
  return {State::kPending,
          facts.trying_for >= kHandshakePatience ? Reason::kNoHandshake : Reason::kHandshaking,
          path};
}

}  // namespace

Decision decide(const PairFacts& facts) {
  if (facts.mode == Mode::kOff) return {State::kPlaintext, Reason::kPolicy, Path::kPlaintext};
  if (facts.record_gone) return {State::kBlocked, Reason::kNoRecord, Path::kDrop};
  if (facts.local_off) return without_wireguard(facts.mode, Reason::kPolicy);
  if (!facts.local_wireguard) return without_wireguard(facts.mode, Reason::kLocalUnsupported);
  if (const Reason reason = why_no_key(facts); reason != Reason::kNone)
    return without_wireguard(facts.mode, reason);
  return by_proof(facts);
}

}  // namespace mesh
