// Status: what a node says of itself and of its peers, as one value: the schema meshd.status/v1.
//
// The reconciler builds one per pass; the API, the metrics and meshctl only read it. Any thread (a
// value; shared as shared_ptr<const Status>). Never holds a secret. Its renderings for people are
// in status_render.h.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mesh/clock.h"
#include "mesh/downgrade.h"
#include "mesh/ip.h"
#include "mesh/peer_state.h"
#include "mesh/public_key.h"
#include "mesh/result.h"
#include "mesh/wireguard.h"

namespace mesh {

inline constexpr std::string_view kStatusSchema = "meshd.status/v1";

struct PeerStatus {
  std::string node;
  State state = State::kPending;
  Reason reason = Reason::kNone;
  // The reason in words, with what the peer itself says of it ("it has no WireGuard: no
  // /dev/net/tun"). Written by others: escape it wherever it is shown. "": explain(reason) is all.
  std::string detail;
  Path path = Path::kPlaintext;
  // Of what the two nodes themselves say to each other, but for what is exempt.
  Path host_path = Path::kPlaintext;
  WallTime since{};           // of the state
  Mode mode = Mode::kPrefer;  // of the pair
  std::string policy;         // the one that decides the mode; "": the nodes' own modes do
  // A policy that cannot be read and might come first: the pair is held no weaker than it was.
  std::string unreadable_policy;
  std::optional<Backend> backend;  // as the peer publishes it; empty: it says nothing
  std::optional<PublicKey> public_key;
  std::optional<Endpoint> endpoint;
  std::vector<IpAddress> addresses;
  std::vector<Cidr> cidrs;
  std::map<std::string, std::string> labels;
  // Whether it gives signs of life in the store, and since when not; empty: the store does not say.
  std::optional<bool> alive;
  std::optional<WallTime> silent_since;
  std::optional<WallTime> last_handshake;
  // Through WireGuard: bytes as WireGuard counts them (handshakes and keepalives too), packets of
  // those inside. All counts only grow, also over restarts.
  std::uint64_t rx_bytes = 0;
  std::uint64_t tx_bytes = 0;
  std::uint64_t rx_packets = 0;
  std::uint64_t tx_packets = 0;
  std::uint64_t plaintext_rx_bytes = 0;
  std::uint64_t plaintext_tx_bytes = 0;
  std::uint64_t plaintext_rx_packets = 0;
  std::uint64_t plaintext_tx_packets = 0;
  // Of what was sent: by masqueraded connections, which keep the path they began on.
  std::uint64_t pinned_bytes = 0;
  std::uint64_t pinned_packets = 0;
  std::uint64_t dropped_bytes = 0;  // both directions
  std::uint64_t dropped_rx_bytes = 0;
  std::uint64_t dropped_tx_bytes = 0;
  std::uint64_t dropped_rx_packets = 0;
  std::uint64_t dropped_tx_packets = 0;
  std::uint64_t foreign_source_bytes = 0;
  std::uint64_t foreign_source_packets = 0;
  std::optional<std::uint32_t>
      path_mtu;                      // an underlay packet of so many bytes passed; not measured
  std::optional<std::uint32_t> mtu;  // of packets inside the tunnel to it
  std::string mtu_reason;  // why path_mtu is not known, or not known to be so now; "" when it is
  std::vector<std::string> warnings;   // refused prefixes and addresses, with their cause
  std::optional<Downgrade> downgrade;  // it was encrypted, and is so no more

  friend bool operator==(const PeerStatus&, const PeerStatus&) = default;
};

// The store was emptied, or restored from a backup, while this daemon ran.
struct StoreWentBack {
  WallTime at{};    // when it was seen, the last time
  std::string why;  // how it is known

  friend bool operator==(const StoreWentBack&, const StoreWentBack&) = default;
};

struct StoreStatus {
  std::string type;
  bool in_sync = false;
  std::optional<WallTime> last_change;
  std::string error;  // why not in sync, or why the own record is not written; "" when all is well
  // When the records in force were written down, if they are those of an earlier run: the store has
  // not answered since the start.
  std::optional<WallTime> snapshot;
  std::optional<StoreWentBack> went_back = {};

