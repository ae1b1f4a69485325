// SocketAddress: mesh::IpAddress and a port as the kernel's sockaddr, and back. Any thread.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>

#include "mesh/ip.h"

namespace mesh::lab {

class SocketAddress {
 public:
  SocketAddress() = default;  // to be filled by the kernel
  SocketAddress(const IpAddress& address, std::uint16_t port);

  sockaddr* raw() { return static_cast<sockaddr*>(static_cast<void*>(&storage_)); }
  [[nodiscard]] const sockaddr* raw() const {
    return static_cast<const sockaddr*>(static_cast<const void*>(&storage_));
  }
  [[nodiscard]] socklen_t size() const { return size_; }
  socklen_t* capacity() {  // for recvfrom and getsockname
    size_ = sizeof storage_;
    return &size_;
  }
  [[nodiscard]] IpAddress address() const;
  [[nodiscard]] std::uint16_t port() const;

 private:
  sockaddr_storage storage_{};
  socklen_t size_ = sizeof(sockaddr_storage);
};

}  // namespace mesh::lab
