#include "lab/classify.h"

#include <net/ethernet.h>
#include <netinet/in.h>

#include <algorithm>
#include <optional>

namespace mesh::lab {
namespace {

constexpr std::size_t kEthernetHeader = 14;
constexpr std::size_t kUdpHeader = 8;
constexpr std::size_t kMaxRememberedFragments = 1024;

std::uint16_t be16(std::span<const std::uint8_t> bytes, std::size_t at) {
  return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

IpAddress address_at(std::span<const std::uint8_t> bytes, std::size_t at, std::size_t size) {
  const auto address = IpAddress::from_bytes(bytes.subspan(at, size));
  return address ? *address : IpAddress();
}

std::string protocol_name(int protocol) {
  switch (protocol) {
    case IPPROTO_ICMP:
      return "ICMP";
    case IPPROTO_ICMPV6:
      return "ICMPv6";
    case IPPROTO_TCP:
      return "TCP";
    case IPPROTO_UDP:
      return "UDP";
    default:
      return fmt::format("protocol {}", protocol);
  }
}

}  // namespace

struct Classifier::Packet {
  IpAddress source;
  IpAddress destination;
  int protocol = 0;
  std::size_t size = 0;                   // of the whole IP packet
  std::span<const std::uint8_t> payload;  // what was captured behind the IP headers
  bool first_fragment = false;
  bool later_fragment = false;
  std::uint32_t fragment_id = 0;

  static std::optional<Packet> parse(std::span<const std::uint8_t> frame) {
    if (frame.size() < kEthernetHeader) return std::nullopt;
    const std::uint16_t type = be16(frame, 12);
    if (type == ETHERTYPE_IP) return parse_v4(frame.subspan(kEthernetHeader));
    if (type == ETHERTYPE_IPV6) return parse_v6(frame.subspan(kEthernetHeader));
    return std::nullopt;
  }

  static std::optional<Packet> parse_v4(std::span<const std::uint8_t> ip) {
    if (ip.size() < 20) return std::nullopt;
    const std::size_t header = std::size_t{4} * (ip[0] & 0x0f);
    if (header < 20 || ip.size() < header) return std::nullopt;
    Packet packet;
    packet.size = be16(ip, 2);
    packet.fragment_id = be16(ip, 4);
    const std::uint16_t fragment = be16(ip, 6);
    packet.later_fragment = (fragment & 0x1fff) != 0;
    packet.first_fragment = !packet.later_fragment && (fragment & 0x2000) != 0;
    packet.protocol = ip[9];
    packet.source = address_at(ip, 12, 4);
    packet.destination = address_at(ip, 16, 4);
    packet.payload = ip.subspan(header);
    return packet;
  }

  static std::optional<Packet> parse_v6(std::span<const std::uint8_t> ip) {
    constexpr std::size_t kHeader = 40;
    if (ip.size() < kHeader) return std::nullopt;
    Packet packet;
    packet.size = kHeader + be16(ip, 4);
    packet.protocol = ip[6];
    packet.source = address_at(ip, 8, 16);
    packet.destination = address_at(ip, 24, 16);
    packet.payload = ip.subspan(kHeader);
    if (packet.protocol == IPPROTO_HOPOPTS && packet.payload.size() >= 8) {
      const std::size_t length = 8 + std::size_t{8} * packet.payload[1];
      packet.protocol = packet.payload[0];
      packet.payload = packet.payload.subspan(std::min(length, packet.payload.size()));
    }
    if (packet.protocol == IPPROTO_FRAGMENT && packet.payload.size() >= 8) {
      const auto header = packet.payload.first(8);
      packet.later_fragment = (be16(header, 2) & 0xfff8) != 0;
      packet.first_fragment = !packet.later_fragment && (header[3] & 1) != 0;
      packet.fragment_id = static_cast<std::uint32_t>(be16(header, 4)) << 16 | be16(header, 6);
      packet.protocol = header[0];
      packet.payload = packet.payload.subspan(8);
    }
    return packet;
  }

