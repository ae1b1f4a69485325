#include "meshd/dataplane/path_probe.h"

#include <linux/errqueue.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "meshd/dataplane/errors.h"

namespace mesh {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t kIcmpHeader = 8;
constexpr std::size_t kCookie = 8;
constexpr std::size_t kLongestIpv4Header = 60;
constexpr std::uint32_t kLargestPacket = 65535;
constexpr int kSendTries = 3;

std::uint32_t ip_header_size(Family family) { return family == Family::kIpv4 ? 20 : 40; }

bool set_option(int socket, int level, int option, int value) {
  return setsockopt(socket, level, option, &value, sizeof value) == 0;
}

// ICMP_FILTER of linux/icmp.h and ICMP6_FILTER: a set bit blocks that type.
bool take_only_answers(int socket, Family family) {
  if (family == Family::kIpv4) {
    icmp_filter filter{~(1U << ICMP_ECHOREPLY)};
    return setsockopt(socket, SOL_RAW, ICMP_FILTER, &filter, sizeof filter) == 0;
  }
  icmp6_filter filter{};
  std::memset(&filter, 0xff, sizeof filter);
  filter.data[ICMPV6_ECHO_REPLY >> 5U] &= ~(1U << (ICMPV6_ECHO_REPLY & 31U));
  return setsockopt(socket, IPPROTO_ICMPV6, ICMPV6_FILTER, &filter, sizeof filter) == 0;
}

Result<UniqueFd> open_socket(Family family) {
  const bool v4 = family == Family::kIpv4;
  UniqueFd socket(::socket(to_af(family), SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC,
                           v4 ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6}));
  const std::string_view what = v4 ? "open a raw ICMP socket" : "open a raw ICMPv6 socket";
  if (!socket) return error_from_errno(errno, what);
  const bool ready =
      v4 ? set_option(socket.get(), IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE) &&
               set_option(socket.get(), IPPROTO_IP, IP_RECVERR, 1)
         : set_option(socket.get(), IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE) &&
               set_option(socket.get(), IPPROTO_IPV6, IPV6_RECVERR, 1);
  if (!ready || !take_only_answers(socket.get(), family)) return error_from_errno(errno, what);
  return socket;
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = sizeof(sockaddr_storage);

  SocketAddress() = default;
  explicit SocketAddress(const IpAddress& address) {
    if (address.family() == Family::kIpv4) {
      sockaddr_in in{};
      in.sin_family = AF_INET;
      std::memcpy(&in.sin_addr, address.bytes().data(), sizeof in.sin_addr);
      std::memcpy(&storage, &in, size = sizeof in);
    } else {
      sockaddr_in6 in6{};
      in6.sin6_family = AF_INET6;
      std::memcpy(&in6.sin6_addr, address.bytes().data(), sizeof in6.sin6_addr);
      std::memcpy(&storage, &in6, size = sizeof in6);
    }
  }
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
  std::optional<IpAddress> address() const {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&storage);
    auto parsed = storage.ss_family == AF_INET
                      ? IpAddress::from_bytes({bytes + offsetof(sockaddr_in, sin_addr), 4})
                      : IpAddress::from_bytes({bytes + offsetof(sockaddr_in6, sin6_addr), 16});
    if (!parsed) return std::nullopt;
    return *parsed;
  }
};

std::uint16_t be16(Bytes bytes, std::size_t at) {
  return static_cast<std::uint16_t>(bytes[at] << 8U | bytes[at + 1]);
}

void put_be16(std::span<std::uint8_t> bytes, std::size_t at, std::uint16_t value) {
  bytes[at] = static_cast<std::uint8_t>(value >> 8U);
  bytes[at + 1] = static_cast<std::uint8_t>(value);
}

