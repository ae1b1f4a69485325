// Pinger: probes both ways between two workloads, at a steady rate, each direction counted exactly.
//
// One-way UDP packets with sequence numbers: unlike an echo's, a loss has a direction. A thread of
// its own sends and receives; a late tick is caught up, so the number sent is rate times duration.
// It begins to count once a probe has arrived each way.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "lab/wait.h"
#include "lab/workload.h"
#include "mesh/unique_fd.h"

namespace mesh::lab {

struct LostRange {
  std::uint32_t first = 0;  // sequence numbers, inclusive
  std::uint32_t last = 0;
  milliseconds at{0};  // when the first of them was sent, counted from the start
};

struct Direction {
  std::uint32_t sent = 0;
  std::uint32_t received = 0;  // different probes
  std::uint32_t lost = 0;
  std::uint32_t duplicates = 0;
  std::uint32_t refused = 0;  // of the lost: the sender's own kernel would not send them
  std::vector<LostRange> lost_ranges;
  std::set<IpAddress> sources;  // that the receiver saw
};

struct PingReport {
  Direction there;
  Direction back;
  [[nodiscard]] bool lossless() const { return there.lost == 0 && back.lost == 0; }
  [[nodiscard]] std::string to_string() const;
};

class Pinger {
 public:
  // Probes between two addresses, each of which `from` and `to` must have. Returns when both
  // directions work; throws LabError when they do not within `timeout` times patience().
  Pinger(const NetworkNamespace& from, const IpAddress& from_address, const NetworkNamespace& to,
         const IpAddress& to_address, unsigned per_second = 200,
         milliseconds timeout = milliseconds(5000));
  Pinger(const Workload& from, const Workload& to, Family family, unsigned per_second = 200)
      : Pinger(from.network(), from.address(family), to.network(), to.address(family), per_second) {
  }
  ~Pinger();
  Pinger(const Pinger&) = delete;
  Pinger& operator=(const Pinger&) = delete;

  // Returns once this many more probes have been sent each way: time that is counted in traffic.
  void let_pass(std::uint32_t probes);
  // When the first counted probe was sent: what LostRange::at counts from.
  [[nodiscard]] Clock::time_point started() const;
  // For how long nothing has arrived, by direction; any thread.
  struct Silence {
    milliseconds there{0};
    milliseconds back{0};
  };
  [[nodiscard]] Silence silence() const;
  // Stops sending, waits for what is under way (a second, or two of silence under patience),
  // counts.
  PingReport stop();

 private:
  struct Side;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mesh::lab
