// Snapshot: the last good node records and policies of a store as one text, for a start while the
// store is away.
//
// A header line with the format's version, the length and a checksum (BLAKE2b) of all that follows;
// then one line for the store it was taken from, one a node (before
// which another says what it was if it is less now) and one a policy (and one of its name alone
// where the store has lost it). A line of a kind this meshd
// does not know is skipped. The checksum finds damage, not forgery: the
// file's owner and mode are what keeps others out. Pure; any thread; linear in the text, whose size
// is bounded. parse(format(s)) equals s, but for what a record codec cannot keep (problems, bytes
// that are not UTF-8).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "mesh/clock.h"
#include "mesh/downgrade.h"
#include "mesh/node_store.h"
#include "mesh/public_key.h"
#include "mesh/result.h"

namespace mesh {

inline constexpr int kSnapshotVersion = 1;
// 10,000 ordinary records take about 6 MB. More than this is not written, and not read.
inline constexpr std::size_t kMaxSnapshotBytes = std::size_t{64} << 20;

// Whose records they are, and for whom: those of another store, or of another node, are of no use.
struct StoreIdentity {
  std::string type;      // "directory", "etcd", "kubernetes"
  std::string location;  // the path, the endpoints and prefix, the cluster
  std::string node;
  friend bool operator==(const StoreIdentity&, const StoreIdentity&) = default;
};

struct SnapshotNode {
  std::shared_ptr<const StoreEntry> record;  // a NodeRecord, never null
  // The key through which packets went to it: a reboot is no reason to send them in plaintext.
  std::optional<PublicKey> proven;
  bool gone = false;  // its record is gone, and its prefixes are blocked
  // That it was encrypted, where `proven` does not say so.
  EncryptionMemory memory = {};

  friend bool operator==(const SnapshotNode& a, const SnapshotNode& b) {
    return (a.record == b.record || *a.record == *b.record) && a.proven == b.proven &&
           a.gone == b.gone && a.memory == b.memory;
  }
};

struct Snapshot {
  StoreIdentity store;
  WallTime written{};  // whole seconds are kept
  std::vector<SnapshotNode> nodes;
  std::vector<EncryptionPolicy> policies;
  std::set<std::string> lost_policies;  // of these: in force, and not in a store that went back
  // What this node was: for a start before the network, which does not know its addresses, or where
  // its prefixes come from the store. Its name, addresses and prefixes alone.
  std::optional<NodeRecord> own;
  std::map<std::string, std::string> own_labels;  // as the store had them: policies go by them
  // Of a text that was read: the records in it that this meshd cannot take, and why.
  std::vector<std::string> problems;
};

std::string format_snapshot(const Snapshot& snapshot);
// The header line and `body`, which is taken as it is: for tests of what meshd would never write.
std::string seal_snapshot(std::string_view body);
// Anything but a whole, unharmed snapshot of this version is an error (kInvalid) led by `place`.
Result<Snapshot> parse_snapshot(std::string_view text, std::string_view place);

}  // namespace mesh
