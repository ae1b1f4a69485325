// One peer: its record, its keys and what they have shown. Pure; one thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/announcement.h"
#include "core/backoff.h"
#include "core/claims.h"
#include "core/decide.h"
#include "core/desired.h"
#include "core/health.h"
#include "core/local_node.h"
#include "core/pair_policies.h"
#include "core/path_mtu.h"
#include "mesh/downgrade.h"
#include "mesh/node_store.h"

namespace mesh {

// A key in the device, and what it has shown.
struct KeySlot {
  PublicKey key;
  Health health;
  MonotonicTime since{};      // first tried
  MonotonicTime next_kick{};  // when to start a handshake again, while there is need
  int kicked = 0;             // how often, before it was proven
  MonotonicTime last_kick{};
  std::optional<MonotonicTime> asked;  // for a look before the next kick
  bool owes_answer = false;  // the peer was heard under an old session, and has heard nothing yet
  // The device may have had a session with this key from an earlier publication.
  bool stale = false;
  // Another key still receives for this node: this one gets the AllowedIPs when it is proven.
  bool bare = false;
  Backoff kicks{std::chrono::seconds(2), std::chrono::seconds(60)};
};

class Peer {
 public:
  explicit Peer(std::string name) : name_(std::move(name)) {}

  // --- the record ---
  // How long a peer that is not sent to in plaintext keeps what its record has lost, unless another
  // node claims it: the news of a prefix that moves come one after the other.
  static constexpr Duration kGrace = std::chrono::seconds(10);
  void set_record(std::shared_ptr<const StoreEntry> entry, MonotonicTime now);
  // Keeps the last good record; `why` is reported with it.
  void set_bad_record(std::string why);
  // The record is gone, under a key that was not withdrawn: all is as before until the grace is
  // over, then it is for the caller to forget the peer.
  void vanish(MonotonicTime now) { vanished_until_ = now + kGrace; }
  bool vanished() const { return vanished_until_.has_value(); }
  bool vanished_for_good(MonotonicTime now) const { return vanished() && *vanished_until_ <= now; }
  // A prefix that the record does not have, and through which an earlier run sent to this peer.
  void keep_prefix(const Cidr& cidr, MonotonicTime now);
  bool lingers() const { return vanished() || !withdrawn_.empty(); }
  // Lets go of withdrawn prefixes whose grace is over, or of all where the peer is sent to in
  // plaintext. Returns true when claims() changed.
  bool let_go(MonotonicTime now);
  void set_gone(bool gone) {
    gone_ = gone;
    vanished_until_.reset();
  }
  bool gone() const { return gone_; }
  const std::shared_ptr<const StoreEntry>& entry() const { return record_; }  // the record's
  const NodeRecord& record() const { return std::get<NodeRecord>(*record_); }
  const Announcement& announcement() const { return announcement_; }
  const std::string& bad_record() const { return bad_record_; }
  NodeClaims claims() const;

  // --- keys ---
  // What is known of the keys besides the record.
  struct KeyFacts {
    bool duplicate = false;  // the published key is somebody else's as well
    // The device may still have sessions of the published key from before it was published: only a
    // new handshake proves it.
    bool stale = false;
    // The former key is still in the device, and has not been silent for long.
    bool former_receives = false;
    // The key through which the running data path already sends to this peer, and whether the
    // device has had a handshake with it.
    std::optional<PublicKey> adopted;
    bool adopted_session = false;
  };
  // Brings the slots in line with the published key, its conflicts and this node's own state.
  void update_keys(const LocalNode& local, const KeyFacts& facts, Instant now);
  // I had withdrawn my key: what was proven before must be proven again.
  void start_over(const LocalNode& local, Instant now);
  // My own endpoint has changed: the peer learns it from the next packet it hears.
  void show_endpoint() {
    if (active_) active_->owes_answer = true;
  }
  // A sample of one of its keys. Returns true when something to decide on changed.
  bool observe(const PublicKey& key, const HealthSample& sample);
  const std::optional<KeySlot>& active() const { return active_; }
  const std::optional<KeySlot>& candidate() const { return candidate_; }
  // The key it used before, until another is proven: what it sends under that one must decrypt.
  const std::optional<PublicKey>& former() const { return former_; }
  std::set<PublicKey> keys_in_use() const;

  // --- policies ---
  // What the policies say of this pair. As long as one that cannot be read might come first, the
  // pair's mode does not become weaker than it was.
  void set_policy(PairPolicy policy);
  const PairPolicy& policy() const { return policy_; }

