// `mesh-lab leaks`: measures the leak matrix of docs/leaks.md.
#pragma once

#include <string>

namespace mesh::lab {

struct LeaksOptions {
  std::string cells;  // a regular expression over the cells' names; empty: all
  std::string output;
  bool append = false;  // keep the sections of other kinds of WireGuard
  bool list = false;    // only the cells' names
  std::string backend = "auto";
};

// The exit code: 0 only if every cell was measured and met.
int run_leaks(const LeaksOptions& options);

}  // namespace mesh::lab