// RFC 1071. The kernel does it for ICMPv6, whose checksum covers addresses too.
std::uint16_t checksum(Bytes bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) sum += be16(bytes, i);
  if (bytes.size() % 2 != 0) sum += std::uint32_t{bytes.back()} << 8U;
  while (sum >> 16U != 0) sum = (sum & 0xffffU) + (sum >> 16U);
  return static_cast<std::uint16_t>(~sum);
}

}  // namespace

Result<std::unique_ptr<PathProbe>> IcmpPathProbe::open() {
  auto ipv4 = open_socket(Family::kIpv4);
  auto ipv6 = open_socket(Family::kIpv6);
  if (!ipv4 && !ipv6) {
    if (ipv4.error().code != ErrorCode::kPermission) return ipv4.error();
    return make_error(ErrorCode::kPermission,
                      "CAP_NET_RAW is missing: give the service this capability");
  }
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return error_from_errno(errno, "epoll");
  for (auto* socket : {&ipv4, &ipv6}) {
    if (!*socket) continue;
    epoll_event event{};
    event.events = EPOLLIN;
    if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, (**socket).get(), &event) != 0)
      return error_from_errno(errno, "epoll");
  }
  return std::unique_ptr<PathProbe>(new IcmpPathProbe(ipv4 ? std::move(*ipv4) : UniqueFd(),
                                                      ipv6 ? std::move(*ipv6) : UniqueFd(),
                                                      std::move(epoll)));
}

IcmpPathProbe::IcmpPathProbe(UniqueFd ipv4, UniqueFd ipv6, UniqueFd epoll)
    : ipv4_(std::move(ipv4)), ipv6_(std::move(ipv6)), epoll_(std::move(epoll)) {
  // Does not fail for so few bytes (getrandom(2)).
  (void)!getrandom(&signature_.identifier, sizeof signature_.identifier, 0);
  (void)!getrandom(signature_.cookie.data(), signature_.cookie.size(), 0);
}

void IcmpPathProbe::set_mark(std::uint32_t mark) {
  for (const int socket : {ipv4_.get(), ipv6_.get()})
    if (socket >= 0) (void)set_option(socket, SOL_SOCKET, SO_MARK, static_cast<int>(mark));
}

void IcmpPathProbe::send(const Probe& probe) {
  const Family family = probe.to.family();
  const std::uint32_t header = ip_header_size(family);
  const int socket = socket_of(family);
  if (socket < 0 || probe.size < header + kIcmpHeader + kCookie || probe.size > kLargestPacket)
    return;
  packet_.assign(probe.size - header, 0);
  const bool v4 = family == Family::kIpv4;
  packet_[0] = v4 ? ICMP_ECHO : ICMPV6_ECHO_REQUEST;
  put_be16(packet_, 4, signature_.identifier);
  put_be16(packet_, 6, probe.number);
  std::memcpy(packet_.data() + kIcmpHeader, signature_.cookie.data(), kCookie);
  if (v4) put_be16(packet_, 2, checksum(packet_));
  SocketAddress to(probe.to);
  // A call may report an error that waits for another probe, and not send.
  for (int i = 0; i < kSendTries; ++i) {
    if (sendto(socket, packet_.data(), packet_.size(), 0, to.raw(), to.size) >= 0) return;
    if (errno == EMSGSIZE && refused_here(probe)) return;
  }
}

// Whether this very packet is larger than the link it would leave by.
bool IcmpPathProbe::refused_here(const Probe& probe) {
  bool here = false;
  while (const auto refusal = next_refusal(probe.to.family())) {
    ProbeNews news = refusal->news;
    if (refusal->local) {
      news.number = probe.number;
      here = true;
    }
    if (refusal->local || refusal->ours) news_.push_back(news);
  }
  return here;
}

