// The decision table of design section 2: one test a row, then every combination of facts against
// what must always hold.
#include "core/decide.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

namespace mesh {

void PrintTo(const Decision& decision, std::ostream* out) {
  *out << to_string(decision.state) << " (" << to_string(decision.reason) << ") by "
       << to_string(decision.path);
}

namespace {

using std::chrono::seconds;

const Decision kEncrypted{State::kEncrypted, Reason::kNone, Path::kWireguard};

Decision plaintext(Reason reason) { return {State::kPlaintext, reason, Path::kPlaintext}; }
Decision blocked(Reason reason) { return {State::kBlocked, reason, Path::kDrop}; }

// A pair for which nothing is missing but the handshake.
PairFacts ready(Mode mode = Mode::kPrefer) {
  PairFacts facts;
  facts.local_wireguard = true;
  facts.mode = mode;
  facts.key = KeyVerdict::kValid;
  facts.has_endpoint = true;
  return facts;
}

PairFacts proven(Mode mode = Mode::kPrefer) {
  PairFacts facts = ready(mode);
  facts.proof = Proof::kProven;
  return facts;
}

TEST(PairMode, RequireOfEitherSideWins) {
  for (const Mode other : {Mode::kOff, Mode::kPrefer, Mode::kRequire}) {
    EXPECT_EQ(pair_mode(Mode::kRequire, other), Mode::kRequire);
    EXPECT_EQ(pair_mode(other, Mode::kRequire), Mode::kRequire);
  }
}

TEST(PairMode, OffOfEitherSideWinsOverPrefer) {
  EXPECT_EQ(pair_mode(Mode::kOff, Mode::kPrefer), Mode::kOff);
  EXPECT_EQ(pair_mode(Mode::kPrefer, Mode::kOff), Mode::kOff);
  EXPECT_EQ(pair_mode(Mode::kOff, Mode::kOff), Mode::kOff);
  EXPECT_EQ(pair_mode(Mode::kPrefer, Mode::kPrefer), Mode::kPrefer);
}

TEST(Decide, AnOffPairIsPlaintextByPolicyWhateverIsProven) {
  EXPECT_EQ(decide(proven(Mode::kOff)), plaintext(Reason::kPolicy));
  EXPECT_EQ(decide(ready(Mode::kOff)), plaintext(Reason::kPolicy));
  PairFacts facts = ready(Mode::kOff);
  facts.local_wireguard = false;
  EXPECT_EQ(decide(facts), plaintext(Reason::kPolicy));
}

TEST(Decide, WithoutLocalWireguardAPreferredPeerIsPlaintextAndARequiredOneBlocked) {
  for (const KeyVerdict key : {KeyVerdict::kAbsent, KeyVerdict::kInvalid, KeyVerdict::kValid}) {
    PairFacts facts = ready();
    facts.local_wireguard = false;
    facts.key = key;
    EXPECT_EQ(decide(facts), plaintext(Reason::kLocalUnsupported));
    facts.mode = Mode::kRequire;
    EXPECT_EQ(decide(facts), blocked(Reason::kLocalUnsupported));
  }
}

TEST(Decide, APeerThatSaysItHasNoWireguardIsUnsupported) {
  PairFacts facts = ready();
  facts.key = KeyVerdict::kAbsent;
  facts.peer_unsupported = true;
  EXPECT_EQ(decide(facts), plaintext(Reason::kPeerUnsupported));
  facts.mode = Mode::kRequire;
  EXPECT_EQ(decide(facts), blocked(Reason::kPeerUnsupported));
}

TEST(Decide, APeerWithoutAKeyThatSaysNothingHasNoPublicKey) {
  PairFacts facts = ready();
  facts.key = KeyVerdict::kAbsent;
  EXPECT_EQ(decide(facts), plaintext(Reason::kNoPublicKey));
  facts.mode = Mode::kRequire;
  EXPECT_EQ(decide(facts), blocked(Reason::kNoPublicKey));
}

TEST(Decide, AnUnusableKeyOrEndpointIsPlaintextOrBlockedWithThatReason) {
  const auto check = [](PairFacts facts, Reason reason) {
    EXPECT_EQ(decide(facts), plaintext(reason));
    facts.mode = Mode::kRequire;
    EXPECT_EQ(decide(facts), blocked(reason));
  };
  PairFacts invalid = ready();
  invalid.key = KeyVerdict::kInvalid;
  check(invalid, Reason::kInvalidPublicKey);
  PairFacts duplicate = ready();
  duplicate.key = KeyVerdict::kDuplicate;
  check(duplicate, Reason::kDuplicatePublicKey);
  PairFacts unreachable = ready();
  unreachable.has_endpoint = false;
  check(unreachable, Reason::kNoEndpoint);
}

TEST(Decide, AnUnprovenPeerIsPendingOnThePathItHad) {
  EXPECT_EQ(decide(ready()), (Decision{State::kPending, Reason::kHandshaking, Path::kPlaintext}));
  EXPECT_EQ(decide(ready(Mode::kRequire)),
            (Decision{State::kPending, Reason::kHandshaking, Path::kDrop}));
}

TEST(Decide, AfterFifteenSecondsWithoutAHandshakeThePendingPeerSaysSo) {
  PairFacts facts = ready();
  facts.trying_for = kHandshakePatience - Duration(1);
  EXPECT_EQ(decide(facts).reason, Reason::kHandshaking);
  facts.trying_for = seconds(15);
  EXPECT_EQ(decide(facts), (Decision{State::kPending, Reason::kNoHandshake, Path::kPlaintext}));
  facts.mode = Mode::kRequire;
  EXPECT_EQ(decide(facts), (Decision{State::kPending, Reason::kNoHandshake, Path::kDrop}));
}

TEST(Decide, AProvenPeerIsEncryptedInEitherMode) {
  EXPECT_EQ(decide(proven(Mode::kPrefer)), kEncrypted);
  EXPECT_EQ(decide(proven(Mode::kRequire)), kEncrypted);
}

TEST(Decide, ProvenPeerStaysOnWireGuardWhenPacketsAreLost) {
  for (const Mode mode : {Mode::kPrefer, Mode::kRequire}) {
    PairFacts facts = ready(mode);
    facts.proof = Proof::kUnanswered;
    facts.unanswered_for = std::chrono::hours(1000);
    EXPECT_EQ(decide(facts), (Decision{State::kDegraded, Reason::kNoHandshake, Path::kWireguard}));
  }
}

TEST(Decide, APeerProvenBeforeTheDeviceWasMadeAgainIsDegradedNotPlaintext) {
  PairFacts facts = ready();
  facts.proof = Proof::kUnsettled;
  EXPECT_EQ(decide(facts), (Decision{State::kDegraded, Reason::kHandshaking, Path::kWireguard}));
}

TEST(Decide, FallbackAfterReturnsAnUnansweredPeerToPlaintextUnderPreferOnly) {
  PairFacts facts = ready();
  facts.proof = Proof::kUnanswered;
  facts.fallback_after = seconds(60);
  facts.unanswered_for = seconds(59);
  EXPECT_EQ(decide(facts).state, State::kDegraded);
  facts.unanswered_for = seconds(60);
  EXPECT_EQ(decide(facts), plaintext(Reason::kFallback));
  facts.mode = Mode::kRequire;
  EXPECT_EQ(decide(facts), (Decision{State::kDegraded, Reason::kNoHandshake, Path::kWireguard}));
}

TEST(Decide, ARequiredPeerWhoseRecordVanishedIsBlocked) {
  PairFacts facts = proven(Mode::kRequire);
  facts.record_gone = true;
  EXPECT_EQ(decide(facts), blocked(Reason::kNoRecord));
}

TEST(Decide, MyOwnModeOffIsPolicyAlsoWhenThePeerRequires) {
  PairFacts facts = proven(Mode::kRequire);
  facts.local_off = true;
  EXPECT_EQ(decide(facts), blocked(Reason::kPolicy));
}

TEST(Decide, WhoIsHeldIsBlockedByWhateverItsRecordSays) {
  const auto check = [](PairFacts facts, Reason reason) {
    EXPECT_EQ(decide(facts).path, Path::kPlaintext);
    facts.held = true;
    EXPECT_EQ(decide(facts), blocked(reason));
  };
  PairFacts absent = ready();
  absent.key = KeyVerdict::kAbsent;
  check(absent, Reason::kNoPublicKey);
  absent.peer_unsupported = true;
  check(absent, Reason::kPeerUnsupported);
  PairFacts invalid = ready();
  invalid.key = KeyVerdict::kInvalid;
  check(invalid, Reason::kInvalidPublicKey);
  PairFacts off = ready(Mode::kOff);
  off.peer_off = true;
  off.key = KeyVerdict::kAbsent;
  check(off, Reason::kNoPublicKey);
  PairFacts unproven = ready();
  unproven.held = true;
  EXPECT_EQ(decide(unproven), (Decision{State::kPending, Reason::kHandshaking, Path::kDrop}));
}

TEST(Decide, WhatThisNodeOrAPolicyTurnsOffHoldsNobody) {
  PairFacts facts = proven(Mode::kOff);
  facts.held = true;
  EXPECT_EQ(decide(facts), plaintext(Reason::kPolicy));
  facts = proven();
  facts.held = true;
  facts.local_off = true;
  EXPECT_EQ(decide(facts), plaintext(Reason::kPolicy));
  facts.local_off = false;
  facts.local_wireguard = false;
  EXPECT_EQ(decide(facts), plaintext(Reason::kLocalUnsupported));
}

TEST(Withdrawal, IsThePeersActAlone) {
  EXPECT_EQ(withdrawal(proven()), std::nullopt);
  EXPECT_EQ(withdrawal(ready()), std::nullopt) << "it may be encrypted yet";
  EXPECT_EQ(withdrawal(proven(Mode::kOff)), std::nullopt) << "a policy";
  PairFacts facts = ready();
  facts.trying_for = kHandshakePatience;
  EXPECT_EQ(withdrawal(facts), Reason::kNoHandshake);
  facts.key = KeyVerdict::kAbsent;
  EXPECT_EQ(withdrawal(facts), Reason::kNoPublicKey);
  facts.mode = Mode::kOff;
  facts.peer_off = true;
  EXPECT_EQ(withdrawal(facts), Reason::kPolicy);
  facts.record_gone = true;
  EXPECT_EQ(withdrawal(facts), Reason::kNoRecord);
  facts.local_off = true;
  EXPECT_EQ(withdrawal(facts), std::nullopt);
  PairFacts fallen = ready();
  fallen.proof = Proof::kUnanswered;
  fallen.fallback_after = fallen.unanswered_for = seconds(60);
  EXPECT_EQ(withdrawal(fallen), std::nullopt) << "this node's own configuration";
}

// Every combination of every fact, with ages on both sides of their limits.
void for_all_facts(const std::function<void(const PairFacts&)>& visit) {
  const std::vector<Duration> ages{Duration::zero(), seconds(14), seconds(15), seconds(100)};
  for (const bool local_wireguard : {false, true})
    for (const bool local_off : {false, true})
      for (const Mode mode : {Mode::kOff, Mode::kPrefer, Mode::kRequire})
        for (const bool record_gone : {false, true})
          for (const bool unsupported : {false, true})
            for (const KeyVerdict key : {KeyVerdict::kAbsent, KeyVerdict::kInvalid,
                                         KeyVerdict::kDuplicate, KeyVerdict::kValid})
              for (const bool has_endpoint : {false, true})
                for (const Proof proof :
                     {Proof::kNever, Proof::kProven, Proof::kUnanswered, Proof::kUnsettled})
                  for (const Duration trying : ages)
                    for (const Duration unanswered : ages)
                      for (const Duration fallback : ages)
                        for (const bool peer_off : {false, true})
                          for (const bool held : {false, true})
                            visit({local_wireguard, local_off, mode, record_gone, unsupported, key,
                                   has_endpoint, proof, trying, unanswered, fallback, peer_off,
                                   held});
}

TEST(DecideSweep, EveryCombinationKeepsTheInvariants) {
  int visited = 0;
  for_all_facts([&](const PairFacts& facts) {
    ++visited;
    const Decision is = decide(facts);
    // Where encryption is required nothing ever leaves in clear.
    if (facts.mode == Mode::kRequire) {
      ASSERT_NE(is.path, Path::kPlaintext);
    }
    // Where it is only preferred nothing is dropped, but for a vanished record of a required pair
    // and where withdrawing is not allowed.
    if (facts.mode != Mode::kRequire && !facts.record_gone && !facts.held) {
      ASSERT_NE(is.path, Path::kDrop);
    }
    // State and path say the same.
    switch (is.state) {
      case State::kEncrypted:
      case State::kDegraded:
        ASSERT_EQ(is.path, Path::kWireguard);
        break;
      case State::kPlaintext:
        ASSERT_EQ(is.path, Path::kPlaintext);
        break;
      case State::kBlocked:
        ASSERT_EQ(is.path, Path::kDrop);
        break;
      case State::kPending:
        ASSERT_EQ(is.path,
                  facts.mode == Mode::kRequire || facts.held ? Path::kDrop : Path::kPlaintext);
        break;
    }
    // Whatever is not encrypted says why.
    ASSERT_EQ(is.reason == Reason::kNone, is.state == State::kEncrypted);
    // WireGuard is used only after proof, with a device, a valid key and an endpoint.
    if (is.path == Path::kWireguard) {
      ASSERT_TRUE(facts.local_wireguard && facts.key == KeyVerdict::kValid && facts.has_endpoint);
      ASSERT_NE(facts.proof, Proof::kNever);
    }
    // A proven peer leaves WireGuard only because a policy, a record or fallbackAfter says so.
    const bool usable = facts.local_wireguard && !facts.local_off && !facts.record_gone &&
                        facts.key == KeyVerdict::kValid && facts.has_endpoint;
    // And who is held leaves for none of what its record says.
    if (facts.held && withdrawal(facts)) {
      ASSERT_NE(is.path, Path::kPlaintext);
    }
    if (usable && facts.mode != Mode::kOff && facts.proof != Proof::kNever &&
        is.path != Path::kWireguard) {
      ASSERT_EQ(is.reason, Reason::kFallback);
      ASSERT_EQ(facts.proof, Proof::kUnanswered);
      ASSERT_GE(facts.unanswered_for, facts.fallback_after);
      ASSERT_GT(facts.fallback_after, Duration::zero());
    }
  });
  EXPECT_EQ(visited, 2 * 2 * 3 * 2 * 2 * 4 * 2 * 4 * 4 * 4 * 4 * 2 * 2);
}

}  // namespace
}  // namespace mesh
