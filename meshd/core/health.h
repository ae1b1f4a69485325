// What a WireGuard device shows of one key: proven, answered, unanswered. Pure; fed with samples.
//
// Source of the timing: the WireGuard whitepaper, section 6: a peer that receives data answers with
// data or with an empty keepalive after KEEPALIVE_TIMEOUT (10 s); a sender that hears nothing for
// 10 + 5 s starts a new handshake.
#pragma once

#include <cstdint>
#include <optional>

#include "core/decide.h"
#include "mesh/clock.h"

namespace mesh {

inline constexpr Duration kUnansweredAfter = std::chrono::seconds(25);
// REJECT_AFTER_TIME: nothing is sent or taken under an older session.
inline constexpr Duration kSessionLife = std::chrono::seconds(180);

struct HealthSample {
  Instant now;
  std::optional<WallTime> last_handshake;  // of the key in the device
  std::uint64_t rx_bytes = 0;              // WireGuard's own count for the key
  // Our count of inner data sent to the peer: keepalives are not in it. Empty: nothing counts.
  std::optional<std::uint64_t> inner_tx_bytes = 0;
  // WireGuard's own, keepalives and all; asked only where nothing else counts.
  std::uint64_t tx_bytes = 0;
};

class Health {
 public:
  // Handshakes up to `floor` do not count as proof: the peer had withdrawn this key until then.
  // What it sends since under the session they made does: it has that session too.
  explicit Health(WallTime floor = WallTime::min()) : floor_(floor) {}

  // Returns true when proof() changed.
  bool observe(const HealthSample& sample);
  // Proven by what the data path shows (an adopted route); `session`: the device has had a
  // handshake as well.
  void assume_proven(bool session) {
    proven_ = true;
    session_ = session;
  }
  // Sends fell back to plaintext: only a handshake after `now` proves the key again.
  void require_new_proof(WallTime now);
  // The device still has a session from before the floor, and the last sample, taken after
  // `heard_after`, shows that nothing came under it: as long as it lives, there will be no
  // handshake.
  bool stuck(Instant now, MonotonicTime heard_after) const;
  // By the last sample the device, as it is now, has had no handshake with the peer, and no part of
  // one since the sample before: what was heard earlier came to nothing.
  bool mute() const { return quiet_ && !last_handshake_; }
  MonotonicTime sampled_at() const { return sampled_at_; }
  // Proven by what was heard under a session from before the floor, without a new handshake.
  bool revived() const { return revived_; }

  Proof proof(MonotonicTime now) const;
  bool unproven() const { return !proven_; }
  Duration unanswered_for(MonotonicTime now) const;
  // When proof() will change if nothing comes back; empty: not by time alone.
  std::optional<MonotonicTime> deadline() const;

 private:
  bool lives(const HealthSample& sample) const;
  bool sent_inner(const HealthSample& sample) const;

  WallTime floor_;
  bool proven_ = false;
  bool session_ = false;  // the device, as it is now, has a session that proves the key
  bool revived_ = false;  // the peer was heard under a session from before the floor
  bool strict_ = false;   // that does not count
  std::optional<WallTime> last_handshake_;
  std::uint64_t rx_bytes_ = 0;
  std::uint64_t inner_tx_bytes_ = 0;
  std::uint64_t tx_at_answer_ = 0;  // what WireGuard had sent when the peer was heard last
  bool sampled_ = false;
  bool quiet_ = false;  // nothing came between the last two samples
  MonotonicTime sampled_at_{};
  std::optional<MonotonicTime>
      unanswered_since_;  // the first inner send that nothing came back for
};

}  // namespace mesh
