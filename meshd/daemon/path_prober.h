// PathProber: keeps the MTU of the way to every peer that is sent to through WireGuard.
//
// Loop thread. It has timers and sockets of its own, apart from the reconciler's pass, which only
// tells it whom to follow and takes what was found. Rate: a peer is confirmed every 5 s while the
// mesh is small; in a large one all peers together cost 40 probes a second, so that each of 10,000
// is looked at every 250 s. A peer that is new, has moved or has just become encrypted is looked at
// at once; never are more than 100 probes sent in a second.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "core/mesh_model.h"
#include "core/mirror.h"
#include "core/path_mtu.h"
#include "mesh/clock.h"
#include "mesh/path_probe.h"
#include "mesh/result.h"
#include "mesh/unique_fd.h"

namespace mesh {

class PathProber {
 public:
  // Without a probe (no permission, say) nothing is measured, and the status says why.
  static Result<std::unique_ptr<PathProber>> create(Result<std::unique_ptr<PathProbe>> probe,
                                                    const Clock& clock);

  // --- the loop ---
  int probe_fd() const { return probe_ ? probe_->fd() : -1; }
  int timer_fd() const { return timer_.get(); }
  // Call when either is readable. Returns true when a pass should act on what was found; what
  // changes no route can wait for the next one, and a pass is worth many findings.
  bool run();
  // When run() has something to do if nothing is heard; what timer_fd() is set to.
  std::optional<MonotonicTime> next() const;

  // --- the pass ---
  // What was found goes into the model: before it decides.
  void tell(MeshModel& model) const;
  // Whom to probe from now on: after it has decided.
  void follow(const MeshModel& model, const Mirror& mirror);

  // --- what is so ---
  // Bytes of an underlay packet to this peer that passed, when it was last measured.
  std::optional<std::uint32_t> path_mtu(const std::string& node) const;
  // Why it is not known, or not known to be so now; "" when it is.
  std::string why_unsure(const std::string& node) const;

 private:
  struct Target {
    IpAddress address;
    PathMtuSearch search;
    MonotonicTime due{};         // its place in due_
    std::uint64_t followed = 0;  // the last call of follow() that wanted it
    bool encrypted = false;
    bool moved = false;  // what the model has may be of another address
  };
  struct Sent {
    std::string node;
    std::uint32_t size = 0;
    MonotonicTime at{};
  };

  PathProber(std::unique_ptr<PathProbe> probe, std::string why_not, UniqueFd timer,
             const Clock& clock);
  void take_news(MonotonicTime now);
  void note_path(const std::string& node, const Target& target,
                 std::optional<std::uint32_t> before);
  void send_due(MonotonicTime now);
  void send(const std::string& node, const Target& target, std::uint32_t size, MonotonicTime now);
  void follow_peer(const std::string& node, const Peer& peer, const IpAddress& address,
                   std::uint32_t top, MonotonicTime now);
  void schedule(const std::string& node, Target& target, MonotonicTime time);
  void arm_timer();

  std::unique_ptr<PathProbe> probe_;
  std::string why_not_;
  UniqueFd timer_;
  const Clock& clock_;
  bool fixed_ = false;  // wireguard.mtu
  std::uint32_t mark_ = 0;
  std::map<std::string, Target> targets_;
  std::set<std::pair<MonotonicTime, std::string>> due_;
  std::map<std::uint16_t, Sent> sent_;
  std::uint16_t next_number_ = 0;
  MonotonicTime spent_until_{};  // the rate's budget; see send_due
  std::uint64_t follows_ = 0;
  bool urgent_ = false;        // a route has to change
  MonotonicTime next_pass_{};  // when to say so
};

}  // namespace mesh
