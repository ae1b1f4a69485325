#include "lab/capture.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>

#include <cerrno>
#include <cstring>

#include "lab/error.h"

namespace mesh::lab {
namespace {

constexpr std::uint16_t kSentinelType = 0x88b5;  // IEEE 802 local experimental
constexpr std::size_t kSeenLimit = 8;
constexpr std::size_t kTakeLimit = 100'000;
constexpr int kBufferBytes = 128 << 20;  // some 200,000 packets while the reader is kept waiting

sockaddr_ll link_address(int ifindex, std::uint16_t protocol) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(protocol);
  address.sll_ifindex = ifindex;
  return address;
}

template <class T>
const sockaddr* generic(const T& address) {
  return static_cast<const sockaddr*>(static_cast<const void*>(&address));
}

// Only the start of a frame is kept: a large buffer then holds many.
void truncate_to_snap_length(int socket) {
  sock_filter accept[] = {{BPF_RET | BPF_K, 0, 0, kSnapLength}};
  const sock_fprog program{1, accept};
  check(::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program),
        "SO_ATTACH_FILTER");
}

// Every frame that enters any interface of the namespace; none that leaves.
UniqueFd open_capture(const NetworkNamespace& underlay) {
  UniqueFd socket = underlay.socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
  const int on = 1;
  check(::setsockopt(socket.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on),
        "PACKET_IGNORE_OUTGOING");
  check(::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kBufferBytes, sizeof kBufferBytes),
        "SO_RCVBUFFORCE");
  truncate_to_snap_length(socket.get());
  const sockaddr_ll all = link_address(0, ETH_P_ALL);
  check(::bind(socket.get(), generic(all), sizeof all), "bind the capture");
  return socket;
}

ifreq interface_request(const std::string& name) {
  ifreq request{};
  (void)name.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

int index_of(int socket, const std::string& name) {
  ifreq request = interface_request(name);
  check(::ioctl(socket, SIOCGIFINDEX, &request), "index of " + name);
  return request.ifr_ifindex;
}

std::string to_text(const Count& count) {
  return fmt::format("{} WireGuard, {} plaintext, {} host, {} other", count.wireguard,
                     count.plaintext, count.host, count.other);
}

}  // namespace

std::string Verdict::to_string() const {
  std::string text = fmt::format("there: {}; back: {}", to_text(ab), to_text(ba));
  for (const auto& line : plaintext_seen) text += "\n  plaintext: " + line;
  return text;
}

Capture::Capture(Lab& lab, std::set<std::uint16_t> listen_ports) : lab_(lab), classifier_({}, {}) {
  std::set<IpAddress> node_addresses;
  for (const auto& node : lab_.nodes()) {
    learn_port(node->name(), Lab::port_of(*node), node->network());
    for (const Family family : list(lab_.spec().underlay))
      node_addresses.insert(node->address(family));
  }
  if (lab_.spec().outside_client) learn_port("outside", "outside", lab_.outside().network());
  classifier_ = Classifier(std::move(node_addresses), std::move(listen_ports));
  socket_ = open_capture(lab_.underlay());
  stop_ = UniqueFd(check(::eventfd(0, EFD_CLOEXEC), "eventfd"));
  thread_ = std::thread([this] { work(); });
}

Capture::~Capture() {
  const std::uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof one);
  thread_.join();
}

void Capture::learn_port(const std::string& name, const std::string& port,
                         const NetworkNamespace& network) {
  const UniqueFd probe = lab_.underlay().socket(AF_INET, SOCK_DGRAM, 0);
  ports_[index_of(probe.get(), port)] = name;
  UniqueFd sender = network.socket(AF_PACKET, SOCK_RAW, 0);  // protocol 0: it receives nothing
  ifreq request = interface_request("eth0");
  check(::ioctl(sender.get(), SIOCGIFHWADDR, &request), "address of eth0");
  Mac mac;
  std::memcpy(mac.data(), request.ifr_hwaddr.sa_data, mac.size());
  macs_[mac] = name;
  const sockaddr_ll eth0 = link_address(index_of(sender.get(), "eth0"), 0);
  check(::bind(sender.get(), generic(eth0), sizeof eth0), "bind to eth0");
  senders_.emplace_back(name, std::move(sender));
}

