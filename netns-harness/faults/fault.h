// Fault: one row of the table of faults, as an entry that says what is done to a mesh and when it
// is right again. Bench (bench.h) runs it, table.h shows it.
//
// A row is measured on the pair node-a (there) and node-b (back), both families; what is broken is
// broken on node-b, and node-c is the bystander that must not notice.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lab/error.h"
#include "lab/wait.h"

namespace mesh::lab {

class Bench;

enum class Group { kPlanned, kMove, kRepair, kFailure, kNaive };
inline constexpr Group kGroups[] = {Group::kPlanned, Group::kMove, Group::kRepair, Group::kFailure,
                                    Group::kNaive};
[[nodiscard]] std::string to_string(Group group);  // "planned", "move", …
[[nodiscard]] std::string title_of(Group group);

// What a row may cost.
enum class Cost {
  kNone,      // not one packet
  kMeasured,  // as few as can be: shown, with the reason, and bounded by the row's ceiling
  kSome,      // naive rows: none would mean that the instrument is blind
};

// What the mesh starts as.
enum class Start {
  kMesh,       // every node runs and is encrypted; the lab of the row before, where that is whole
  kFreshMesh,  // the same, in a lab of its own
  kWithoutB,   // a lab of its own in which node-b's meshd was never started
  kNoMeshd,    // a lab of its own in which none was
};

// The most that a row may cost where its cost is measured: some times what was seen natively, so
// that a row that becomes another one is not met. What takes time takes more of it on a slow
// machine: all are multiplied by patience().
struct Ceiling {
  std::uint32_t lost = 0;    // beyond what the time that a fault lasts costs by itself
  std::uint64_t leaked = 0;  // packets in plaintext
  milliseconds right_after{0};
};

struct Fault {
  using Step = std::function<void(Bench&)>;
  using Condition = std::function<bool(Bench&)>;

  std::string name;
  Group group = Group::kRepair;
  Step inject;         // under traffic
  Condition repaired;  // asked again and again; both sides must say encrypted too, see `encrypted`
  std::string why = {};            // the physical reason of what is lost
  std::string why_plaintext = {};  // and of what is seen in plaintext

  Step set_up = {};         // before there is traffic
  unsigned lasts = 0;       // probes (5 ms apart) between inject and end
  Step end = {};            // ends a fault that lasts; the time to repair is counted from here
  Step undo = {};           // after the measurement: the mesh as it was
  bool encrypted = true;    // it is over only when both sides call the other encrypted
  bool counted = false;     // meshd must have counted a repair
  Cost loss = Cost::kNone;  // on the pair
  Cost leak = Cost::kNone;
  Cost bystander = Cost::kNone;  // the loss of a pair that has nothing to do with it
  Start start = Start::kMesh;
  bool spoils = false;  // the next row needs a new lab
  milliseconds deadline{15'000};
  std::optional<Ceiling> ceiling = {};
  // Why it cannot run here; empty: it can.
  std::function<std::string(Bench&)> impossible = {};
};

[[nodiscard]] std::vector<Fault> planned_faults();
[[nodiscard]] std::vector<Fault> reload_faults();
[[nodiscard]] std::vector<Fault> move_faults();
[[nodiscard]] std::vector<Fault> device_faults();
[[nodiscard]] std::vector<Fault> routing_faults();
[[nodiscard]] std::vector<Fault> store_faults();
[[nodiscard]] std::vector<Fault> failure_faults();
[[nodiscard]] std::vector<Fault> naive_faults();
[[nodiscard]] std::vector<Fault> all_faults();  // in the table's order

// Thrown by a step when meshd says that it cannot do that (yet).
class NotBuilt : public LabError {
 public:
  using LabError::LabError;
};

}  // namespace mesh::lab
