// Drain: leaving the mesh on purpose, and coming back.
//
// `meshctl drain` withdraws this node's key; when the store shows that and no peer has sent through
// the tunnel for kQuiet, the device is taken down. A file keeps the wish, so that neither a restart
// nor an upgrade brings a drained node back; `meshctl resume` removes it. Loop thread only.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <vector>

#include "core/mesh_model.h"
#include "core/mirror.h"
#include "core/status.h"
#include "mesh/clock.h"
#include "mesh/result.h"
#include "mesh/unique_fd.h"
#include "mesh/wireguard.h"
#include "meshd/daemon/problems.h"

namespace mesh {

class Drain {
 public:
  static constexpr Duration kQuiet = std::chrono::seconds(10);

  // `file`: where the wish is kept; empty: nowhere.
  Drain(std::filesystem::path file, Problems& problems);

  // Both do nothing when it is so already. The wish counts only once it is on disk.
  Result<void> leave();
  Result<void> come_back();

  DrainPhase phase() const { return phase_; }
  // While leaving: looks at what each peer has sent, and whether the store shows that the key is
  // withdrawn. Returns true when nobody would miss the device any more; it may go down then.
  bool steer(const MeshModel& model, const Mirror& mirror, bool store_in_sync, MonotonicTime now);
  DrainStatus status(const MeshModel& model, bool store_in_sync, MonotonicTime now) const;
  // When steer() may have another answer by time alone.
  std::optional<MonotonicTime> next() const;

 private:
  struct Heard {
    std::uint64_t rx_bytes = 0;
    MonotonicTime at{};
  };

  void observe(const std::map<PublicKey, WgPeer>& peers, bool withdrawn, MonotonicTime now);
  // Keys heard within kQuiet, and since the withdrawal.
  std::vector<PublicKey> still_sending(MonotonicTime now) const;
  void start_over();
  Result<void> write(DrainPhase phase) const;
  Result<UniqueFd> open_directory() const;
  Error system_error(const char* what) const;  // of errno

  std::filesystem::path file_;
  Problems& problems_;
  DrainPhase phase_ = DrainPhase::kNo;
  std::optional<MonotonicTime> withdrawn_since_;
  std::map<PublicKey, Heard> heard_;
  MonotonicTime last_heard_{};
};

}  // namespace mesh
