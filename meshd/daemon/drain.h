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

#include "core/status.h"
#include "mesh/clock.h"
#include "mesh/result.h"
#include "mesh/wireguard.h"

namespace mesh {

class Drain {
 public:
  static constexpr Duration kQuiet = std::chrono::seconds(10);

  // `file`: where the wish is kept; empty: nowhere.
  explicit Drain(std::filesystem::path file);

  // Both do nothing when it is so already. The wish counts only once it is on disk.
  Result<void> leave();
  Result<void> come_back();

  DrainPhase phase() const { return phase_; }
  // What each key has received, and whether the store shows that the key is withdrawn.
  void observe(const std::map<PublicKey, WgPeer>& peers, bool withdrawn, MonotonicTime now);
  // Keys heard within kQuiet; those of a withdrawal that the store does not show are not waited
  // for yet, and not named.
  std::vector<PublicKey> still_sending(MonotonicTime now) const;
  bool withdrawn() const { return withdrawn_since_.has_value(); }
  // Nobody would miss the device.
  bool quiet(MonotonicTime now) const;
  // The device may go down. An error means only that a restart begins with leaving again.
  Result<void> done();
  // When quiet() may change by time alone.
  std::optional<MonotonicTime> next() const;

 private:
  struct Heard {
    std::uint64_t rx_bytes = 0;
    MonotonicTime at{};
  };

  void start_over();
  Result<void> write(DrainPhase phase) const;

  std::filesystem::path file_;
  DrainPhase phase_ = DrainPhase::kNo;
  std::optional<MonotonicTime> withdrawn_since_;
  std::map<PublicKey, Heard> heard_;
  MonotonicTime last_heard_{};
};

}  // namespace mesh