// An entry of the socket's error queue: the refused packet from its ICMP header on, the address it
// was for, and who refused it.
std::optional<IcmpPathProbe::Refusal> IcmpPathProbe::next_refusal(Family family) {
  std::array<std::uint8_t, kIcmpHeader + kCookie> refused{};
  alignas(cmsghdr) std::array<std::uint8_t, 512> control{};
  SocketAddress target;
  iovec part{refused.data(), refused.size()};
  msghdr message{};
  message.msg_name = target.raw();
  message.msg_namelen = target.size;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t size = recvmsg(socket_of(family), &message, MSG_ERRQUEUE | MSG_DONTWAIT);
  if (size < 0) return std::nullopt;
  Refusal refusal;
  refusal.news.kind = ProbeNews::Kind::kRefused;
  const auto seen = Bytes(refused).first(static_cast<std::size_t>(size));
  const auto peer = target.address();
  for (cmsghdr* item = CMSG_FIRSTHDR(&message); item != nullptr;
       item = CMSG_NXTHDR(&message, item)) {
    const bool error = (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_RECVERR) ||
                       (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_RECVERR);
    sock_extended_err why{};
    if (!error || item->cmsg_len < CMSG_LEN(sizeof why)) continue;
    std::memcpy(&why, CMSG_DATA(item), sizeof why);
    if (why.ee_errno != EMSGSIZE || !peer) continue;
    refusal.news.peer = *peer;
    refusal.news.limit = why.ee_info;
    refusal.local = why.ee_origin == SO_EE_ORIGIN_LOCAL;
    refusal.ours = !refusal.local && is_ours(seen);
    if (refusal.ours) refusal.news.number = be16(seen, 6);
  }
  return refusal;
}

// Routers need to quote no more than the ICMP header: the cookie is looked at only where it is
// there.
bool IcmpPathProbe::is_ours(Bytes icmp) const {
  if (icmp.size() < kIcmpHeader || be16(icmp, 4) != signature_.identifier) return false;
  return icmp.size() < kIcmpHeader + kCookie ||
         std::memcmp(icmp.data() + kIcmpHeader, signature_.cookie.data(), kCookie) == 0;
}

void IcmpPathProbe::read_refusals(Family family, std::vector<ProbeNews>& news) {
  while (const auto refusal = next_refusal(family))
    if (refusal->ours) news.push_back(refusal->news);
}

void IcmpPathProbe::read_answers(Family family, std::vector<ProbeNews>& news) {
  const bool v4 = family == Family::kIpv4;
  // The head is enough: MSG_TRUNC tells how long the packet was.
  std::array<std::uint8_t, kLongestIpv4Header + kIcmpHeader + kCookie> head{};
  for (int failures = 0; failures < kSendTries;) {
    SocketAddress from;
    const ssize_t size = recvfrom(socket_of(family), head.data(), head.size(),
                                  MSG_TRUNC | MSG_DONTWAIT, from.raw(), &from.size);
    if (size < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      ++failures;  // what is in the error queue is reported here, too, before the next packet
      continue;
    }
    auto seen = Bytes(head).first(std::min(head.size(), static_cast<std::size_t>(size)));
    // A raw IPv4 socket shows the IP header, an IPv6 one does not.
    const std::size_t skip = v4 && !seen.empty() ? std::size_t{4} * (seen[0] & 0x0fU) : 0;
    if (seen.size() < skip + kIcmpHeader + kCookie) continue;
    seen = seen.subspan(skip);
    const auto peer = from.address();
    if (seen[0] != (v4 ? ICMP_ECHOREPLY : ICMPV6_ECHO_REPLY) || !is_ours(seen) || !peer) continue;
    ProbeNews answer;
    answer.number = be16(seen, 6);
    answer.peer = *peer;
    answer.size = static_cast<std::uint32_t>(size) + (v4 ? 0 : ip_header_size(family));
    news.push_back(answer);
  }
}

std::vector<ProbeNews> IcmpPathProbe::receive() {
  std::vector<ProbeNews> news = std::exchange(news_, {});
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    if (socket_of(family) < 0) continue;
    read_refusals(family, news);
    read_answers(family, news);
  }
  return news;
}

}  // namespace mesh
