// The mesh as this node sees it: records, claims, peers, and which of them have to be looked at
// again.
//
// Pure; one thread. There is one path: changes mark nodes dirty, settle() decides the dirty ones; a
// full resync marks all. Work is proportional to what changed and to what overlaps it.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/claims.h"
#include "core/desired.h"
#include "core/former_prefixes.h"
#include "core/local_node.h"
#include "core/mirror.h"
#include "core/pair_policies.h"
#include "core/peer.h"
#include "core/planner.h"
#include "core/policies.h"
#include "mesh/node_store.h"

namespace mesh {

class MeshModel {
 public:
  // --- inputs ---
  void set_local(LocalNode local, Instant now);
  // Returns how many records changed. Bad records never throw anybody out.
  std::size_t apply(const StoreUpdate& update, Instant now);
  // The records of an earlier run, for as long as the store has not answered; before adopt().
  // `proven`: the keys through which packets went then, by node; `own_labels`: mine.
  void restore(const StoreUpdate& records, std::map<std::string, PublicKey> proven,
               Labels own_labels, Instant now);
  // Frees the prefixes of a node whose record is gone and that must encrypt. kNotFound: no such
  // node; kInvalid: its record is there.
  Result<void> forget_gone(const std::string& node);
  // What an earlier run knew of a node, before the first update, whether or not the store answers.
  struct Remembered {
    std::shared_ptr<const StoreEntry> record;  // never null
    EncryptionMemory memory;
    bool gone = false;                           // its record was gone, and its prefixes blocked
    std::optional<PublicKey> sent_through = {};  // the key through which packets went to it
  };
  void remember(std::vector<Remembered> nodes);
  // An operator says that what a peer has become is right, and what is gone may be forgotten.
  // kNotFound: there is no such peer; kInvalid: it has not become less.
  Result<void> allow_downgrade(const std::string& node);
  // What the running data path shows, once, before the first settle(): who holds which prefix and
  // which key, and who is already sent to through WireGuard.
  void adopt(const Mirror& mirror, Instant now);
  // Handshakes and bytes of all keys in the device; `inner_tx` is our own count of inner bytes
  // sent, per node; null: nothing counts them.
  void observe(const Mirror& mirror, const std::map<std::string, std::uint64_t>* inner_tx,
               Instant now);
  // What the way to a peer was found to carry; see Peer::set_path.
  void set_path(const std::string& node, std::optional<MeasuredPath> path);
  // Sends one keepalive to a peer: it starts a handshake where the session has ended.
  void ask(const std::string& node);
  void mark_all_dirty();
  // The good versions of policies of an earlier run, for those that cannot be read now, and `lost`
  // (Policies::lost) as they were then; before the store's first answer.
  void remember_policies(const std::vector<EncryptionPolicy>& earlier,
                         const std::set<std::string>& lost = {});

  // --- decisions ---
  // Decides everything that is dirty or due, and brings `desired` in line; what to start and to
  // forget goes to `requests`. Returns the nodes whose state, reason or path changed, for the log.
  std::vector<std::string> settle(Instant now, Desired& desired, Touched& touched,
                                  Requests& requests);
  // The next time something changes by time alone.
  std::optional<MonotonicTime> deadline(MonotonicTime now) const;
  // Peers of the device that no record publishes are retired after this long without received data.
  static constexpr Duration kRetireAfter = std::chrono::seconds(60);

  // --- what is so ---
  const LocalNode& local() const { return local_; }
  const std::map<std::string, Peer>& peers() const { return peers_; }
  // Records of unknown nodes that cannot be read: they are no peers.
  const std::map<std::string, std::string>& refused() const { return refused_; }
  // My own record as the store has it; null when it is not there or not readable.
  const NodeRecord* own_record() const;
  bool own_record_unreadable() const { return own_bad_; }
  const Policies& policies() const { return policies_; }
  const Labels& own_labels() const { return own_labels_; }
  bool store_answered() const { return store_answered_; }
  // Whose it is, for people: a node's name, else the key's beginning.
  std::string name_of_key(const PublicKey& key) const;
  // The keys in use, and whose they are.
  const std::map<PublicKey, std::string>& owners_of_keys() const { return key_of_; }
  // There is something to decide on: the store's answer, or what it said in an earlier run.
  bool has_records() const { return store_answered_ || restored_; }
  // Of some peer nothing may go, or be taken, in plaintext.
  bool must_close() const;
  std::size_t to_decide() const { return dirty_.size(); }  // nodes that settle() will look at
  bool unsettled() const { return !due_.empty(); }         // somebody waits for a handshake

