// Packets for tests: UDP and TCP SYN packets as bytes, a TUN device the test itself serves, a
// capture, and real sockets.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/network_namespace.h"
#include "eventually.h"
#include "mesh/ip.h"

namespace mesh::test {

inline constexpr std::uint16_t kPort = 4711;

using Packet = std::vector<std::uint8_t>;

inline void put16(Packet& packet, std::size_t at, std::size_t value) {
  packet[at] = static_cast<std::uint8_t>(value >> 8);
  packet[at + 1] = static_cast<std::uint8_t>(value);
}
inline std::size_t get16(const Packet& packet, std::size_t at) {
  return static_cast<std::size_t>(packet[at]) << 8 | packet[at + 1];
}

// RFC 1071 over the parts.
inline std::uint16_t checksum(std::initializer_list<std::span<const std::uint8_t>> parts) {
  std::uint32_t sum = 0;
  for (const auto part : parts)
    for (std::size_t i = 0; i < part.size(); i += 2)
      sum += static_cast<std::uint32_t>(part[i] << 8 | (i + 1 < part.size() ? part[i + 1] : 0));
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

// An IP packet around `transport`, whose own checksum field is at `checksum_at`.
inline Packet ip_packet(const IpAddress& source, const IpAddress& destination,
                        std::uint8_t protocol, Packet transport, std::size_t checksum_at) {
  const std::array<std::uint8_t, 4> pseudo{0, protocol,
                                           static_cast<std::uint8_t>(transport.size() >> 8),
                                           static_cast<std::uint8_t>(transport.size())};
  put16(transport, checksum_at, checksum({source.bytes(), destination.bytes(), pseudo, transport}));
  Packet packet;
  if (source.family() == Family::kIpv4) {
    packet.assign(20, 0);
    packet[0] = 0x45;
    put16(packet, 2, 20 + transport.size());
    packet[8] = 64;
    packet[9] = protocol;
    std::copy_n(source.bytes().data(), 4, packet.begin() + 12);
    std::copy_n(destination.bytes().data(), 4, packet.begin() + 16);
    put16(packet, 10, checksum({packet}));
  } else {
    packet.assign(40, 0);
    packet[0] = 0x60;
    put16(packet, 4, transport.size());
    packet[6] = protocol;
    packet[7] = 64;
    std::copy_n(source.bytes().data(), 16, packet.begin() + 8);
    std::copy_n(destination.bytes().data(), 16, packet.begin() + 24);
  }
  packet.insert(packet.end(), transport.begin(), transport.end());
  return packet;
}

inline Packet udp_packet(const IpAddress& source, const IpAddress& destination,
                         std::size_t payload = 100) {
  Packet udp(8 + payload, 0);
  put16(udp, 0, kPort);
  put16(udp, 2, kPort);
  put16(udp, 4, udp.size());
  return ip_packet(source, destination, IPPROTO_UDP, udp, 6);
}

inline Packet tcp_syn(const IpAddress& source, const IpAddress& destination, std::size_t mss) {
  Packet tcp(24, 0);
  put16(tcp, 0, kPort);
  put16(tcp, 2, kPort);
  tcp[12] = 6 << 4;
  tcp[13] = 0x02;
  put16(tcp, 14, 65535);
  tcp[20] = 2;
  tcp[21] = 4;
  put16(tcp, 22, mss);
  return ip_packet(source, destination, IPPROTO_TCP, tcp, 16);
}
inline std::size_t header_size(const Packet& packet) { return packet[0] >> 4 == 4 ? 20 : 40; }
inline std::size_t mss_of(const Packet& syn) { return get16(syn, header_size(syn) + 22); }

struct Addresses {
  IpAddress source;
  IpAddress destination;
  friend bool operator==(const Addresses&, const Addresses&) = default;
};
inline std::optional<Addresses> addresses_of(const Packet& packet) {
  const bool four = !packet.empty() && packet[0] >> 4 == 4;
  const std::size_t at = four ? 12 : 8;
  const std::size_t size = four ? 4 : 16;
  if (packet.size() < at + 2 * size) return std::nullopt;
  const std::span<const std::uint8_t> bytes(packet);
  return Addresses{*IpAddress::from_bytes(bytes.subspan(at, size)),
                   *IpAddress::from_bytes(bytes.subspan(at + size, size))};
}

// A descriptor that gives one packet a read.
class PacketReader {
 public:
  explicit PacketReader(UniqueFd fd) : fd_(std::move(fd)) {}
  int fd() const { return fd_.get(); }
  // The next packet that waits; nothing when none does.
  std::optional<Packet> next() {
    Packet packet(65536);
    const ssize_t size = read(fd(), packet.data(), packet.size());
    if (size <= 0) return std::nullopt;
    packet.resize(static_cast<std::size_t>(size));
    return packet;
  }
  // The first packet between these two, past all others; nothing when patience runs out. What else
  // came is kept in seen().
  std::optional<Packet> wait_for(const Addresses& wanted) {
    std::optional<Packet> found;
    (void)eventually([&] {
      while (auto packet = next()) {
        const auto addresses = addresses_of(*packet);
        if (addresses == wanted) {
          found = std::move(packet);
          return true;
        }
        if (addresses) seen_.push_back(*addresses);
      }
      return false;
    });
    return found;
  }
  const std::vector<Addresses>& seen() const { return seen_; }

 private:
  UniqueFd fd_;
  std::vector<Addresses> seen_;
};

// A TUN device of the current namespace: reading takes what the kernel sends by it, writing makes
// the kernel receive.
inline PacketReader open_tun(const char* name) {
  UniqueFd fd(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  ifreq request{};
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  EXPECT_EQ(ioctl(fd.get(), TUNSETIFF, &request), 0) << std::strerror(errno);
  return PacketReader(std::move(fd));
}

// What arrives at a link of the current namespace, from the IP header on.
inline PacketReader capture(const char* link) {
  UniqueFd fd(socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL)));
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(if_nametoindex(link));
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0)
      << std::strerror(errno);
  return PacketReader(std::move(fd));
}

