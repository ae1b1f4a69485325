// classify(): what an Ethernet frame on the underlay is. Pure; any thread; no allocation but the
// fragments' memory. Reads at most the first kSnapLength bytes of a frame.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <tuple>

#include "mesh/ip.h"

namespace mesh::lab {

enum class PacketClass : std::uint8_t {
  kWireguard,  // UDP between nodes, to a listen port, with a WireGuard message's type and size
  kPlaintext,  // IP with an address that is no node's own: a workload's, a VIP's, a client's
  kHost,       // IP between the nodes' own underlay addresses, and not WireGuard
  kOther,      // ARP, neighbour discovery, multicast; echoes between nodes, which measure paths
};

inline constexpr std::size_t kSnapLength = 256;

class Classifier {
 public:
  // The nodes' underlay addresses, and the ports WireGuard listens on there.
  Classifier(std::set<IpAddress> node_addresses, std::set<std::uint16_t> listen_ports)
      : node_addresses_(std::move(node_addresses)), listen_ports_(std::move(listen_ports)) {}

  // A later fragment is of its first one's class.
  PacketClass classify(std::span<const std::uint8_t> frame);

 private:
  struct Packet;
  PacketClass classify_ip(const Packet& packet);
  std::set<IpAddress> node_addresses_;
  std::set<std::uint16_t> listen_ports_;
  std::map<std::tuple<IpAddress, IpAddress, std::uint32_t>, PacketClass> fragments_;
};

// A type 1 to 4 message of the WireGuard protocol (whitepaper, section 5.4) by its first bytes and
// its full size.
bool has_wireguard_shape(std::span<const std::uint8_t> payload, std::size_t full_size);

// One line for a person: "10.1.0.2 > 10.2.0.2 ICMP, 84 bytes".
std::string describe(std::span<const std::uint8_t> frame);

}  // namespace mesh::lab
