#include "lab/socket_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

namespace mesh::lab {

SocketAddress::SocketAddress(const IpAddress& address, std::uint16_t port) {
  const auto bytes = address.bytes();
  if (address.family() == Family::kIpv4) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    std::memcpy(&in.sin_addr, bytes.data(), bytes.size());
    std::memcpy(&storage_, &in, sizeof in);
    size_ = sizeof in;
  } else {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(port);
    std::memcpy(&in.sin6_addr, bytes.data(), bytes.size());
    std::memcpy(&storage_, &in, sizeof in);
    size_ = sizeof in;
  }
}

IpAddress SocketAddress::address() const {
  if (storage_.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &storage_, sizeof in);
    return IpAddress::v4(ntohl(in.sin_addr.s_addr));
  }
  sockaddr_in6 in{};
  std::memcpy(&in, &storage_, sizeof in);
  const auto parsed = IpAddress::from_bytes(in.sin6_addr.s6_addr);
  return parsed ? *parsed : IpAddress();
}

std::uint16_t SocketAddress::port() const {
  sockaddr_in in{};  // the port stands at the same place in both
  std::memcpy(&in, &storage_, sizeof in);
  return ntohs(in.sin_port);
}

}  // namespace mesh::lab