inline std::pair<sockaddr_storage, socklen_t> to_sockaddr(const IpAddress& address,
                                                          std::uint16_t port) {
  sockaddr_storage storage{};
  if (address.family() == Family::kIpv4) {
    auto& in = reinterpret_cast<sockaddr_in&>(storage);
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    std::memcpy(&in.sin_addr, address.bytes().data(), 4);
    return {storage, sizeof(sockaddr_in)};
  }
  auto& in = reinterpret_cast<sockaddr_in6&>(storage);
  in.sin6_family = AF_INET6;
  in.sin6_port = htons(port);
  std::memcpy(&in.sin6_addr, address.bytes().data(), 16);
  return {storage, sizeof(sockaddr_in6)};
}

// Takes all datagrams of both families to kPort.
inline UniqueFd udp_sink() {
  UniqueFd fd(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto [any, size] = to_sockaddr(*IpAddress::parse("::"), kPort);
  const int on = 1;
  EXPECT_EQ(setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&any), size), 0)
      << std::strerror(errno);
  return fd;
}

// Sends one datagram of 100 bytes from the current namespace, with a socket as programs use it;
// 0 or the errno. `device`: bound to it (SO_BINDTODEVICE).
inline int send_udp(const IpAddress& source, const IpAddress& destination,
                    const std::string& device = "") {
  const UniqueFd fd(socket(to_af(source.family()), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto [from, from_size] = to_sockaddr(source, kPort);
  const auto [to, to_size] = to_sockaddr(destination, kPort);
  if (!device.empty() && setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, device.c_str(),
                                    static_cast<socklen_t>(device.size())) != 0)
    return errno;
  const int on = 1;  // a sink may have the port too
  (void)setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&from), from_size) != 0) return errno;
  const std::array<char, 100> payload{};
  if (sendto(fd.get(), payload.data(), payload.size(), 0, reinterpret_cast<const sockaddr*>(&to),
             to_size) < 0)
    return errno;
  return 0;
}

}  // namespace mesh::test
