// Short ways to write values in tests. A text that does not parse ends the test program.
#pragma once

#include <array>
#include <string_view>

#include "mesh/ip.h"
#include "mesh/public_key.h"

namespace mesh::test {

inline IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }
inline Cidr cidr(std::string_view text) { return Cidr::parse(text).value(); }
inline Endpoint endpoint(std::string_view text) { return Endpoint::parse(text).value(); }

// The n-th public key; n from 1.
inline PublicKey key(int n) {
  std::array<std::uint8_t, PublicKey::kSize> bytes{};
  bytes[0] = static_cast<std::uint8_t>(n >> 8);
  bytes[1] = static_cast<std::uint8_t>(n);
  bytes[31] = 1;
  return PublicKey(bytes);
}

}  // namespace mesh::test
