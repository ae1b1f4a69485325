// IpAddress, Cidr, Endpoint: the addresses of the mesh, as values. Any thread; no allocation.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "mesh/result.h"

namespace mesh {

enum class Family : std::uint8_t { kIpv4 = 4, kIpv6 = 6 };

// AF_INET or AF_INET6, and back.
int to_af(Family family);
constexpr int address_bytes(Family family) { return family == Family::kIpv4 ? 4 : 16; }
constexpr int address_bits(Family family) { return address_bytes(family) * 8; }

class IpAddress {
 public:
  IpAddress() = default;  // 0.0.0.0
  // Network byte order; 4 bytes make an IPv4 address, 16 an IPv6 one. Any other size is a bug
  // (kInternal).
  static Result<IpAddress> from_bytes(std::span<const std::uint8_t> bytes);
  static IpAddress v4(std::uint32_t host_order);
  // Dotted quad or RFC 4291 text; no zone ("%eth0"), no port, no white space.
  static Result<IpAddress> parse(std::string_view text);

  Family family() const { return family_; }
  std::span<const std::uint8_t> bytes() const {
    return {bytes_.data(), static_cast<std::size_t>(address_bytes(family_))};
  }
  std::string to_string() const;  // RFC 5952 for IPv6

  bool is_unspecified() const;
  bool is_loopback() const;
  bool is_multicast() const;   // also 255.255.255.255
  bool is_link_local() const;  // 169.254.0.0/16, fe80::/10
  bool is_v4_mapped() const;   // ::ffff:0:0/96
  // "" for an address another host can be reached at; else why not, e.g. "a loopback address".
  std::string_view why_not_reachable() const;

  // The address with all bits after `length` cleared, or set.
  IpAddress masked(int length) const;
  IpAddress last_in(int length) const;
  // The next address, within the family; wraps from the last to the first (callers check first).
  IpAddress next() const;
  IpAddress previous() const;

  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;  // IPv4 before IPv6

 private:
  Family family_ = Family::kIpv4;
  std::array<std::uint8_t, 16> bytes_{};  // IPv4 in the first four, the rest zero
};

// A prefix whose host bits are zero.
class Cidr {
 public:
  Cidr() = default;  // 0.0.0.0/0
  Cidr(const IpAddress& address, int length)
      : base_(address.masked(length)), length_(static_cast<std::uint8_t>(length)) {}
  static Cidr host(const IpAddress& address) { return {address, address_bits(address.family())}; }
  // "10.1.0.0/24"; an address without a length is a host prefix. Host bits that are set are an
  // error that says which prefix was meant: the writer may have meant either.
  static Result<Cidr> parse(std::string_view text);

  const IpAddress& base() const { return base_; }
  int length() const { return length_; }
  Family family() const { return base_.family(); }
  bool is_host() const { return length_ == address_bits(family()); }
  bool is_default() const { return length_ == 0; }
  IpAddress last() const { return base_.last_in(length_); }
  bool contains(const IpAddress& address) const;
  bool covers(const Cidr& other) const;  // equal or less specific
  bool overlaps(const Cidr& other) const { return covers(other) || other.covers(*this); }
  std::string to_string() const;  // always with its length

  friend auto operator<=>(const Cidr&, const Cidr&) = default;  // by base, then shorter first

 private:
  IpAddress base_;
  std::uint8_t length_ = 0;
};

// Where WireGuard's UDP packets go. Port 0 is never valid.
struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;

  static Result<Endpoint> parse(std::string_view text);  // "192.0.2.2:51820", "[2001:db8::2]:51820"
  std::string to_string() const;
  friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

}  // namespace mesh

template <>
struct std::hash<mesh::IpAddress> {
  std::size_t operator()(const mesh::IpAddress& address) const noexcept;
};
template <>
struct std::hash<mesh::Cidr> {
  std::size_t operator()(const mesh::Cidr& cidr) const noexcept;
};
