// What a node announces about its WireGuard: the meshd.io/ annotations of its record, as values.
//
// Pure; any thread. One bad annotation costs itself and is reported; it never costs the record.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mesh/ip.h"
#include "mesh/node_record.h"
#include "mesh/peer_state.h"
#include "mesh/public_key.h"
#include "mesh/wireguard.h"

namespace mesh {

inline constexpr std::uint16_t kDefaultPort =
    51820;  // contract: the port of a record that names no endpoint

struct Announcement {
  std::optional<PublicKey>
      key;  // empty: none published, or an invalid one (then key_problem says why)
  std::string key_problem;
  std::vector<Endpoint> endpoints;  // in the order of preference of the announcing node; never
                                    // empty when it has addresses
  bool unsupported = false;         // it says "none: REASON"
  std::string
      support;  // "kernel", "userspace" or the whole "none: REASON"; "" when it says nothing
  Mode mode = Mode::kPrefer;
  bool host_traffic = false;
  std::vector<std::string>
      problems;  // annotations that could not be read, each with its name and the remedy
  friend bool operator==(const Announcement&, const Announcement&) = default;
};

Announcement read_announcement(const NodeRecord& record);

// The annotations a node publishes. Without a key (no WireGuard, or withdrawn) there is neither key
// nor endpoint.
std::map<std::string, std::string> write_announcement(const Announcement& announcement);

}  // namespace mesh
