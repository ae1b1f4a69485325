// Daemon: puts the parts of one meshd together and runs them on one loop.
//
// Made, run and destroyed on one thread, which owns the state. The store's thread and the API's
// threads reach it through EventLoop::post() and through the immutable Status of the last pass.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "mesh/clock.h"
#include "mesh/dataplane.h"
#include "mesh/node_store.h"
#include "mesh/private_key.h"
#include "mesh/store_admin.h"
#include "meshd/daemon/api_server.h"
#include "meshd/daemon/config.h"
#include "meshd/daemon/event_loop.h"
#include "meshd/daemon/metrics.h"
#include "meshd/daemon/reconciler.h"
#include "meshd/store/snapshot_writer.h"

namespace mesh {

class SystemClock final : public Clock {
 public:
  Instant now() const override {
    return {std::chrono::steady_clock::now(), std::chrono::system_clock::now()};
  }
};

class Daemon final : private ApiBackend {
 public:
  // Reads or makes the key, opens the data plane, the store and the API. Every error is one line
  // that says what to do.
  static Result<std::unique_ptr<Daemon>> create(Config config, std::filesystem::path config_file);
  Daemon(const Daemon&) = delete;
  Daemon(Daemon&&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  Daemon& operator=(Daemon&&) = delete;
  ~Daemon() override;
  Result<void> run();  // until SIGTERM or SIGINT; leaves the data path as it is

 private:
  Daemon(Config config, std::filesystem::path config_file, PrivateKey key);
  Result<void> open();
  SnapshotPort open_snapshots();
  void close_at_start(const Snapshot& snapshot);
  Result<std::string> count();
  Result<std::string> forget(const std::string& node);
  TrafficPort open_counts();
  Result<void> start_api();
  void act();  // a pass, now
  Result<std::string> reload();
  Result<void> check_port(const Config& wanted);
  void note_pass();

  std::shared_ptr<const Status> status() override;
  ServiceHealth health() override;
  Result<std::string> command(std::string_view name, const nlohmann::json& arguments) override;
  Result<std::string> execute(const std::string& name, const nlohmann::json& arguments);
  Result<std::string> allow_plaintext(const std::string& node);

  Config config_;
  std::filesystem::path config_file_;
  PrivateKey key_;
  SystemClock clock_;
  // Not std::atomic<std::shared_ptr>: that of GCC 12 lets go of its lock in load() without ordering
  // the read before it, a race that TSan sees.
  std::mutex status_mutex_;
  std::shared_ptr<const Status> status_;
  std::atomic<std::int64_t> last_pass_{0};  // steady clock, nanoseconds
  std::atomic<bool> stopping_{false};
  std::mutex ready_mutex_;  // guards not_ready_ alone
  std::string not_ready_ = "the first pass is not done";

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<Dataplane> dataplane_;
  std::unique_ptr<NodeStore> store_;
  std::unique_ptr<StoreAdmin> store_admin_;    // the API's; null: there is none
  std::unique_ptr<SnapshotWriter> snapshots_;  // null: none is kept
  std::unique_ptr<SaveThread> counts_;
  std::unique_ptr<PathProber> paths_;
  std::unique_ptr<Reconciler> reconciler_;
  std::unique_ptr<ApiServer> api_;
  bool notified_ready_ = false;
};

// Removes all that meshd ever made in this kernel. Returns what that was. kBusy: a meshd runs.
Result<std::string> clean_up(const Config& config);

// meshd --guard: closes what must encrypt, from the last snapshot alone; for the time before the
// network at boot. Returns what was closed, or why there was nothing to go by. An error where
// something should be closed and could not be.
Result<std::string> guard(const Config& config);

// meshd --dry-run: the plan against the live kernel and store, changing nothing.
Result<std::string> dry_run(const Config& config);

}  // namespace mesh
