// Diversions: peers whose packets somebody else's policy rule leads past the mesh.
//
// A rule before meshd's own is not meshd's to remove, and most of them lead nothing away; so the
// kernel is asked where it would send a packet, and the answer is reported. Costs nothing while
// there is no such rule, else one lookup a peer (some 10 µs), of at most kMostLookups peers a time.
// Loop thread only.
#pragma once

#include <set>
#include <string>

#include "core/mesh_model.h"
#include "core/mirror.h"
#include "mesh/dataplane.h"
#include "meshd/daemon/problems.h"

namespace mesh {

class Diversions {
 public:
  static constexpr int kMostLookups = 500;

  Diversions(Dataplane& dataplane, Problems& problems)
      : dataplane_(dataplane), problems_(problems) {}

  void look(const MeshModel& model, const Mirror& mirror);
  // The nodes found at the last look.
  const std::set<std::string>& nodes() const { return nodes_; }

 private:
  void report(const std::set<std::uint32_t>& priorities);

  Dataplane& dataplane_;
  Problems& problems_;
  std::set<std::string> nodes_;
};

}  // namespace mesh
