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

class EtcdView {
 public:
  struct Record {
    std::shared_ptr<const StoreEntry> entry;
    std::int64_t revision = 0;
    unsigned read = 0;  // by which read of everything it was last seen
  };
  struct Mark {  // live, silent
    std::int64_t revision = 0;
    unsigned read = 0;
    WallTime since{};  // silent only
  };

  explicit EtcdView(const EtcdKeys& keys) : keys_(keys) {}

  // --- a read of everything: what is not put between the two is gone ---
  // `cluster`: another one than before has revisions of its own, so nothing is taken as unchanged.
  void start_over(std::uint64_t cluster);
  void finish(std::int64_t revision);

  // --- one change ---
  void put(std::string_view key, std::string_view value, std::int64_t revision);
  void remove(std::string_view key);
  // Everything up to here has been said.
  void set_revision(std::int64_t revision) { revision_ = std::max(revision_, revision); }
  std::int64_t revision() const { return revision_; }
  std::uint64_t cluster() const { return cluster_; }

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
    unsigned read = 0;
  };
  template <class T>
  static const T* find(const std::map<std::string, T>& map, const std::string& name) {
    const auto found = map.find(name);
    return found == map.end() ? nullptr : &found->second;
  }
  void put_node(std::string_view name, std::string_view value, std::int64_t revision);
  void put_policy(std::string_view name, std::string_view value, std::int64_t revision);
  void tell_liveness(StoreUpdate& update);

  EtcdKeys keys_;
  std::uint64_t cluster_ = 0;
  std::int64_t revision_ = 0;
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
