#include "lab/ping.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <random>
#include <span>

#include "lab/error.h"
#include "lab/socket_address.h"

namespace mesh::lab {
namespace {

using Nonce = std::array<std::uint8_t, 16>;

Nonce make_nonce() {
  std::random_device random;
  Nonce nonce;
  for (auto& byte : nonce) byte = static_cast<std::uint8_t>(random());
  return nonce;
}

// An echo request whose data is the nonce. The kernel fills in the ICMPv6 checksum.
std::array<std::uint8_t, 8 + 16> echo_request(Family family, const Nonce& nonce) {
  std::array<std::uint8_t, 24> packet{};
  packet[0] = family == Family::kIpv4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
  packet[4] = nonce[0];  // identifier
  packet[5] = nonce[1];
  packet[7] = 1;  // sequence
  std::memcpy(packet.data() + 8, nonce.data(), nonce.size());
  if (family == Family::kIpv4) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < packet.size(); i += 2)
      sum += static_cast<std::uint32_t>(packet[i]) << 8 | packet[i + 1];
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    packet[2] = static_cast<std::uint8_t>(~sum >> 8);
    packet[3] = static_cast<std::uint8_t>(~sum);
  }
  return packet;
}

bool is_reply(Family family, std::span<const std::uint8_t> packet, const Nonce& nonce) {
  if (family == Family::kIpv4) {  // a raw IPv4 socket shows the IP header, an IPv6 one does not
    if (packet.empty()) return false;
    const std::size_t header = std::size_t{4} * (packet[0] & 0x0f);
    if (packet.size() < header) return false;
    packet = packet.subspan(header);
  }
  const int reply = family == Family::kIpv4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;
  return packet.size() >= 24 && packet[0] == reply &&
         std::memcmp(packet.data() + 8, nonce.data(), nonce.size()) == 0;
}

}  // namespace

Echo ping(const NetworkNamespace& from, const IpAddress& target, milliseconds timeout,
          const std::optional<IpAddress>& source) {
  const Family family = target.family();
  const int protocol = family == Family::kIpv4 ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6};
  const UniqueFd socket = from.socket(to_af(family), SOCK_RAW, protocol);
  if (source) {
    const SocketAddress own(*source, 0);
    check(::bind(socket.get(), own.raw(), own.size()), "bind to " + source->to_string());
  }
  const Nonce nonce = make_nonce();
  const auto request = echo_request(family, nonce);
  const SocketAddress to(target, 0);
  const auto start = Clock::now();
  if (::sendto(socket.get(), request.data(), request.size(), 0, to.raw(), to.size()) < 0) return {};

  const auto deadline = start + timeout * patience();
  std::array<std::uint8_t, 2048> buffer;
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now()).count();
    pollfd waiting{socket.get(), POLLIN, 0};
    if (left <= 0 || ::poll(&waiting, 1, static_cast<int>(left)) <= 0) return {};
    const ssize_t size = ::recv(socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size > 0 &&
        is_reply(family, std::span(buffer).first(static_cast<std::size_t>(size)), nonce))
      return {true, std::chrono::duration_cast<milliseconds>(Clock::now() - start)};
  }
}

}  // namespace mesh::lab
