// The demo: a mesh of four nodes, one of them without WireGuard, shown and proven.
#pragma once

#include <string>

namespace mesh::lab {

struct DemoOptions {
  std::string id;       // of the lab; empty: a random one
  std::string backend;  // of the three nodes with WireGuard
  bool keep = false;    // leave the mesh standing
};

// Prints as it goes; returns 0 only if every packet went as it should. Throws LabError.
int run_demo(const DemoOptions& options);

}  // namespace mesh::lab
