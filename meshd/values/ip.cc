#include "mesh/ip.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace mesh {
namespace {

// Decimal without sign, white space or leading zeros ("08" would be octal to other readers).
bool parse_number(std::string_view text, unsigned maximum, unsigned& value) {
  if (text.empty() || (text.size() > 1 && text.front() == '0')) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value <= maximum;
}

std::uint8_t mask_of_byte(int length, int byte) {
  const int bits = std::clamp(length - byte * 8, 0, 8);
  return static_cast<std::uint8_t>(0xff00U >> static_cast<unsigned>(bits));
}

}  // namespace

int to_af(Family family) { return family == Family::kIpv4 ? AF_INET : AF_INET6; }

Result<IpAddress> IpAddress::from_bytes(std::span<const std::uint8_t> bytes) {
  if (bytes.size() != 4 && bytes.size() != 16)
    return make_error(ErrorCode::kInternal, "an IP address has 4 or 16 bytes, not {}",
                      bytes.size());
  IpAddress address;
  address.family_ = bytes.size() == 4 ? Family::kIpv4 : Family::kIpv6;
  std::copy(bytes.begin(), bytes.end(), address.bytes_.begin());
  return address;
}

IpAddress IpAddress::v4(std::uint32_t host_order) {
  IpAddress address;
  for (unsigned i = 0; i < 4; ++i)
    address.bytes_[i] = static_cast<std::uint8_t>(host_order >> (24U - 8U * i));
  return address;
}

Result<IpAddress> IpAddress::parse(std::string_view text) {
  // inet_pton wants a terminated string; the longest text it can take is shorter than this.
  std::array<char, INET6_ADDRSTRLEN + 1> buffer{};
  IpAddress address;
  address.family_ = text.find(':') == std::string_view::npos ? Family::kIpv4 : Family::kIpv6;
  if (text.size() < buffer.size() && text.find('\0') == std::string_view::npos) {
    std::copy(text.begin(), text.end(), buffer.begin());
    if (inet_pton(to_af(address.family_), buffer.data(), address.bytes_.data()) == 1)
      return address;
  }
  return make_error(ErrorCode::kInvalid, "'{}' is not an IPv4 or IPv6 address", text.substr(0, 64));
}

std::string IpAddress::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> buffer{};
  inet_ntop(to_af(family_), bytes_.data(), buffer.data(), buffer.size());
  return buffer.data();
}

bool IpAddress::is_unspecified() const { return bytes_ == decltype(bytes_){}; }

bool IpAddress::is_loopback() const {
  if (family_ == Family::kIpv4) return bytes_[0] == 127;
  return bytes_[15] == 1 &&
         std::all_of(bytes_.begin(), bytes_.end() - 1, [](auto b) { return b == 0; });
}

bool IpAddress::is_multicast() const {
  if (family_ == Family::kIpv6) return bytes_[0] == 0xff;
  const bool broadcast =
      std::all_of(bytes_.begin(), bytes_.begin() + 4, [](auto b) { return b == 0xff; });
  return (bytes_[0] & 0xf0U) == 0xe0U || broadcast;
}

bool IpAddress::is_link_local() const {
  if (family_ == Family::kIpv4) return bytes_[0] == 169 && bytes_[1] == 254;
  return bytes_[0] == 0xfe && (bytes_[1] & 0xc0U) == 0x80U;
}

bool IpAddress::is_v4_mapped() const {
  return family_ == Family::kIpv6 && bytes_[10] == 0xff && bytes_[11] == 0xff &&
         std::all_of(bytes_.begin(), bytes_.begin() + 10, [](auto b) { return b == 0; });
}

std::string_view IpAddress::why_not_reachable() const {
  if (is_unspecified()) return "the unspecified address";
  if (is_loopback()) return "a loopback address";
  if (is_multicast()) return "a multicast or broadcast address";
  if (is_link_local()) return "a link-local address";
  if (is_v4_mapped()) return "an IPv4-mapped address";
  return "";
}

IpAddress IpAddress::masked(int length) const {
  IpAddress result = *this;
  for (int i = 0; i < address_bytes(family_); ++i)
    result.bytes_[static_cast<std::size_t>(i)] &= mask_of_byte(length, i);
  return result;
}

IpAddress IpAddress::last_in(int length) const {
  IpAddress result = *this;
  for (int i = 0; i < address_bytes(family_); ++i)
    result.bytes_[static_cast<std::size_t>(i)] |=
        static_cast<std::uint8_t>(~mask_of_byte(length, i));
  return result;
}

IpAddress IpAddress::next() const {
  IpAddress result = *this;
  for (int i = address_bytes(family_) - 1; i >= 0; --i)
    if (++result.bytes_[static_cast<std::size_t>(i)] != 0) break;
  return result;
}

IpAddress IpAddress::previous() const {
  IpAddress result = *this;
  for (int i = address_bytes(family_) - 1; i >= 0; --i)
    if (result.bytes_[static_cast<std::size_t>(i)]-- != 0) break;
  return result;
}

Result<Cidr> Cidr::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  auto address = IpAddress::parse(text.substr(0, slash));
  if (!address)
    return make_error(ErrorCode::kInvalid,
                      "'{}' is not an IPv4 or IPv6 prefix such as 10.1.0.0/24 or fd00:1::/64",
                      text.substr(0, 64));
  if (slash == std::string_view::npos) return host(*address);
  unsigned length = 0;
  const int bits = address_bits(address->family());
  if (!parse_number(text.substr(slash + 1), static_cast<unsigned>(bits), length))
    return make_error(ErrorCode::kInvalid, "'{}': the prefix length must be a number from 0 to {}",
                      text.substr(0, 64), bits);
  const Cidr cidr(*address, static_cast<int>(length));
  if (cidr.base() != *address)
    return make_error(ErrorCode::kInvalid, "'{}' has host bits set: write {} or {}", text,
                      cidr.to_string(), host(*address).to_string());
  return cidr;
}

bool Cidr::contains(const IpAddress& address) const {
  return address.family() == family() && address.masked(length_) == base_;
}

bool Cidr::covers(const Cidr& other) const {
  return length_ <= other.length_ && contains(other.base_);
}

std::string Cidr::to_string() const { return fmt::format("{}/{}", base_.to_string(), length_); }

Result<Endpoint> Endpoint::parse(std::string_view text) {
  const Error bad = make_error(
      ErrorCode::kInvalid, "'{}' is not an endpoint such as 192.0.2.2:51820 or [2001:db8::2]:51820",
      text.substr(0, 64));
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  auto address = IpAddress::parse(host);
  unsigned port = 0;
  if (!address || bracketed != (address->family() == Family::kIpv6) ||
      !parse_number(text.substr(colon + 1), 65535, port) || port == 0)
    return bad;
  return Endpoint{*address, static_cast<std::uint16_t>(port)};
}

std::string Endpoint::to_string() const {
  if (address.family() == Family::kIpv6) return fmt::format("[{}]:{}", address.to_string(), port);
  return fmt::format("{}:{}", address.to_string(), port);
}

}  // namespace mesh

std::size_t std::hash<mesh::IpAddress>::operator()(const mesh::IpAddress& address) const noexcept {
  std::size_t value = static_cast<std::size_t>(address.family());
  for (const std::uint8_t byte : address.bytes()) value = value * 1099511628211U ^ byte;
  return value;
}

std::size_t std::hash<mesh::Cidr>::operator()(const mesh::Cidr& cidr) const noexcept {
  return std::hash<mesh::IpAddress>()(cidr.base()) * 131U + static_cast<std::size_t>(cidr.length());
}
