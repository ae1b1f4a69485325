// The leak matrix: what crosses the underlay in plaintext between two nodes that must encrypt,
// workloads and hosts, both families, while something is done to them; and the same with encryption
// off, which shows that the capture would have seen it.
//
// Traffic never stops (sprayer.h), also from sockets bound to the underlay's device. Each cell has
// labs of its own. One thread; some seconds a cell.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lab/lab.h"

namespace mesh::lab {

struct LeakCell {
  std::string name;
  std::function<void(Lab&)> act;  // under traffic; node-b is who it happens to
  // Where both guards are gone together, or the only one there is: why what was seen is all that is
  // possible. Not empty: it is shown, not judged.
  std::string possible = {};
  bool bound_sockets = true;  // false: without them, for whom nftables alone stands
};

// Packets seen in plaintext: of workloads, and between the nodes' own addresses but for what is
// exempt.
struct LeakCount {
  std::uint64_t workload4 = 0;
  std::uint64_t workload6 = 0;
  std::uint64_t host4 = 0;
  std::uint64_t host6 = 0;
  [[nodiscard]] std::uint64_t all() const { return workload4 + workload6 + host4 + host6; }
  [[nodiscard]] bool every_kind() const {
    return workload4 > 0 && workload6 > 0 && host4 > 0 && host6 > 0;
  }
};

struct LeakResult {
  std::string name;
  LeakCount required;
  LeakCount off;
  std::string seen;      // what leaked, the first few
  std::string possible;  // of the cell
  std::string failure;   // why it could not be measured; "" when it was
  [[nodiscard]] bool met() const {
    return failure.empty() && off.every_kind() && (required.all() == 0 || !possible.empty());
  }
};

// What the node holds now is in its snapshot: a boot will know it. Throws LabError if it never is.
void wait_until_written_down(Node& node);

[[nodiscard]] std::vector<LeakCell> leak_cells();
[[nodiscard]] LeakResult measure(const LeakCell& cell, const std::string& backend);

[[nodiscard]] std::string line_of(const LeakResult& result);
// docs/leaks.md: a section for each kind of WireGuard, as docs/faults.md has.
[[nodiscard]] std::string leak_section(const std::vector<LeakResult>& results,
                                       const std::string& backend, const std::string& kernel);
[[nodiscard]] std::string with_leak_section(const std::string& document,
                                            const std::string& section);

}  // namespace mesh::lab
