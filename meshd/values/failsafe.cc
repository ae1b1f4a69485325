#include "mesh/failsafe.h"

#include <fmt/format.h>

#include <charconv>

namespace mesh {
namespace {

constexpr std::string_view kHint = "write a protocol and a port or a range, as tcp:22 or udp:67-68";

// 1 to 65535, digits alone; 0: it is none.
std::uint16_t port_of(std::string_view text) {
  std::uint16_t port = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), port);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() ? port
                                                                             : std::uint16_t{0};
}

}  // namespace

std::string_view to_string(IpProtocol protocol) {
  switch (protocol) {
    case IpProtocol::kTcp:
      return "tcp";
    case IpProtocol::kUdp:
      return "udp";
    case IpProtocol::kAny:
      break;
  }
  return "any";
}

std::string PortRange::to_string() const {
  return first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
}

std::string FailsafePort::to_string() const {
  if (!address) return fmt::format("{}:{}", mesh::to_string(protocol), ports.to_string());
  const bool brackets = address->family() == Family::kIpv6;
  return fmt::format("{}:{}{}{}:{}", mesh::to_string(protocol), brackets ? "[" : "",
                     address->to_string(), brackets ? "]" : "", ports.to_string());
}

Result<FailsafePort> parse_failsafe_port(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return make_error(ErrorCode::kInvalid, "'{}' {}: {}", text.substr(0, 64), why, kHint);
  };
  FailsafePort port;
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return refuse("names no protocol");
  const std::string_view protocol = text.substr(0, colon);
  if (protocol == "udp")
    port.protocol = IpProtocol::kUdp;
  else if (protocol != "tcp")
    return refuse("is of a protocol without ports that meshd knows");
  const std::string_view ports = text.substr(colon + 1);
  const std::size_t dash = ports.find('-');
  port.ports.first = port_of(ports.substr(0, dash));
  port.ports.last =
      dash == std::string_view::npos ? port.ports.first : port_of(ports.substr(dash + 1));
  if (port.ports.first == 0 || port.ports.last == 0) return refuse("has no port from 1 to 65535");
  if (port.ports.last < port.ports.first) return refuse("is a range that ends before it begins");
  return port;
}

std::vector<FailsafePort> default_failsafe_ports() {
  constexpr auto kTcp = IpProtocol::kTcp;
  constexpr auto kUdp = IpProtocol::kUdp;
  return {{kTcp, {22, 22}, {}},    {kUdp, {67, 68}, {}},   {kUdp, {53, 53}, {}},
          {kTcp, {53, 53}, {}},    {kTcp, {179, 179}, {}}, {kTcp, {2379, 2380}, {}},
          {kTcp, {6443, 6443}, {}}};
}

}  // namespace mesh
