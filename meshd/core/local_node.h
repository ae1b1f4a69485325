// What this node is, as far as decisions and plans depend on it: gathered by the shell, never read
// from anywhere here.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mesh/clock.h"
#include "mesh/ip.h"
#include "mesh/kernel.h"
#include "mesh/peer_state.h"
#include "mesh/public_key.h"
#include "mesh/wireguard.h"

namespace mesh {

struct LocalNode {
  std::string name;
  std::vector<IpAddress> addresses;  // underlay
  std::vector<Cidr> cidrs;           // workload prefixes that live here
  std::vector<Cidr> former_cidrs;    // that did until now; MeshModel keeps them
  std::set<IpAddress>
      host_addresses;  // of every link but the mesh device and loopback; no link-local ones
  std::map<std::string, std::string> labels;  // as configured: until the store has my record
  Mode mode = Mode::kPrefer;
  bool drained = false;  // leaves the mesh on purpose, or has left it
  bool host_traffic = false;
  std::vector<FailsafePort> failsafe;  // with host traffic: what takes the underlay all the same
  Duration fallback_after{};
  bool allow_withdrawal = true;  // false: who was encrypted is not sent to in plaintext
  std::uint16_t keepalive = 0;   // seconds, of proven peers

  Backend backend = Backend::kNone;
  PublicKey key;         // zero without WireGuard
  int device_index = 0;  // 0: the device is not there now
  std::string device_name;
  std::uint16_t listen_port = 0;
  std::vector<std::uint16_t> former_ports;  // where peers may still send to; the last one last
  std::uint32_t mtu = 0;                    // of the mesh device; 0: leave as it is
  bool mtu_fixed = false;                   // by the configuration: for every peer
  std::uint32_t underlay_mtu = 0;           // the smallest of the underlay's links; 0: not known
  std::uint32_t fwmark = 0;
  std::uint32_t table_w = 0;
  std::uint32_t table_h = 0;
  std::uint32_t table_t = 0;  // the peers' addresses for what this host itself sends
  std::uint32_t rule_priority = 0;
  bool ipv6 = true;                        // this kernel has IPv6
  bool connection_tracking = false;        // somebody here uses it already
  NftExpressions nft;                      // that this kernel has
  std::set<std::string> underlay_links;    // those that hold an underlay address
  std::set<std::string> unnumbered_links;  // of these, those without any IPv4 address
  friend bool operator==(const LocalNode&, const LocalNode&) = default;

  bool has_wireguard() const { return backend != Backend::kNone; }
  bool withdrawn() const { return mode == Mode::kOff || drained; }
  bool has_family(Family family) const;  // of the underlay
  // Whether this kernel can route the family at all.
  bool carries(Family family) const { return family == Family::kIpv4 || ipv6; }
  // The source for packets of this host into the mesh: a local address inside its own prefixes, if
  // there is one.
  std::optional<IpAddress> preferred_source(Family family) const;
  // The source for packets of this host to another: an underlay address that is on a link here.
  std::optional<IpAddress> host_source(Family family) const;
  // And in none that routes bear as their source: only peers with a claim to one of them care.
  bool differs_in_host_addresses_alone(const LocalNode& other) const;
  std::set<std::uint32_t> tables() const { return {table_w, table_h, table_t}; }
};

}  // namespace mesh