  // --- decisions ---
  // Also notes the time of a change of state and, on a fallback, asks for a new proof.
  void decide(const LocalNode& local, Instant now);
  const Decision& decision() const { return decision_; }
  // Whether it was encrypted, and what became of that; also that of an earlier run.
  const EncryptionMemory& memory() const { return memory_; }
  void set_memory(EncryptionMemory memory) { memory_ = std::move(memory); }
  // An operator says that what it has become is right. False: it has not become less.
  bool allow_downgrade();
  // It was encrypted, and only an operator or a new proof may change where its packets go.
  bool held(const LocalNode& local) const { return !local.allow_withdrawal && memory_.proven; }
  WallTime since() const { return since_; }
  // Of the pair: what a policy says, else what both nodes publish; see set_policy.
  Mode mode(const LocalNode& local) const;
  // Both sides cover what their hosts say to each other.
  bool covers_hosts(const LocalNode& local) const {
    return local.host_traffic && announcement_.host_traffic;
  }
  std::optional<Endpoint> endpoint(const LocalNode& local) const { return endpoint_for(local); }
  void set_endpoint_problem(std::string why) { endpoint_problem_ = std::move(why); }
  // All that was refused or could not be read, for people.
  std::vector<std::string> warnings() const;
  void set_accepted(Accepted accepted) { accepted_ = std::move(accepted); }
  const Accepted& accepted() const { return accepted_; }
  Contribution contribution(const LocalNode& local) const;
  // What the way to it carries; empty: not known, the device's MTU is taken. Returns true when that
  // is news.
  bool set_path(std::optional<MeasuredPath> path);
  // What a route of the running data path says, until the way is measured.
  void adopt_route_mtu(Family family, std::uint32_t mtu);
  // Of its routes through the mesh device; 0: the device's.
  RouteMtu route_mtu(const LocalNode& local) const;

  // --- time ---
  struct Kick {
    PublicKey key;
    // Its sessions must go first: earlier kicks went out under a session that the peer may not
    // have, and nothing was heard.
    bool reset = false;
    // The same for the sake of time alone: WireGuard will try again by itself.
    bool early_reset = false;
    // The record's endpoint is written again, over one learned from the peer's own packets.
    bool endpoint = false;
    // Nothing yet: somebody has to look whether the peer was heard.
    bool look = false;
  };
  // Keys to start a handshake with now; reschedules them.
  std::vector<Kick> due_kicks(const LocalNode& local, Instant now);
  // When something changes by time alone.
  std::optional<MonotonicTime> deadline(const LocalNode& local, MonotonicTime now) const;

 private:
  void remember(const PairFacts& facts, WallTime now);
  void drop_active(MonotonicTime now);
  KeySlot new_slot(const PublicKey& key, const LocalNode& local, WallTime floor, Instant now) const;
  std::optional<Endpoint> endpoint_for(const LocalNode& local) const;
  bool may_fall_back(const LocalNode& local) const;
  PairFacts facts(const LocalNode& local, MonotonicTime now) const;
  std::uint16_t keepalive(const LocalNode& local, const KeySlot& slot) const;
  DesiredPeer desired_peer(const LocalNode& local, const KeySlot& slot) const;
  void add_host_routes(const LocalNode& local, const IpAddress& address,
                       std::vector<Route>& routes) const;

  std::string name_;
  std::shared_ptr<const StoreEntry> record_;
  Announcement announcement_;
  std::string bad_record_;
  bool gone_ = false;
  std::optional<MonotonicTime> vanished_until_;
  std::map<Cidr, MonotonicTime> withdrawn_;  // prefixes its record has lost, and until when it
                                             // keeps them
  bool duplicate_ = false;
  std::optional<KeySlot> active_;     // the proven key, or the only one
  std::optional<KeySlot> candidate_;  // a newer published key, to be proven beside the old one
  std::optional<PublicKey> former_;
  std::string endpoint_problem_;
  Accepted accepted_;
  EncryptionMemory memory_;
  bool fell_back_ = false;  // to plaintext; only a new handshake ends it
  PairPolicy policy_;
  std::optional<Mode> weakest_;  // allowed while a policy cannot be read
  Mode decided_mode_ = Mode::kOff;
  bool decided_ = false;
  Decision decision_;
  WallTime since_{};
  std::optional<MeasuredPath> path_;
  RouteMtu adopted_mtu_;
};

}  // namespace mesh
