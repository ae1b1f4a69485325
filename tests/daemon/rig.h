// A daemon without a process: the reconciler over a kernel and a store in memory and a clock that
// stands still. run() is the event loop: it passes when the reconciler asked for it, at once when
// kernel events wait or the store has news, and moves the clock in between. One thread.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "core/world.h"
#include "fakes/fake_path_probe.h"
#include "fakes/fake_store.h"
#include "meshd/daemon/metrics.h"
#include "meshd/daemon/reconciler.h"

namespace mesh::test {

// Counts the calls that reach a data plane, by name. What the port learns to do has to be added
// here, and so to what is made to fail.
class CountingDataplane final : public Dataplane {
 public:
  // All that can fail, but for the operations.
  static constexpr std::array kCalls{"ensure-device",    "remove-device",  "read-device",
                                     "read-links",       "read-addresses", "read-routes",
                                     "read-rules",       "read-nftables",  "read-counters",
                                     "read-link-sysctl", "lookup"};

  explicit CountingDataplane(Dataplane& inner) : inner_(inner) {}

  Result<BackendChoice> ensure_device(const DeviceSpec& spec) override {
    count("ensure-device");
    return inner_.ensure_device(spec);
  }
  Result<void> remove_device(const DeviceSpec& spec) override {
    count("remove-device");
    return inner_.remove_device(spec);
  }
  void set_identity(const PrivateKey* key) override { inner_.set_identity(key); }
  Result<WgDevice> read_device() override {
    count("read-device");
    return inner_.read_device();
  }
  Result<std::vector<Link>> read_links() override {
    count("read-links");
    return inner_.read_links();
  }
  Result<std::vector<LocalAddress>> read_addresses() override {
    count("read-addresses");
    return inner_.read_addresses();
  }
  Result<std::vector<Route>> read_routes(std::uint32_t table) override {
    if (table == kMainTable) ++calls["read-main-routes"];
    if (table != kMainTable) count("read-routes");
    return inner_.read_routes(table);
  }
  Result<std::vector<Rule>> read_rules() override {
    count("read-rules");
    return inner_.read_rules();
  }
  Result<NftContents> read_nftables(const NftSpec& wanted) override {
    count("read-nftables");
    return inner_.read_nftables(wanted);
  }
  NftExpressions nft_expressions(const NftExpressions& wanted) override {
    return inner_.nft_expressions(wanted);
  }
  Result<std::vector<NftCounter>> read_counters(const NftSets& sets) override {
    count("read-counters");
    return inner_.read_counters(sets);
  }
  Result<int> read_link_sysctl(const std::string& link, LinkSysctl sysctl) override {
    count("read-link-sysctl");
    return inner_.read_link_sysctl(link, sysctl);
  }
  Result<RouteLookup> lookup(const IpAddress& destination, std::uint32_t mark) override {
    count("lookup");
    return inner_.lookup(destination, mark);
  }
  std::vector<Result<void>> apply(std::span<const Operation> operations) override {
    ++calls["apply"];
    operations_tried += operations.size();
    return inner_.apply(operations);
  }
  int event_fd() const override { return inner_.event_fd(); }
  std::vector<KernelEvent> drain_events() override { return inner_.drain_events(); }
  void watch_tables(std::set<std::uint32_t> tables) override {
    inner_.watch_tables(std::move(tables));
  }

  std::map<std::string, int> calls;
  std::size_t operations_tried = 0;

 private:
  void count(const char* call) {
    EXPECT_NE(std::find(kCalls.begin(), kCalls.end(), std::string_view(call)), kCalls.end())
        << call << " is not among what is made to fail";
    ++calls[call];
  }

  Dataplane& inner_;
};

// Node a of world.h, as a configuration: 192.0.2.1 on eth0, 10.1.0.1 on br0.
Config config_of_a();

class Rig {
 public:
  explicit Rig(Config config = config_of_a());

  // meshd is started over the kernel and the store as they are. Any earlier one was killed.
  void start(bool dry_run = false);
  // meshd was killed, and the kernel knows nothing any more of what it had set.
  void reboot();
  MonotonicTime pass();
  // From the next start() on, the ways to the peers are measured; `allowed`: may send probes.
  void measure_paths(bool allowed = true) { measures_ = allowed ? 1 : -1; }
  // The loop, for so long. Fails the test when it spins.
  void run(Duration duration);
  // The loop, until `condition` or for half a minute; whether it came true.
  bool run_until(const std::function<bool()>& condition);
  // A peer that answers handshakes.
  void add_peer(const std::string& name, int n);
  bool encrypted(const std::string& name) const { return state(name) == State::kEncrypted; }

  const PeerStatus& peer(const std::string& name) const;
  State state(const std::string& name) const { return peer(name).state; }
  Path path(const std::string& name) const { return peer(name).path; }
  std::optional<PublicKey> published_key() const;  // what the store shows of this node
  bool warns(const std::string& text) const;
  int errors(const std::string& operation) const;  // as the metrics count them
  int repairs(const std::string& object) const;
  // What a full comparison would still do.
  std::string left_to_do();

  FakeClock clock;
  FakeDataplane kernel;
  CountingDataplane dataplane;
  FakeStore store;
  Config config;
  std::shared_ptr<const Status> status;
  Metrics metrics;
  FakeUnderlay underlay;
  std::unique_ptr<PathProber> paths;  // null: nothing is measured
  std::unique_ptr<Reconciler> reconciler;
  std::size_t passes = 0;
  int published = 0;  // calls of publish
  // The snapshot, as on disk.
  bool keeps_snapshots = false;
  std::optional<Snapshot> snapshot;
  std::string snapshot_damage;  // why the one on disk cannot be used
  std::string save_problem;     // why none can be written now
  int saves = 0;
  std::optional<std::string> counts;  // of traffic, as on disk

 private:
  int metric(const std::string& series) const;
  bool events_wait() const;
  void make_prober();
  bool probes_are_due(MonotonicTime now) const;

  int measures_ = 0;
  std::deque<StoreUpdate> news_;
  MonotonicTime next_{};
};

}  // namespace mesh::test
