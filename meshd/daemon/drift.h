// Drift: what somebody else changed in the kernel since the last pass, and the count of what was
// put right. Loop thread only.
//
// A repair is what would have to be done if nothing were wanted anew. It is counted when it is
// found, by the object; a device takes all that was on it along, an address its routes, the
// nftables table its elements: each of those is one.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "core/planner.h"
#include "meshd/daemon/held_back.h"
#include "meshd/daemon/metrics.h"

namespace mesh {

class Drift {
 public:
  explicit Drift(Metrics& metrics) : metrics_(metrics) { forget(); }

  // Events of others; `kinds` as KernelView::drain names them.
  void note(std::set<std::string> kinds, const Touched& touched);
  // A comparison or a sample found `touched` to differ.
  void compared(const Touched& touched) { note({"comparison"}, touched); }
  // The device went by our own doing.
  void device_was_ourselves() { kinds_.erase("device"); }

  // Counts and logs what was noted. `device_is_new`: made in this pass, so that all on it is
  // missing.
  void count(const Desired& desired, const Mirror& mirror, const HeldBack& held, PlanLimits limits,
             bool device_is_new);
  void forget();
  // Peers that somebody else put into the device, and that are being taken out: each once, however
  // often it has to be tried.
  void count_foreign_peers(const std::set<PublicKey>& keys);

  std::uint64_t repairs() const { return repairs_; }

 private:
  void repaired(std::string_view object, std::size_t count);

  Metrics& metrics_;
  std::set<std::string> kinds_;
  Touched touched_;
  std::set<PublicKey> foreign_;  // counted already, and not gone yet
  std::uint64_t repairs_ = 0;
};

}  // namespace mesh
