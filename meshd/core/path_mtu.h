// The MTU of the way to a peer: what its packets may measure, and the search that finds it out.
// Pure; one thread.
//
// The search is packetization-layer discovery as RFC 8899 describes it, with echo requests that
// must not be fragmented: what is answered passed. Silence alone is never taken for a limit; only
// silence while a small probe is answered is. What a router reports (ICMP "fragmentation needed",
// "packet too big") is an upper bound to try next, never believed without a probe.
#pragma once

#include <cstdint>
#include <optional>

#include "core/backoff.h"
#include "mesh/clock.h"
#include "mesh/ip.h"
#include "mesh/wireguard.h"

namespace mesh {

// Below it the kernel removes a device's IPv6 addresses for good (RFC 8200, section 5).
inline constexpr std::uint32_t kMinimumIpv6Mtu = 1280;

// What WireGuard adds to a packet: the outer header, UDP (8), and its own header and tag (32).
constexpr std::uint32_t mesh_overhead(Family underlay) {
  return (underlay == Family::kIpv4 ? 20 : 40) + 8 + 32;
}
// The smallest packet every path of the family is expected to carry whole.
constexpr std::uint32_t smallest_path_mtu(Family underlay) {
  return underlay == Family::kIpv4 ? 576 : kMinimumIpv6Mtu;
}

// A way through the underlay that was measured.
struct MeasuredPath {
  std::uint32_t mtu = 0;  // of a whole underlay packet
  Family underlay = Family::kIpv4;
  friend bool operator==(const MeasuredPath&, const MeasuredPath&) = default;
};

// The MTU of the routes to one peer. 0: the device's.
struct RouteMtu {
  std::uint32_t ipv4 = 0;
  std::uint32_t ipv6 = 0;  // never below kMinimumIpv6Mtu: narrower paths carry fragments
  std::uint32_t of(Family family) const { return family == Family::kIpv4 ? ipv4 : ipv6; }
  friend bool operator==(const RouteMtu&, const RouteMtu&) = default;
};
// Never more than the device's; all zero when nothing narrower than the device is in the way.
RouteMtu route_mtu(const MeasuredPath& path, std::uint32_t device_mtu, Backend backend);

class PathMtuSearch {
 public:
  enum class Standing : std::uint8_t {
    kUnmeasured,
    kMeasured,
    kUnanswered,  // not even small probes are answered: nothing can be said
  };

  // Looks for a size in [floor, top]; due at once.
  PathMtuSearch(std::uint32_t floor, std::uint32_t top, MonotonicTime now);

  // The size of the probe to send now; empty: none before due().
  std::optional<std::uint32_t> step(MonotonicTime now);
  MonotonicTime due() const { return due_; }
  // A probe of `size` came back. Late answers count as well.
  void on_answer(std::uint32_t size, Duration round_trip, MonotonicTime now);
  // A probe of `size` was refused, on the way or by this host. `limit`: what would have passed, as
  // the refuser says; 0: it does not.
  void on_refusal(std::uint32_t size, std::uint32_t limit, MonotonicTime now);
  // Something happened that may have changed the path, or ended a silence.
  void restart(MonotonicTime now);
  // How often a measured path is confirmed.
  void set_pace(Duration pace) { pace_ = pace; }

  Standing standing() const { return standing_; }
  // What passed when it was last measured. Stays while a new search goes on, and through silence.
  std::optional<std::uint32_t> path_mtu() const { return measured_; }
  std::uint32_t top() const { return top_; }
  std::uint32_t floor() const { return floor_; }

 private:
  enum class Phase : std::uint8_t {
    kTop,      // the best that is possible: most paths have it
    kFloor,    // is anybody there?
    kAgain,    // is the size that failed really what fails?
    kBisect,   // between what passed and what did not
    kSettled,  // resting
    kConfirm,  // does what passed still pass?
    kRaise,    // does a byte more pass by now?
    kSilent,   // resting, longer each time
  };

  void begin(MonotonicTime now);
  void attempt(Phase phase, std::uint32_t size, int tries, MonotonicTime now);
  void failed(MonotonicTime now);
  void wake(MonotonicTime now);
  void narrow(MonotonicTime now);
  void settle(MonotonicTime now);
  void rest(Phase phase, MonotonicTime until);
  MonotonicTime next_look(MonotonicTime now) const;
  Duration patience() const;

  std::uint32_t floor_;
  std::uint32_t top_;
  Standing standing_ = Standing::kUnmeasured;
  std::optional<std::uint32_t> measured_;

  Phase phase_ = Phase::kTop;
  std::uint32_t size_ = 0;  // being tried
  int tries_left_ = 0;
  bool waiting_ = false;  // a probe is out
  MonotonicTime due_;
  std::uint32_t low_ = 0;      // passed; 0: nothing yet
  std::uint32_t high_ = 0;     // did not pass
  std::uint32_t hint_ = 0;     // what a router says would
  std::uint32_t suspect_ = 0;  // failed, with nothing yet to tell it from an outage
  std::optional<Duration> round_trip_;
  Duration pace_ = std::chrono::seconds(5);
  MonotonicTime next_raise_{};
  Backoff silence_{std::chrono::seconds(10), std::chrono::minutes(5)};
};

}  // namespace mesh
