// Diversions: peers whose packets somebody else leads past the mesh.
//
// A rule before meshd's own is not meshd's to remove, and most of them lead nothing away; so the
// kernel is asked where it would send a packet, and the answer is reported. Costs nothing while
// there is no such rule, else one lookup a peer (some 10 µs), of at most kMostLookups peers a time,
// in turns. What the question does not show (a rule that asks for a source, a socket bound to a
// device) shows in the counters: bytes that left unencrypted for a peer that is sent to through
// WireGuard. Loop thread only.
#pragma once

#include <map>
#include <set>
#include <string>

#include "core/mesh_model.h"
#include "core/mirror.h"
#include "mesh/dataplane.h"
#include "meshd/daemon/problems.h"
#include "meshd/daemon/traffic.h"

namespace mesh {

class Diversions {
 public:
  static constexpr int kMostLookups = 500;
  // What was on its way when the path changed is no diversion.
  static constexpr Duration kGrace = std::chrono::seconds(5);

  Diversions(Dataplane& dataplane, Problems& problems)
      : dataplane_(dataplane), problems_(problems) {}

  void look(const MeshModel& model, const Mirror& mirror, const Traffic& traffic,
            MonotonicTime now);
  // The nodes to which, by the last look, all packets go past the mesh.
  const std::set<std::string>& nodes() const { return nodes_; }
  // Those to which some do: bytes that left unencrypted lately.
  const std::map<std::string, std::uint64_t>& leaking() const { return leaking_; }

 private:
  struct Count {
    MonotonicTime since{};  // sent to through WireGuard
    MonotonicTime at{};     // of the last growth
    std::uint64_t begin = 0;
    std::uint64_t bytes = 0;
  };
  void ask(const MeshModel& model, const Mirror& mirror);
  void count(const MeshModel& model, const Traffic& traffic, MonotonicTime now);
  void report(const std::set<std::uint32_t>& priorities);

  Dataplane& dataplane_;
  Problems& problems_;
  std::set<std::string> nodes_;
  std::string next_;  // whose turn it is
  std::map<std::string, Count> counts_;
  std::map<std::string, std::uint64_t> leaking_;
};

}  // namespace mesh
