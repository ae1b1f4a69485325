// EtcdView: what is known of the keys below the prefix, and what of it the observer has not been
// told. Pure but for its state: no connection, no clock. One thread.
//
// Fed key by key, from a read of everything or from the watch. Unchanged content is no change; what
// cannot be read is a BadRecord and costs that key alone. The entries outlive an outage: a read
// afterwards parses only what is new. Cost: proportional to what changed; a read of everything, to
// that.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "mesh/node_store.h"
#include "meshd/store/etcd/etcd_keys.h"

namespace mesh {

// Which state of which etcd.
struct EtcdStateId {
  std::uint64_t cluster = 0;
  std::int64_t revision = 0;  // 0: none was read yet
};

class EtcdView {
 public:
  struct Record {
    std::shared_ptr<const StoreEntry> entry;
    std::int64_t revision = 0;
    std::size_t text = 0;  // the value's hash: after a restore the same revision has other text
    unsigned read = 0;     // by which read of everything it was last seen
  };
  struct Mark {  // live, silent
    std::int64_t revision = 0;
    unsigned read = 0;
    WallTime since{};  // silent only
  };

  explicit EtcdView(const EtcdKeys& keys) : keys_(keys) {}

  // --- a read of everything: what is not put between the two is gone ---
  void start_over();
  void finish(EtcdStateId state);

  // --- one change ---
  void put(std::string_view key, std::string_view value, std::int64_t revision);
  void remove(std::string_view key);
  // Everything up to here has been said.
  void set_revision(std::int64_t revision) {
    state_.revision = std::max(state_.revision, revision);
  }
  std::int64_t revision() const { return state_.revision; }
  const EtcdStateId& state() const { return state_; }
  // How it is known that an etcd of state `now` was emptied, or restored from a backup, since the
  // last read, or is another; "": it went on.
  std::string why_back(const EtcdStateId& now) const;
  // That, of the last read of everything; until it is told by take(true).
  const std::string& went_back() const { return went_back_; }

  // What the observer has not been told, or everything when `complete`; from here on it has been.
  StoreUpdate take(bool complete);

  // --- what is so ---
  const std::map<std::string, Record>& nodes() const { return nodes_; }
  const Record* node(const std::string& name) const { return find(nodes_, name); }
  const Mark* live(const std::string& name) const { return find(live_, name); }
  const Mark* silent(const std::string& name) const { return find(silent_, name); }

  // Values as they count anywhere in meshd.
  StoreEntry read_record(std::string_view name, std::string_view value) const;
  PolicyEntry read_policy(std::string_view name, std::string_view value) const;

 private:
  struct Policy {
    std::shared_ptr<const PolicyEntry> entry;
    std::int64_t revision = 0;
    std::size_t text = 0;
    unsigned read = 0;
  };
  template <class T>
  static const T* find(const std::map<std::string, T>& map, const std::string& name) {
    const auto found = map.find(name);
    return found == map.end() ? nullptr : &found->second;
  }
  void put_node(std::string_view name, std::string_view value, std::int64_t revision);
  // True: `known` holds this text of this revision already.
  template <class Known>
  bool seen(Known& known, std::string_view value, std::int64_t revision) const;
  void put_policy(std::string_view name, std::string_view value, std::int64_t revision);
  void tell_liveness(StoreUpdate& update);

  EtcdKeys keys_;
  EtcdStateId state_;
  std::string went_back_;
  unsigned read_ = 0;
  std::map<std::string, Record> nodes_;
  std::map<std::string, Policy> policies_;
  std::map<std::string, Mark> live_;
  std::map<std::string, Mark> silent_;
  std::set<std::string> dirty_nodes_;  // record or liveness
  std::set<std::string> dirty_policies_;
  std::map<std::string, std::shared_ptr<const StoreEntry>> told_nodes_;
  std::map<std::string, std::shared_ptr<const PolicyEntry>> told_policies_;
  std::map<std::string, std::optional<WallTime>> told_silent_;
};

}  // namespace mesh
