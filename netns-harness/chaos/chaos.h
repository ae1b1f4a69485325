// A chaos run: a mesh that is broken again and again in an order made from a seed, judged all the
// time (invariants.h) and at the end: all encrypted, `meshctl plan` empty, probes lossless for five
// seconds, and no daemon holding more than at the beginning (growth.h): one whose process nobody
// restarts, the witness, and of the others the last process against the first.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "chaos/acts.h"

namespace mesh::lab {

struct ChaosOptions {
  std::uint64_t seed = 1;
  std::chrono::milliseconds duration{60'000};
  int nodes = 4;
  std::string backend = "auto";
  // Told of every step and, about once a second, of how it goes.
  std::function<void(const std::string& line)> on_step = {};
  std::function<void(const std::string& line)> on_progress = {};
  milliseconds convergence{90'000};  // the full comparison comes once a minute
  // For tests of the judge: nothing is broken, but this is done once under way, as a bug would.
  bool calm = false;
  std::function<void(Lab&)> sabotage = {};
};

struct ChaosReport {
  unsigned steps = 0;
  unsigned skipped = 0;  // steps this kernel or backend has nothing for
  std::uint64_t samples = 0;
  std::uint64_t probes = 0;
  std::uint64_t plaintext = 0;
  std::uint64_t excused = 0;
  std::vector<std::string> violations;
  std::vector<std::string> not_converged;
  std::vector<std::string> grown;
  std::vector<std::string> footprints;  // a line per node: what was compared, begin and end
  std::vector<std::string> left_out;    // acts that this machine has nothing for, with the reason
  std::string diagnosis;                // when it failed
  // Something was done and looked at, and nothing was wrong.
  [[nodiscard]] bool ok() const {
    return steps > skipped && samples > 0 && probes > 0 && violations.empty() &&
           not_converged.empty() && grown.empty();
  }
  [[nodiscard]] std::string to_string() const;
};

// Throws LabError when the mesh does not come up at all.
ChaosReport run_chaos(const ChaosOptions& options);

}  // namespace mesh::lab
