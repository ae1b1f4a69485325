#include "core/path_mtu.h"

#include <algorithm>
#include <utility>

namespace mesh {
namespace {

constexpr int kTries = 3;
constexpr int kConfirmTries = 4;
constexpr int kBisectTries = 2;  // what loss makes too small, the next raise mends
constexpr int kRaiseTries = 2;   // a loss here costs nothing but time
constexpr Duration kRaiseEvery = std::chrono::seconds(30);
constexpr Duration kLeastPatience = std::chrono::milliseconds(200);
constexpr Duration kMostPatience = std::chrono::seconds(1);
// wireguard-go pads to this, up to the device's MTU; the kernel stops at the route's.
constexpr std::uint32_t kUserspacePadding = 16;

}  // namespace

RouteMtu route_mtu(const MeasuredPath& path, std::uint32_t device_mtu, Backend backend) {
  if (device_mtu == 0) return {};
  const std::uint32_t overhead = mesh_overhead(path.underlay);
  std::uint32_t inner = path.mtu > overhead ? path.mtu - overhead : 0;
  if (inner >= device_mtu) return {};
  if (backend == Backend::kUserspace) inner -= inner % kUserspacePadding;
  RouteMtu mtu;
  mtu.ipv4 = inner;
  if (kMinimumIpv6Mtu < device_mtu) mtu.ipv6 = std::max(inner, kMinimumIpv6Mtu);
  return mtu;
}

PathMtuSearch::PathMtuSearch(std::uint32_t floor, std::uint32_t top, MonotonicTime now)
    : floor_(std::min(floor, top)), top_(top) {
  restart(now);
}

void PathMtuSearch::restart(MonotonicTime now) {
  silence_.reset();
  next_raise_ = now;
  begin(now);
}

// From what is known, if anything is.
void PathMtuSearch::begin(MonotonicTime now) {
  low_ = hint_ = 0;
  high_ = top_ + 1;
  if (measured_) return attempt(Phase::kConfirm, *measured_, kConfirmTries, now);
  attempt(Phase::kTop, top_, kTries, now);
}

void PathMtuSearch::attempt(Phase phase, std::uint32_t size, int tries, MonotonicTime now) {
  phase_ = phase;
  size_ = size;
  tries_left_ = tries;
  waiting_ = false;
  due_ = now;
}

void PathMtuSearch::rest(Phase phase, MonotonicTime until) {
  phase_ = phase;
  tries_left_ = 0;
  waiting_ = false;
  due_ = until;
}

Duration PathMtuSearch::patience() const {
  if (!round_trip_) return kMostPatience;
  return std::clamp(*round_trip_ * 4, kLeastPatience, kMostPatience);
}

std::optional<std::uint32_t> PathMtuSearch::step(MonotonicTime now) {
  if (now < due_) return std::nullopt;
  if (tries_left_ == 0) {
    if (waiting_) {
      failed(now);
    } else {
      wake(now);
    }
  }
  if (tries_left_ == 0) return std::nullopt;
  --tries_left_;
  waiting_ = true;
  due_ = now + patience();
  return size_;
}

// All tries of a size went unanswered.
void PathMtuSearch::failed(MonotonicTime now) {
  switch (phase_) {
    case Phase::kTop:
    case Phase::kConfirm:
      suspect_ = size_;
      return attempt(Phase::kFloor, floor_, kTries, now);
    case Phase::kFloor:
      standing_ = Standing::kUnanswered;
      return rest(Phase::kSilent, now + silence_.next());
    case Phase::kAgain:
    case Phase::kBisect:
      high_ = std::min(high_, size_);
      return narrow(now);
    case Phase::kRaise:
      next_raise_ = now + kRaiseEvery;
      return rest(Phase::kSettled, next_look(now));
    case Phase::kSettled:
    case Phase::kSilent:
      return;
  }
}

// The next size to try between what passed and what did not.
void PathMtuSearch::narrow(MonotonicTime now) {
  if (low_ == 0) {
    if (hint_ != 0) return attempt(Phase::kBisect, std::exchange(hint_, 0), kBisectTries, now);
    suspect_ = high_;  // known to fail: not tried again
    return attempt(Phase::kFloor, floor_, kTries, now);
  }
  if (high_ <= low_ + 1) return settle(now);
  std::uint32_t size = high_ > top_ ? top_ : low_ + (high_ - low_) / 2;
  if (hint_ > low_ && hint_ < high_) size = hint_;
  hint_ = 0;
  attempt(Phase::kBisect, size, kBisectTries, now);
}

void PathMtuSearch::settle(MonotonicTime now) {
  measured_ = low_;
  standing_ = Standing::kMeasured;
  silence_.reset();
  next_raise_ = now + kRaiseEvery;
  rest(Phase::kSettled, next_look(now));
}

MonotonicTime PathMtuSearch::next_look(MonotonicTime now) const {
  return *measured_ < top_ ? std::min(now + pace_, next_raise_) : now + pace_;
}

// A rest is over.
void PathMtuSearch::wake(MonotonicTime now) {
  begin(now);
  if (phase_ != Phase::kConfirm || standing_ != Standing::kMeasured) return;
  if (*measured_ == top_ || now < next_raise_) return;
  low_ = *measured_;
  attempt(Phase::kRaise, *measured_ + 1, kRaiseTries, now);
}

void PathMtuSearch::on_answer(std::uint32_t size, Duration round_trip, MonotonicTime now) {
  if (size < floor_ || size > top_) return;
  round_trip_ = round_trip;
  low_ = std::max(low_, size);
  if (high_ <= low_) high_ = top_ + 1;  // a late answer: it passes after all
  if (phase_ == Phase::kSettled && size > *measured_) return narrow(now);
  if (phase_ == Phase::kSilent) return restart(now);
  if (!waiting_ || size < size_) return;  // of an earlier, smaller probe
  switch (phase_) {
    case Phase::kFloor:
      if (suspect_ >= high_) return narrow(now);
      return attempt(Phase::kAgain, suspect_, kTries, now);
    case Phase::kConfirm:
      standing_ = Standing::kMeasured;
      return rest(Phase::kSettled, next_look(now));
    case Phase::kAgain:  // it had been lost, or it failed for a moment
      if (size < top_ && size == measured_) return settle(now);
      return narrow(now);
    default:
      return narrow(now);
  }
}

void PathMtuSearch::on_refusal(std::uint32_t size, std::uint32_t limit, MonotonicTime now) {
  if (!waiting_ || size != size_) return;  // of a probe that was given up
  high_ = std::min(high_, size);
  if (limit >= floor_ && limit < size) {
    hint_ = limit;
    high_ = std::min(high_, limit + 1);
  }
  if (low_ >= high_) low_ = 0;  // what passed a moment ago need not pass now
  if (phase_ == Phase::kFloor || phase_ == Phase::kRaise) return failed(now);
  narrow(now);
}

}  // namespace mesh
