// Leaks: who sends how much unencrypted, from two samples of a node's status. Pure; any thread.
//
// What counts is plaintext between workloads, and between a node and another's workloads; what a
// node's own addresses say to each other is not counted by meshd, and what is dropped does not
// leak. Cost: linear in the peers, and a sort.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/status.h"

namespace mesh {

struct Leak {
  std::string node;
  State state = State::kPlaintext;
  std::string reason;  // in words; not escaped
  // Bytes and packets a second between the samples; received from the peer, sent to it, and sent to
  // it with a source that is in no record of this node.
  double rx_rate = 0;
  double tx_rate = 0;
  double foreign_rate = 0;
  bool pinned = false;  // masqueraded connections send, which keep the path they began on
  double rx_packet_rate = 0;
  double tx_packet_rate = 0;
  double foreign_packet_rate = 0;
  std::uint64_t rx_bytes = 0;  // in all
  std::uint64_t tx_bytes = 0;
  std::uint64_t foreign_bytes = 0;
  double rate() const { return rx_rate + tx_rate + foreign_rate; }
  std::uint64_t bytes() const { return rx_bytes + tx_bytes + foreign_bytes; }
};

struct LeakReport {
  std::string node;
  double seconds = 0;  // between the samples
  std::vector<Leak>
      leaks;  // peers that leak, leaked, or would: highest rate first, then most bytes
  bool leaking() const { return !leaks.empty() && leaks.front().rate() > 0; }
};

// `seconds`: the time between the two; a peer that is only in the later one has no rate yet.
LeakReport find_leaks(const Status& before, const Status& after, double seconds);

struct LeakTableOptions {
  bool wide = false;
  bool color = false;
};
std::string render_leaks(const LeakReport& report, const LeakTableOptions& options);
nlohmann::ordered_json to_json(const LeakReport& report);  // the schema meshd.leaks/v1

}  // namespace mesh
