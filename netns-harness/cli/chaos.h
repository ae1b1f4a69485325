// `mesh-lab chaos`: a seeded chaos run with a live progress line.
#pragma once

#include <cstdint>
#include <string>

namespace mesh::lab {

struct ChaosCommand {
  std::uint64_t seed = 1;
  double minutes = 1;
  int nodes = 4;
  bool show_steps = false;
  std::string backend = "auto";
};

// The exit code: 0 only if every invariant held and the mesh came together again.
int run_chaos_command(const ChaosCommand& options);

}  // namespace mesh::lab