  // Neighbour discovery, router messages and multicast listener reports (RFC 4861, 3810).
  [[nodiscard]] bool is_link_upkeep() const {
    if (destination.is_multicast()) return true;
    return protocol == IPPROTO_ICMPV6 && !payload.empty() && payload[0] >= 130 && payload[0] <= 143;
  }

  // Requests and replies (RFC 792, 4443).
  [[nodiscard]] bool is_echo() const {
    if (later_fragment || payload.empty()) return false;
    if (protocol == IPPROTO_ICMP) return payload[0] == 8 || payload[0] == 0;
    return protocol == IPPROTO_ICMPV6 && (payload[0] == 128 || payload[0] == 129);
  }

  [[nodiscard]] bool is_wireguard(const std::set<std::uint16_t>& ports) const {
    if (protocol != IPPROTO_UDP || payload.size() < kUdpHeader) return false;
    if (!ports.contains(be16(payload, 2))) return false;
    const std::size_t udp_size = be16(payload, 4);
    return udp_size >= kUdpHeader &&
           has_wireguard_shape(payload.subspan(kUdpHeader), udp_size - kUdpHeader);
  }
};

bool has_wireguard_shape(std::span<const std::uint8_t> payload, std::size_t full_size) {
  if (payload.size() < 4 || payload[1] != 0 || payload[2] != 0 || payload[3] != 0) return false;
  switch (payload[0]) {
    case 1:  // handshake initiation
      return full_size == 148;
    case 2:  // handshake response
      return full_size == 92;
    case 3:  // cookie reply
      return full_size == 64;
    case 4:  // transport data: 16 bytes of header, a plaintext padded to 16, a tag of 16. (The
             // padding stops at the device's MTU, so that the largest packets have any size.)
      return full_size >= 32;
    default:
      return false;
  }
}

PacketClass Classifier::classify(std::span<const std::uint8_t> frame) {
  const auto packet = Packet::parse(frame);
  if (!packet || packet->is_link_upkeep()) return PacketClass::kOther;
  return classify_ip(*packet);
}

PacketClass Classifier::classify_ip(const Packet& packet) {
  const bool between_nodes =
      node_addresses_.contains(packet.source) && node_addresses_.contains(packet.destination);
  if (!between_nodes) {
    const bool link_local = packet.source.is_link_local() && packet.destination.is_link_local();
    return link_local ? PacketClass::kHost : PacketClass::kPlaintext;
  }
  if (packet.is_echo()) return PacketClass::kOther;
  const auto key = std::tuple(packet.source, packet.destination, packet.fragment_id);
  if (packet.later_fragment) {
    const auto first = fragments_.find(key);
    return first == fragments_.end() ? PacketClass::kHost : first->second;
  }
  const PacketClass result =
      packet.is_wireguard(listen_ports_) ? PacketClass::kWireguard : PacketClass::kHost;
  if (packet.first_fragment) {
    if (fragments_.size() >= kMaxRememberedFragments) fragments_.clear();
    fragments_[key] = result;
  }
  return result;
}

std::string describe(std::span<const std::uint8_t> frame) {
  if (frame.size() < kEthernetHeader) return "a runt";
  const std::uint16_t type = be16(frame, 12);
  const auto ip = frame.subspan(kEthernetHeader);
  if (type == ETHERTYPE_IP && ip.size() >= 20)
    return fmt::format("{} > {} {}, {} bytes", address_at(ip, 12, 4).to_string(),
                       address_at(ip, 16, 4).to_string(), protocol_name(ip[9]), be16(ip, 2));
  if (type == ETHERTYPE_IPV6 && ip.size() >= 40)
    return fmt::format("{} > {} {}, {} bytes", address_at(ip, 8, 16).to_string(),
                       address_at(ip, 24, 16).to_string(), protocol_name(ip[6]), 40 + be16(ip, 4));
  return fmt::format("ethertype {:#06x}", type);
}

}  // namespace mesh::lab
