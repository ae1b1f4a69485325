// Reconciler: the one pass that everything goes through: gather → decide → plan → execute → report.
//
// Loop thread only; it owns the state. Inputs (store updates, kernel events, a new configuration)
// only record what changed; pass() acts. A pass without news costs next to nothing; a failed
// operation is tried again with back-off and never stops the others.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/mesh_model.h"
#include "core/planner.h"
#include "core/status.h"
#include "mesh/clock.h"
#include "mesh/dataplane.h"
#include "mesh/node_store.h"
#include "meshd/daemon/config.h"
#include "meshd/daemon/device_keeper.h"
#include "meshd/daemon/diversions.h"
#include "meshd/daemon/drain.h"
#include "meshd/daemon/drift.h"
#include "meshd/daemon/former_ports.h"
#include "meshd/daemon/held_back.h"
#include "meshd/daemon/kernel_view.h"
#include "meshd/daemon/local_facts.h"
#include "meshd/daemon/metrics.h"
#include "meshd/daemon/own_record.h"
#include "meshd/daemon/pace.h"
#include "meshd/daemon/path_prober.h"
#include "meshd/daemon/problems.h"
#include "meshd/daemon/silent_nodes.h"
#include "meshd/daemon/snapshot_keeper.h"
#include "meshd/daemon/traffic_keeper.h"

namespace mesh {

struct ReconcilerOptions {
  PublicKey key;
  WallTime key_created{};
  std::string version;
  std::function<void(NodeRecord)> publish;                    // to the store
  std::function<void(const std::string&)> forget = {};        // in the store; none: nobody is
  std::function<void(std::shared_ptr<const Status>)> report;  // after each pass
  std::filesystem::path drain_file;  // keeps that the node is drained; empty: nothing does
  SnapshotPort snapshots;            // what is there, and how to save
  TrafficPort traffic;               // the same of the counts
  PathProber* paths = nullptr;       // outlives the reconciler; null: no way is measured
  bool dry_run = false;              // change nothing: for dry_run() alone
};

class Reconciler {
 public:
  Reconciler(Dataplane& dataplane, const Clock& clock, Metrics& metrics, Config config,
             ReconcilerOptions options);

  void on_store_update(const StoreUpdate& update);
  // Whether one came that a pass has to look at.
  bool on_kernel_events();
  void reconfigure(Config config);  // a reload that was found possible

  // Leaves the mesh on purpose, and comes back; the next passes do the work. Both name what is in
  // the way.
  Result<void> drain();
  Result<void> resume();
  // An operator's word that a node whose record is gone will not be back: its prefixes are freed.
  Result<void> forget(const std::string& node);

  // What a peer that was encrypted has become is right: it is held back no more.
  Result<void> allow_downgrade(const std::string& node);
  // kBusy: the node lives, by what the store or its tunnel says, and its record is of use.
  Result<void> may_delete(const std::string& node) const;

  // The next pass reads the counters, however short a while ago they were read.
  void look() {
    sampling_.count_at_once();
    report_pace_ = {};  // and says so at once, whatever that costs: somebody asked
  }
  // Acts on all that was recorded. Returns when to call again if nothing else happens.
  MonotonicTime pass();
  // The orderly stop: writes down what is not yet.
  void finish();
  // What a pass would do now, after reading everything afresh; changes nothing.
  Result<std::string> preview();
  // Which policy decides for two nodes, and why, by what this node knows; as JSON, with a `text`
  // for people. kNotFound: there is no such node.
  Result<std::string> explain(const std::string& node, const std::string& other) const;
  // One pass that only says what it would do. Needs options.dry_run.
  std::string dry_run();
  // The store has answered and the last pass left nothing undone; else why not.
  const std::string& not_ready() const { return not_ready_; }

 private:
  void set_scope();
  // --- gather ---
  void gather(Instant now);
  void read_kernel(Instant now);
  void sample_device(Instant now);
  void update_local(Instant now);
  Backend backend_meanwhile() const;
  bool device_is_right() const;
  // --- decide, plan, execute, report ---
  void decide(Instant now);
  void execute(const Plan& plan, Instant now);
  void acknowledge(const Plan& plan, const std::vector<Result<void>>& results);
  bool device_vanished_meanwhile(const std::vector<Result<void>>& results);
  void note_results(const Plan& plan, const std::vector<Result<void>>& results, Instant now);
  void keep_own_record(Instant now);
  void forget_silent_nodes(Instant now);
  void note_went_back(const std::string& why, WallTime now);
  bool record_may_change(Instant now) const;
  void report(Instant now);
  std::string why_not_ready() const;
  std::string error(MonotonicTime now) const;
  void make_report(Instant now);
  void log_changes(const std::vector<std::string>& nodes);
  void tell_downgrades(const std::map<std::string, Reason>& downgrades);
  MonotonicTime next_time(Instant now) const;
  bool carries_traffic() const;
  PlanLimits limits(Instant now) const;

  Dataplane& dataplane_;
  const Clock& clock_;
  Metrics& metrics_;
  Config config_;
  ReconcilerOptions options_;

  MeshModel model_;
  Desired desired_;
  KernelView kernel_;
  Problems problems_;
  DeviceKeeper device_;
  OwnRecord own_record_;
  Drain drain_;
  UnderlayAddresses addresses_;
  FormerPorts former_ports_;
  Diversions diversions_;
  SnapshotKeeper snapshots_;
  TrafficKeeper counts_;
  SilentNodes silent_nodes_;
  Drift drift_;
  Touched touched_;

  bool decided_ = false;
  bool adopted_ = false;  // what was running at the start has been taken over
  std::optional<WallTime> counters_read_;
  bool device_is_new_ = false;     // made or found in this pass
  bool remember_at_once_ = false;  // who was encrypted: whoever kills meshd now must not undo it
  bool again_at_once_ = false;     // the device went away under the last plan
  HeldBack held_;                  // what the last passes left undone
  std::string device_problem_;     // why the device cannot be used although it exists
  std::optional<MonotonicTime> device_problem_since_;
  std::string dry_run_text_;
  bool store_seen_ = false;
  bool store_in_sync_ = false;
  std::string store_error_;
  std::optional<WallTime> store_changed_;
  std::optional<StoreWentBack> store_went_back_;
  std::string not_ready_ = "the first pass is not done";
  ComparisonPace comparison_;
  SamplePace sampling_;
  ReportPace report_pace_;
  std::uint64_t problems_reported_ = 0;

  std::optional<MonotonicTime> own_record_again_;
};

}  // namespace mesh