void Capture::work() {
  std::array<std::uint8_t, kSnapLength> buffer;
  for (;;) {
    std::array<pollfd, 2> waiting{{{socket_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
    if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) return;
    if (waiting[1].revents != 0) return;
    for (;;) {
      sockaddr_ll from{};
      socklen_t size = sizeof from;
      const ssize_t got = ::recvfrom(socket_.get(), buffer.data(), buffer.size(), 0,
                                     static_cast<sockaddr*>(static_cast<void*>(&from)), &size);
      if (got < 0) break;
      if (got >= ETH_HLEN)
        take(std::span(buffer).first(static_cast<std::size_t>(got)), from.sll_ifindex);
    }
  }
}

void Capture::take(std::span<const std::uint8_t> frame, int port) {
  const auto from = ports_.find(port);
  if (from == ports_.end()) return;  // the bridge's own interface
  const std::lock_guard guard(mutex_);
  if (frame[12] == kSentinelType >> 8 && frame[13] == (kSentinelType & 0xff)) {
    std::uint64_t nonce = 0;
    if (frame.size() >= ETH_HLEN + sizeof nonce)
      std::memcpy(&nonce, frame.data() + ETH_HLEN, sizeof nonce);
    ++sentinels_[from->second][nonce];
    return;
  }
  Mac destination;
  std::memcpy(destination.data(), frame.data(), destination.size());
  const auto to = macs_.find(destination);
  const PacketClass kind = classifier_.classify(frame);
  if (to == macs_.end() && kind == PacketClass::kOther) return;  // broadcast, multicast
  const bool ipv6 = frame[12] == ETHERTYPE_IPV6 >> 8 && frame[13] == (ETHERTYPE_IPV6 & 0xff);
  Tally& tally = tallies_[{from->second, to == macs_.end() ? "" : to->second}];
  switch (kind) {
    case PacketClass::kWireguard:
      ++tally.count.wireguard;
      break;
    case PacketClass::kHost:
      if (ipv6) ++tally.count.host_ipv6;
      if (++tally.count.host <= kSeenLimit) tally.host_seen.push_back(describe(frame));
      break;
    case PacketClass::kOther:
      ++tally.count.other;
      break;
    case PacketClass::kPlaintext:
      if (ipv6) ++tally.count.plaintext_ipv6;
      if (++tally.count.plaintext <= kSeenLimit) tally.plaintext_seen.push_back(describe(frame));
      if (to != macs_.end() && plaintext_.size() < kTakeLimit)
        plaintext_.push_back({Clock::now(), from->second, to->second, describe(frame)});
      break;
  }
}

// A packet that a veth carries waits in the backlog of the CPU it was sent on: a sentinel from
// every CPU comes behind all of them.
void Capture::send_sentinels(std::uint64_t nonce) {
  std::array<std::uint8_t, 60> frame{};
  std::memset(frame.data(), 0xff, 6);
  frame[6] = 0x02;  // locally administered
  frame[12] = kSentinelType >> 8;
  frame[13] = kSentinelType & 0xff;
  std::memcpy(frame.data() + ETH_HLEN, &nonce, sizeof nonce);
  std::thread([&] {
    for (int cpu = 0; cpu < ::get_nprocs(); ++cpu) {
      cpu_set_t only;
      CPU_ZERO(&only);
      CPU_SET(static_cast<std::size_t>(cpu), &only);
      (void)::sched_setaffinity(0, sizeof only,
                                &only);  // a CPU we may not use sends nothing either
      for (const auto& [name, sender] : senders_)
        (void)::send(sender.get(), frame.data(), frame.size(), 0);
    }
  }).join();
}

void Capture::flush() {
  const std::lock_guard one_at_a_time(flushing_);
  const std::uint64_t nonce = next_nonce_++;
  send_sentinels(nonce);
  std::string missing;
  const bool alive = wait_until(
      [&] {
        const std::lock_guard guard(mutex_);
        for (const auto& [name, unused] : senders_) {
          missing = name;
          if (sentinels_[name][nonce] < static_cast<unsigned>(::get_nprocs())) return false;
        }
        return true;
      },
      milliseconds(10'000), milliseconds(1));
  if (!alive) fail("capture: the sentinel of {} was not seen; is its cable plugged in?", missing);
  const std::lock_guard guard(mutex_);
  for (auto& [name, seen] : sentinels_) seen.clear();
}

void Capture::check_nothing_dropped() {
  tpacket_stats statistics{};
  socklen_t size = sizeof statistics;
  check(::getsockopt(socket_.get(), SOL_PACKET, PACKET_STATISTICS, &statistics, &size),
        "PACKET_STATISTICS");
  dropped_ += statistics.tp_drops;
  if (dropped_ > 0) fail("capture: the kernel dropped {} packets of the capture", dropped_);
}

Verdict Capture::between(const std::string& a, const std::string& b) {
  flush();
  const std::lock_guard guard(mutex_);
  check_nothing_dropped();
  const Tally& ab = tallies_[{a, b}];
  const Tally& ba = tallies_[{b, a}];
  Verdict verdict{ab.count, ba.count, ab.plaintext_seen};
  verdict.plaintext_seen.insert(verdict.plaintext_seen.end(), ba.plaintext_seen.begin(),
                                ba.plaintext_seen.end());
  return verdict;
}

Verdict Capture::with_outside(const std::string& node) { return between(node, "outside"); }

std::uint64_t Capture::among(const std::set<std::string>& nodes, std::uint64_t Count::*kind) {
  flush();
  const std::lock_guard guard(mutex_);
  check_nothing_dropped();
  std::uint64_t packets = 0;
  for (const auto& [pair, tally] : tallies_)
    if (nodes.contains(pair.first) && nodes.contains(pair.second)) packets += tally.count.*kind;
  return packets;
}

std::vector<std::string> Capture::host_seen(const std::string& a, const std::string& b) {
  flush();
  const std::lock_guard guard(mutex_);
  std::vector<std::string> seen;
  for (const auto& pair : {std::pair(a, b), std::pair(b, a)})
    if (const auto found = tallies_.find(pair); found != tallies_.end())
      seen.insert(seen.end(), found->second.host_seen.begin(), found->second.host_seen.end());
  return seen;
}

std::vector<PlaintextSeen> Capture::take_plaintext() {
  const std::lock_guard guard(mutex_);
  return std::exchange(plaintext_, {});
}

void Capture::reset() {
  flush();
  const std::lock_guard guard(mutex_);
  tallies_.clear();
}

}  // namespace mesh::lab