 private:
  struct Adopted {
    std::optional<PublicKey> key;  // none: the device is gone
    bool session = false;
  };
  struct Departing {  // a key in the device that no record publishes
    std::uint64_t rx_bytes = 0;
    MonotonicTime quiet_since{};
    bool foreign = false;  // no record ever published it
  };

  void take_back(const Remembered& node, MonotonicTime now);
  void recall(const NodeSet& listed, MonotonicTime now);
  bool stays_blocked(const Peer& peer) const;
  void apply_change(const StoreChange& change, MonotonicTime now);
  void close_what_goes(const StoreUpdate& update);
  void record_is_gone(const std::string& node, MonotonicTime now);
  void forget(const std::string& node);
  void release(std::map<std::string, Peer>::iterator peer);
  void erase(std::map<std::string, Peer>::iterator peer);
  std::size_t apply_policies(const StoreUpdate& update);
  // Gives the peers what the policies say of them now.
  void refresh_policies();
  void take_own_labels();
  void adopt_remembered(const Mirror& mirror);
  void let_go(MonotonicTime now);
  void keep_withdrawn(const PublicKey& key, const std::vector<Cidr>& allowed_ips,
                      const std::set<Cidr>& closed, MonotonicTime now);
  void mark(const NodeSet& nodes) { dirty_.insert(nodes.begin(), nodes.end()); }
  void settle_claims();
  void check_endpoint(Peer& peer);
  void decide_peer(const std::string& node, Peer& peer, Instant now, Requests& requests);
  void find_adopted(Peer& peer, Peer::KeyFacts& facts) const;
  // Who uses which key now; what nobody uses any more departs. Null: the peer is gone.
  void track_keys(const std::string& node, const Peer* peer, MonotonicTime now);
  void set_deadline(const std::string& node, std::optional<MonotonicTime> time);
  void retire(MonotonicTime now, Requests& requests);
  void update_departing(const Mirror& mirror, MonotonicTime now);
  bool key_is_known(const PublicKey& key) const;

  LocalNode local_;
  FormerPrefixes former_;
  Claims claims_;
  std::map<std::string, Peer> peers_;
  std::map<std::string, std::string> refused_;
  Policies policies_;
  PairPolicies pair_policies_;
  Labels own_labels_;                      // as the policies are asked about them
  std::optional<Labels> restored_labels_;  // of an earlier run
  std::shared_ptr<const StoreEntry> own_entry_;
  bool own_bad_ = false;
  bool store_answered_ = false;
  bool restored_ = false;
  std::map<std::string, PublicKey> remembered_;  // proven in an earlier run
  std::map<std::string, Remembered> recalled_;   // until the store has said all it holds
  std::map<std::string, Reason> downgrades_;     // not told yet
  NodeSet dirty_;
  std::set<std::pair<MonotonicTime, std::string>> due_;  // peers that change by time alone
  std::map<std::string, MonotonicTime> deadlines_;       // the same, by node
  std::map<Cidr, Adopted> adopted_;            // what the running data path sends through WireGuard
  std::map<Cidr, std::uint32_t> adopted_mtu_;  // of its routes
  bool adopting_ = true;                       // until the store's first answer was settled
  std::map<PublicKey, std::string> key_of_;    // keys in use, and whose they are
  std::map<std::string, std::set<PublicKey>> keys_of_;  // the same, by node
  std::map<PublicKey, Departing> departing_;
  // Keys of which an earlier run's device has had a handshake, while adopting_.
  std::set<PublicKey> old_sessions_;
  bool leftovers_known_ = false;  // the keys that an earlier run left have been seen
  bool start_over_ = false;
  bool local_dirty_ = true;
};

}  // namespace mesh
