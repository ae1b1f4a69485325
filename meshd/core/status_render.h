// Status for people: a table, one peer, a graph. Pure: the time is given; any thread.
//
// The truth first: what is not encrypted and why stands before what is well. Every text that others
// wrote is escaped, so that no record can move a terminal's cursor or break out of a label.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace mesh {

struct TableOptions {
  bool wide = false;
  bool color = false;
  WallTime now{};
  std::size_t width = 0;  // columns of the terminal: reasons are shortened to fit; 0: never
};

// The summary line, the table, local problems and warnings. Peers in the order given. Ends in a
// new line, as the two below do.
std::string render_table(const Status& status, const TableOptions& options);
// All that is known of one peer, "key: value" lines.
std::string render_peer(const PeerStatus& peer, WallTime now);
// This node's view in DOT: solid green encrypted, orange degraded, dashed grey pending, red
// plaintext, dotted black blocked.
std::string render_graph(const Status& status);

// The pieces, for other renderings.
std::string render_summary(const Status& status, WallTime now);  // one line, no new line
std::vector<std::string> local_problems(const Status& status);   // error, store, backend, warnings
std::string reason_in_words(const PeerStatus& peer);             // not escaped; "" when none
std::string format_bytes(std::uint64_t bytes);                   // "0 B", "1.2 KiB", "340 MiB"
std::string format_age(const std::optional<WallTime>& time, WallTime now);  // "1m31s ago", "never"
}  // namespace mesh
