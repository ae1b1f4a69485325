// Pace: how often something may be done whose cost grows with the mesh, so that it never takes more
// than a share of a core however large the mesh is.
// Loop thread only.
#pragma once

#include <algorithm>
#include <optional>

#include "core/backoff.h"
#include "mesh/clock.h"
#include "mesh/cost.h"

namespace mesh {

// When the status is made anew: with every pass while that costs next to nothing; in a large mesh
// soon after something happened, and now and then for the counters' sake.
class ReportPace {
 public:
  void news() { news_ = true; }
  bool due(MonotonicTime now) const { return now >= next_time(); }
  void made(MonotonicTime now, Duration cost) {
    news_ = put_off_ = false;
    const bool cheap = cost < kCheap;
    soon_ = cheap ? now : now + pause_after(cost, kShareOfNews, Duration(0), kLongestOfNews);
    later_ = cheap ? now : now + pause_after(cost, kShare, Duration(0), kLongest);
  }
  void put_off() { put_off_ = true; }
  // When to make one that was put off.
  std::optional<MonotonicTime> next() const {
    return put_off_ ? std::optional(next_time()) : std::nullopt;
  }

 private:
  static constexpr Duration kCheap = std::chrono::milliseconds(1);
  static constexpr int kShareOfNews = 10;
  static constexpr Duration kLongestOfNews = std::chrono::milliseconds(500);
  static constexpr int kShare = 400;
  static constexpr Duration kLongest = std::chrono::seconds(10);

  MonotonicTime next_time() const { return news_ ? soon_ : later_; }

  bool news_ = false;
  bool put_off_ = false;
  MonotonicTime soon_{};
  MonotonicTime later_{};
};

// When everything is compared: events tell of nearly everything long before.
class ComparisonPace {
 public:
  // What is known of the kernel cannot be trusted: as soon as may be.
  void distrust() { trusted_ = false; }
  bool trusted() const { return trusted_; }
  bool due(MonotonicTime now) const { return now >= next(); }
  void failed(MonotonicTime now) {
    distrust();
    again_ = now + pause_.next();
  }
  void read(MonotonicTime now) {
    trusted_ = in_this_pass_ = true;
    pause_.reset();
    full_ = now + kWanted;
  }
  // The pass is over that read, compared and put right.
  void passed(MonotonicTime now, Duration cost) {
    if (!in_this_pass_) return;
    in_this_pass_ = false;
    full_ = now + pause_after(cost, kShare, kWanted, kLongest);
  }
  MonotonicTime next() const { return trusted_ ? std::max(full_, again_) : again_; }

 private:
  static constexpr int kShare = 400;
  static constexpr Duration kWanted = std::chrono::seconds(5);
  static constexpr Duration kLongest = std::chrono::minutes(5);

  bool trusted_ = false;
  bool in_this_pass_ = false;
  MonotonicTime full_{};
  MonotonicTime again_{};
  Backoff pause_{std::chrono::milliseconds(200), std::chrono::seconds(30)};
};

// When the device is read, of which WireGuard has no events. Somebody who waits for a handshake
// makes us look often; a settled mesh, now and then. Either way looking never takes more than one
// part in kShare of a core, as long as what is seen is young enough to tell who answers. To tell
// that, what went into the mesh is counted; all other counters are read at a pace of their own.
class SamplePace {
 public:
  void at_once() { at_once_ = true; }
  void count_at_once() { at_once_ = count_ = true; }
  // Something was changed of which the answer is to be seen.
  void changed() {
    at_once_ = true;
    pause_.reset();
  }
  bool due(MonotonicTime now) const { return at_once_ || now >= sample_; }
  bool counts_due(MonotonicTime now) const { return count_ || now >= all_; }

  void read() {
    unread_since_.reset();
    unread_pause_.reset();
  }
  void unread(MonotonicTime now) {
    if (!unread_since_) unread_since_ = now;
  }
  const std::optional<MonotonicTime>& unread_since() const { return unread_since_; }
  // After either.
  void sampled(MonotonicTime now, Duration cost, bool counted_all, bool unsettled) {
    at_once_ = false;
    // A handshake shows soon after it was started, or not soon.
    Duration wanted = unsettled ? pause_.next() : kSettled;
    // A device that hangs makes us wait for each answer.
    if (unread_since_) wanted = unread_pause_.next();
    sample_ = now + pause_after(cost, kShare, wanted, kLongest);
    if (!counted_all) return;
    count_ = false;
    all_ = cost < kCheapCount ? now
                              : now + pause_after(cost, kShareOfCounts, Duration(0), kLongestCount);
  }
  MonotonicTime next(MonotonicTime now) const {
    return at_once_ ? std::min(sample_, now + kSoon) : sample_;
  }

 private:
  static constexpr Duration kSoon = std::chrono::milliseconds(20);
  static constexpr Duration kSettled = std::chrono::seconds(1);
  static constexpr Duration kLongest = std::chrono::seconds(20);
  static constexpr int kShare = 200;
  static constexpr Duration kCheapCount = std::chrono::milliseconds(5);  // with every sample
  static constexpr Duration kLongestCount = std::chrono::minutes(3);
  static constexpr int kShareOfCounts = 400;

  bool at_once_ = true;
  bool count_ = false;  // somebody asks for the counters
  MonotonicTime sample_{};
  MonotonicTime all_{};
  Backoff pause_{kSoon, kSettled};
  std::optional<MonotonicTime> unread_since_;
  Backoff unread_pause_{std::chrono::seconds(1), std::chrono::seconds(15)};
};

}  // namespace mesh
