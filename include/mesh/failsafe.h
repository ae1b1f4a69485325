// What node-to-node traffic always takes the underlay, whatever is encrypted: the ports by which a
// node is reached when all else fails, and the store. Any thread (values).
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mesh/ip.h"
#include "mesh/result.h"

namespace mesh {

// The numbers of the IP header.
enum class IpProtocol : std::uint8_t { kAny = 0, kTcp = 6, kUdp = 17 };
std::string_view to_string(IpProtocol protocol);  // "tcp", "udp"; "any"

// Inclusive at both ends; 0 to 0: any.
struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  bool any() const { return first == 0 && last == 0; }
  std::string to_string() const;  // "22", "67-68"
  friend auto operator<=>(const PortRange&, const PortRange&) = default;
};

// Traffic to and from these ports; of one address alone where it names one (the store's).
struct FailsafePort {
  IpProtocol protocol = IpProtocol::kTcp;
  PortRange ports;
  std::optional<IpAddress> address;
  // "tcp:22", "udp:67-68", "tcp:192.0.2.9:2379", "tcp:[2001:db8::9]:2379"
  std::string to_string() const;
  friend auto operator<=>(const FailsafePort&, const FailsafePort&) = default;
};

// "tcp:22" or "udp:67-68". Errors (kInvalid) say what to write instead.
Result<FailsafePort> parse_failsafe_port(std::string_view text);

// SSH, DHCP, DNS, BGP, etcd and the Kubernetes API.
std::vector<FailsafePort> default_failsafe_ports();

}  // namespace mesh
