#include "core/health.h"

#include <algorithm>

namespace mesh {
namespace {

// Of what WireGuard has sent, this much may be keepalives that nobody answers: 32 bytes each, at
// most one in ten seconds, and a session lives for 180. Data or new handshakes (148 bytes, every
// five seconds) are soon more.
constexpr std::uint64_t kKeepalives = 600;

}  // namespace

bool Health::observe(const HealthSample& sample) {
  const Proof before = proof(sample.now.monotonic);
  // A clock that was set back must not put every coming handshake before the floor.
  floor_ = std::min(floor_, sample.now.wall);
  if (!sample.last_handshake) revived_ = false;
  if (lives(sample)) revived_ = true;
  session_ = sample.last_handshake && (*sample.last_handshake > floor_ || revived_);
  proven_ = proven_ || session_;
  quiet_ = sampled_ && sample.rx_bytes == rx_bytes_;
  const bool answered = !sampled_ || sample.rx_bytes > rx_bytes_ ||
                        (sample.last_handshake && sample.last_handshake != last_handshake_);
  if (answered || sample.tx_bytes < tx_at_answer_) tx_at_answer_ = sample.tx_bytes;
  if (answered) {
    unanswered_since_.reset();
  } else if (sent_inner(sample) && !unanswered_since_) {
    unanswered_since_ = sample.now.monotonic;
  }
  last_handshake_ = sample.last_handshake;
  rx_bytes_ = sample.rx_bytes;
  inner_tx_bytes_ = sample.inner_tx_bytes.value_or(inner_tx_bytes_);
  sampled_ = true;
  sampled_at_ = sample.now.monotonic;
  return proof(sample.now.monotonic) != before;
}

// Called for a sample that is no answer.
bool Health::sent_inner(const HealthSample& sample) const {
  if (sample.inner_tx_bytes) return *sample.inner_tx_bytes != inner_tx_bytes_;
  return sample.tx_bytes > tx_at_answer_ + kKeepalives;
}

// Something authenticated came in under a session from before the floor that is not too old to be
// used.
bool Health::lives(const HealthSample& sample) const {
  return !strict_ && sampled_ && sample.last_handshake && sample.rx_bytes > rx_bytes_ &&
         *sample.last_handshake <= floor_ &&
         sample.now.wall - *sample.last_handshake < kSessionLife;
}

void Health::require_new_proof(WallTime now) {
  floor_ = now;
  strict_ = true;
  proven_ = session_ = revived_ = false;
  unanswered_since_.reset();
}

bool Health::stuck(Instant now, MonotonicTime heard_after) const {
  return !session_ && last_handshake_ && now.wall - *last_handshake_ < kSessionLife &&
         sampled_at_ >= heard_after;
}

Proof Health::proof(MonotonicTime now) const {
  if (!proven_) return Proof::kNever;
  // Also without a session: one that was thrown away to make another is no answer.
  if (unanswered_for(now) >= kUnansweredAfter) return Proof::kUnanswered;
  return session_ ? Proof::kProven : Proof::kUnsettled;
}

Duration Health::unanswered_for(MonotonicTime now) const {
  return unanswered_since_ ? now - *unanswered_since_ : Duration::zero();
}

std::optional<MonotonicTime> Health::deadline() const {
  if (!proven_ || !unanswered_since_) return std::nullopt;
  return *unanswered_since_ + kUnansweredAfter;
}

}  // namespace mesh