  friend bool operator==(const StoreStatus&, const StoreStatus&) = default;
};

// Whether this node leaves the mesh on purpose.
enum class DrainPhase : std::uint8_t { kNo, kLeaving, kLeft };
std::string_view to_string(DrainPhase phase);  // "", "leaving", "left"

struct DrainStatus {
  DrainPhase phase = DrainPhase::kNo;
  std::string waits_for;  // while leaving: what keeps it, in words

  friend bool operator==(const DrainStatus&, const DrainStatus&) = default;
};

struct HostTrafficStatus {
  bool covered = false;                 // by this node; a pair is when both cover it
  std::vector<std::string> exemptions;  // what takes the underlay all the same, in words

  friend bool operator==(const HostTrafficStatus&, const HostTrafficStatus&) = default;
};

// A record of a node that is not among the peers, because no version of it could ever be read.
struct RefusedRecord {
  std::string node;
  std::string message;

  friend bool operator==(const RefusedRecord&, const RefusedRecord&) = default;
};

// A policy in the store that cannot be read.
struct RefusedPolicyStatus {
  std::string policy;
  std::string message;
  bool earlier_in_force = false;  // its last good version

  friend bool operator==(const RefusedPolicyStatus&, const RefusedPolicyStatus&) = default;
};

struct Status {
  std::string node;
  std::string version;  // of meshd
  Backend backend = Backend::kNone;
  std::string backend_reason;  // why not a better one; "" for the kernel
  std::string interface;
  std::vector<IpAddress> addresses;  // of the own record, as are the prefixes
  std::vector<Cidr> cidrs;
  std::optional<PublicKey> public_key;
  std::optional<WallTime> key_created;
  std::uint16_t listen_port = 0;
  Mode mode = Mode::kPrefer;
  StoreStatus store;
  DrainStatus drain;
  HostTrafficStatus host_traffic;
  std::uint64_t repairs = 0;
  // When the counts of plaintext and drops were last read from the kernel; empty: never, which is
  // so where there is no nf_tables.
  std::optional<WallTime> counters_read;
  std::optional<WallTime> last_reconcile;
  std::string error;                  // what keeps this node from doing its work; "" when nothing
  std::vector<std::string> warnings;  // local problems that do not
  std::vector<RefusedRecord> refused_records;
  std::uint64_t policies = 0;  // in force
  std::vector<RefusedPolicyStatus> refused_policies;
  std::vector<PeerStatus> peers;  // sorted by node

  friend bool operator==(const Status&, const Status&) = default;
};

// How many peers are in each state; index with State.
struct Summary {
  std::size_t peers = 0;
  std::array<std::size_t, kStateCount> by_state{};

  std::size_t of(State state) const { return by_state[static_cast<std::size_t>(state)]; }
};
Summary summarize(const Status& status);

const PeerStatus* find_peer(const Status& status, std::string_view node);  // null: no such peer

// The schema. Absent keys, endpoints and texts are ""; absent times are null. Fields keep the
// contract's order.
nlohmann::ordered_json to_json(const Status& status);
nlohmann::ordered_json to_json(const PeerStatus& peer);
// The same as text. Bytes that are not UTF-8 become U+FFFD, so that one hostile record cannot take
// the whole answer away. `indent` < 0: one line.
std::string to_json_text(const Status& status, int indent = -1);
// Refuses (kInvalid, naming the field) what is not that schema; ignores fields it does not know,
// and takes a reason it does not know as detail, so that an older meshctl reads a newer meshd. Any
// bytes are safe to give.
Result<Status> status_from_json(std::string_view text);
Result<PeerStatus> peer_from_json(std::string_view text);  // one element of "peers"

// "2026-11-22T15:00:01Z": RFC 3339 in UTC, whole seconds.
std::string format_time(WallTime time);
std::string format_time_exactly(WallTime time);  // the same with milliseconds
// RFC 3339 with any offset and fraction; kInvalid for what is none, or outside 1970 to 2261.
Result<WallTime> parse_time(std::string_view text);

}  // namespace mesh
