// Netlink messages and attributes as bytes: a builder for requests, and a reader that validates
// every length before it is used. Pure; one thread at a time.
//
// Source: linux/netlink.h (nlmsghdr, nlattr; both aligned to 4 bytes, host byte order).
#pragma once

#include <linux/netlink.h>

#include <concepts>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace mesh {

using Bytes = std::span<const std::uint8_t>;

template <class T>
Bytes bytes_of(const T& value) {
  static_assert(std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>);
  return {reinterpret_cast<const std::uint8_t*>(&value), sizeof value};
}

// One request: header, the family's own header, attributes. The bytes are wiped when the message
// dies: some carry a private key. (A message that outgrows its reserve leaves an unwiped copy, so
// reserve enough for secrets.)
class NetlinkMessage {
 public:
  // `flags` beside NLM_F_REQUEST, which is always set.
  NetlinkMessage(std::uint16_t type, std::uint16_t flags, std::size_t reserve = 256);
  // A copy of a finished message that a library built (libnftnl).
  explicit NetlinkMessage(const nlmsghdr& finished);
  NetlinkMessage(NetlinkMessage&&) noexcept = default;
  NetlinkMessage& operator=(NetlinkMessage&& other) noexcept;
  NetlinkMessage(const NetlinkMessage&) = default;
  NetlinkMessage& operator=(const NetlinkMessage&) = delete;
  ~NetlinkMessage();

  // The family's header (rtmsg, genlmsghdr…), once and before any attribute.
  template <class T>
  void put_header(const T& header) {
    append(bytes_of(header));
  }
  // Precondition of all puts: the payload is shorter than 64 KiB, as nlattr::nla_len is 16 bits.
  void put(std::uint16_t type, Bytes payload);
  template <std::unsigned_integral T>
  void put_value(std::uint16_t type, T value) {
    put(type, bytes_of(value));
  }
  void put_string(std::uint16_t type, std::string_view text);  // with its terminating zero

  // A nest spans the attributes put until its end. Nests close in reverse order; what is not closed
  // yet is counted in size() but not in its nlattr.
  using Nest = std::size_t;
  [[nodiscard]] Nest begin_nest(std::uint16_t type);  // sets NLA_F_NESTED
  void end_nest(Nest nest);
  // Forgets everything put since: for filling a message up to a limit.
  void truncate(std::size_t size);

  std::size_t size() const { return bytes_.size(); }
  // Finishes nlmsg_len: read it after the last put.
  nlmsghdr& header();
  Bytes bytes();
  std::uint16_t flags() const;

 private:
  void append(Bytes payload);

  std::vector<std::uint8_t> bytes_;
};

// One attribute of an answer. The payload points into the answer.
struct NetlinkAttribute {
  std::uint16_t type = 0;  // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
  Bytes payload;

  // The value when the payload has exactly its size.
  template <class T>
  std::optional<T> as() const {
    static_assert(std::is_trivially_copyable_v<T>);
    if (payload.size() != sizeof(T)) return std::nullopt;
    T value{};
    std::memcpy(&value, payload.data(), sizeof value);  // payloads are aligned to 4 bytes only
    return value;
  }
  std::string_view as_string() const;  // up to the first zero or the end
};

// Splits `rest` into attributes one by one.
//   for (AttributeReader reader(payload); auto attribute = reader.next();) …
//   if (reader.malformed()) …
class AttributeReader {
 public:
  explicit AttributeReader(Bytes payload) : rest_(payload) {}
  std::optional<NetlinkAttribute> next();
  // An attribute claimed more than there was, or less than its own header.
  bool malformed() const { return malformed_; }

 private:
  Bytes rest_;
  bool malformed_ = false;
};

// Splits what one receive brought into its messages; ends at the first that is not whole. (Not
// mnl_nlmsg_ok, which takes a length beyond 2 GiB for a negative one.)
class MessageReader {
 public:
  // Aligned as nlmsghdr; must outlive what next() returns.
  explicit MessageReader(Bytes received) : rest_(received) {}
  const nlmsghdr* next();  // nullptr: no more

 private:
  Bytes rest_;
};

// The payload of an answer behind nlmsghdr and a family header of `header_size` bytes; empty when
// it is shorter than that. `message` must be complete (nlmsg_len bytes readable).
Bytes attributes_of(const nlmsghdr& message, std::size_t header_size);
// The family's header; no value when the message is too short for it.
template <class T>
std::optional<T> family_header(const nlmsghdr& message) {
  if (message.nlmsg_len < NLMSG_HDRLEN + sizeof(T)) return std::nullopt;
  T header{};
  std::memcpy(&header, reinterpret_cast<const std::uint8_t*>(&message) + NLMSG_HDRLEN, sizeof(T));
  return header;
}

}  // namespace mesh
