#include "meshd/dataplane/wireguard_codec.h"

#include <linux/genetlink.h>
#include <linux/wireguard.h>
#include <netinet/in.h>

#include <algorithm>
#include <bit>

#include "meshd/dataplane/wireguard_changes.h"

namespace mesh {
namespace {

static_assert(WG_KEY_LEN == PublicKey::kSize);

NetlinkMessage start_message(const WgTarget& target, std::uint8_t command, std::size_t reserve) {
  NetlinkMessage message(target.family, 0, reserve);
  genlmsghdr header{};
  header.cmd = command;
  header.version = WG_GENL_VERSION;
  message.put_header(header);
  message.put_string(WGDEVICE_A_IFNAME, target.name);
  return message;
}

void put_endpoint(NetlinkMessage& message, const Endpoint& endpoint) {
  const std::span<const std::uint8_t> address = endpoint.address.bytes();
  if (endpoint.address.family() == Family::kIpv4) {
    sockaddr_in socket_address{};
    socket_address.sin_family = AF_INET;
    socket_address.sin_port = htons(endpoint.port);
    std::memcpy(&socket_address.sin_addr, address.data(), address.size());
    message.put(WGPEER_A_ENDPOINT, bytes_of(socket_address));
  } else {
    sockaddr_in6 socket_address{};
    socket_address.sin6_family = AF_INET6;
    socket_address.sin6_port = htons(endpoint.port);
    std::memcpy(&socket_address.sin6_addr, address.data(), address.size());
    message.put(WGPEER_A_ENDPOINT, bytes_of(socket_address));
  }
}

void put_allowed_ip(NetlinkMessage& message, const Cidr& prefix) {
  const NetlinkMessage::Nest nest = message.begin_nest(0);
  message.put_value(WGALLOWEDIP_A_FAMILY, static_cast<std::uint16_t>(to_af(prefix.family())));
  message.put(WGALLOWEDIP_A_IPADDR, prefix.base().bytes());
  message.put_value(WGALLOWEDIP_A_CIDR_MASK, static_cast<std::uint8_t>(prefix.length()));
  message.end_nest(nest);
}

// A peer as the kernel takes it in one act: what of a change goes into one or more adjacent parts.
struct Step {
  PublicKey key;
  std::uint32_t flags = 0;
  std::span<const Cidr> allowed_ips;
  std::optional<std::uint16_t> keepalive;
  std::optional<Endpoint> endpoint;
};

constexpr std::size_t attribute_size(std::size_t payload) {
  return sizeof(nlattr) + ((payload + 3) & ~std::size_t{3});
}
constexpr std::size_t kNestSize = sizeof(nlattr);
constexpr std::size_t kPartSize =  // what every part of a peer has: its nest, key and flags
    kNestSize + attribute_size(WG_KEY_LEN) + attribute_size(sizeof(std::uint32_t));

constexpr std::size_t allowed_ip_size(Family family) {
  return kNestSize + attribute_size(sizeof(std::uint16_t)) +
         attribute_size(static_cast<std::size_t>(address_bytes(family))) + attribute_size(1);
}

std::size_t tail_size(const Step& step) {
  std::size_t size = step.keepalive ? attribute_size(sizeof(std::uint16_t)) : 0;
  if (step.endpoint)
    size += attribute_size(step.endpoint->address.family() == Family::kIpv4 ? sizeof(sockaddr_in)
                                                                            : sizeof(sockaddr_in6));
  return size;
}

std::size_t step_size(const Step& step) {
  std::size_t size = kPartSize + tail_size(step);
  if (!step.allowed_ips.empty()) size += kNestSize;
  for (const Cidr& prefix : step.allowed_ips) size += allowed_ip_size(prefix.family());
  return size;
}

// Everything a message needs to make progress with any peer.
constexpr std::size_t kLeastLimit = NLMSG_HDRLEN + GENL_HDRLEN + attribute_size(16) + kNestSize +
                                    kPartSize + kNestSize + allowed_ip_size(Family::kIpv6);

class PeerMessages {
 public:
  PeerMessages(const WgTarget& target, std::size_t limit)
      : target_(target), limit_(std::clamp(limit, kLeastLimit, kWgMessageLimit)) {}

  void add(const WgPeerChange& change, std::size_t index) {
    index_ = index;
    std::vector<Step> steps = steps_of(change);
    std::size_t size = 0;
    for (const Step& step : steps) size += step_size(step);
    if (size > room() && !is_empty()) close();
    for (Step& step : steps) put(step);
  }

  std::vector<WgPeerMessage> finish() && {
    close();
    return std::move(messages_);
  }

 private:
  static std::vector<Step> steps_of(const WgPeerChange& change) {
    if (change.remove) return {{change.key, WGPEER_F_REMOVE_ME, {}, {}, {}}};
    Step step{change.key, 0, change.add_allowed_ips, change.keepalive, change.endpoint};
    if (change.update_only) step.flags = WGPEER_F_UPDATE_ONLY;
    std::vector<Step> steps;
    if (change.anew) steps.push_back({change.key, WGPEER_F_REMOVE_ME, {}, {}, {}});
    if (!change.kick) {
      steps.push_back(step);
      return steps;
    }
    // The kernel sends a keepalive at once when the interval turns from 0 to anything.
    step.keepalive = 0;
    const auto then = [&](std::uint16_t keepalive) {
      return Step{change.key, WGPEER_F_UPDATE_ONLY, {}, keepalive, std::nullopt};
    };
    steps.push_back(step);
    for (const std::uint16_t keepalive : keepalives_of_kick(change))
      steps.push_back(then(keepalive));
    return steps;
  }

  void put(Step step) {
    for (;;) {
      const std::size_t least =
          kPartSize + (step.allowed_ips.empty()
                           ? tail_size(step)
                           : kNestSize + allowed_ip_size(step.allowed_ips.front().family()));
      if (least > room() && !is_empty()) close();
      if (put_part(step)) return;
      close();
      step.flags = WGPEER_F_UPDATE_ONLY;
    }
  }

  // Puts what fits, and takes it off the step. True: nothing is left.
  bool put_part(Step& step) {
    NetlinkMessage& message = open();
    const NetlinkMessage::Nest peer = message.begin_nest(0);
    message.put(WGPEER_A_PUBLIC_KEY, step.key.bytes());
    message.put_value(WGPEER_A_FLAGS, step.flags);
    if (!step.allowed_ips.empty()) {
      const NetlinkMessage::Nest nest = message.begin_nest(WGPEER_A_ALLOWEDIPS);
      while (!step.allowed_ips.empty() &&
             allowed_ip_size(step.allowed_ips.front().family()) <= room()) {
        put_allowed_ip(message, step.allowed_ips.front());
        step.allowed_ips = step.allowed_ips.subspan(1);
      }
      message.end_nest(nest);
    }
    const bool complete = step.allowed_ips.empty() && tail_size(step) <= room();
    if (complete) {
      if (step.keepalive)
        message.put_value(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, *step.keepalive);
      if (step.endpoint) put_endpoint(message, *step.endpoint);
    }
    message.end_nest(peer);
    has_peer_ = true;
    messages_.back().last = index_;
    return complete;
  }

  NetlinkMessage& open() {
    if (!is_open_) {
      messages_.push_back({start_message(target_, WG_CMD_SET_DEVICE, 1024), index_, index_});
      peers_ = messages_.back().message.begin_nest(WGDEVICE_A_PEERS);
      is_open_ = true;
      has_peer_ = false;
    }
    return messages_.back().message;
  }

  void close() {
    if (is_open_) messages_.back().message.end_nest(peers_);
    is_open_ = false;
  }

  bool is_empty() const { return !is_open_ || !has_peer_; }
  std::size_t room() {
    const std::size_t size = open().size();
    return size < limit_ ? limit_ - size : 0;
  }

  WgTarget target_;
  std::size_t limit_;
  std::vector<WgPeerMessage> messages_;
  NetlinkMessage::Nest peers_ = 0;
  std::size_t index_ = 0;
  bool is_open_ = false;
  bool has_peer_ = false;
};

Error malformed(std::string_view what) {
  return make_error(ErrorCode::kInvalid, "the kernel's WireGuard dump is malformed: {}", what);
}

Result<Endpoint> decode_endpoint(Bytes payload) {
  NetlinkAttribute attribute{0, payload};
  const auto make = [](const auto& address, in_port_t port) -> Result<Endpoint> {
    return Endpoint{*IpAddress::from_bytes(bytes_of(address)), ntohs(port)};
  };
  if (const auto v4 = attribute.as<sockaddr_in>(); v4 && v4->sin_family == AF_INET)
    return make(v4->sin_addr, v4->sin_port);
  if (const auto v6 = attribute.as<sockaddr_in6>(); v6 && v6->sin6_family == AF_INET6)
    return make(v6->sin6_addr, v6->sin6_port);
  return malformed("an endpoint");
}

// Nanoseconds of a time point run out in 2262; zero means never.
Result<std::optional<WallTime>> decode_time(const NetlinkAttribute& attribute) {
  struct Timespec {  // struct __kernel_timespec
    std::int64_t seconds;
    std::int64_t nanoseconds;
  };
  constexpr std::int64_t kMaxSeconds = 9'000'000'000;
  const auto time = attribute.as<Timespec>();
  if (!time || time->seconds < 0 || time->seconds > kMaxSeconds || time->nanoseconds < 0 ||
      time->nanoseconds >= 1'000'000'000)
    return malformed("a handshake time");
  if (time->seconds == 0 && time->nanoseconds == 0) return std::optional<WallTime>();
  return std::optional<WallTime>(
      WallTime(std::chrono::seconds(time->seconds) + std::chrono::nanoseconds(time->nanoseconds)));
}

Result<Cidr> decode_allowed_ip(Bytes attributes) {
  std::optional<std::uint16_t> family;
  std::optional<std::uint8_t> length;
  Bytes address;
  AttributeReader reader(attributes);
  while (const auto attribute = reader.next()) {
    if (attribute->type == WGALLOWEDIP_A_FAMILY) family = attribute->as<std::uint16_t>();
    if (attribute->type == WGALLOWEDIP_A_CIDR_MASK) length = attribute->as<std::uint8_t>();
    if (attribute->type == WGALLOWEDIP_A_IPADDR) address = attribute->payload;
  }
  const std::size_t size = family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
  if (reader.malformed() || size == 0 || address.size() != size || !length || *length > size * 8)
    return malformed("an AllowedIP");
  return Cidr(*IpAddress::from_bytes(address), *length);
}

Result<void> decode_allowed_ips(Bytes attributes, std::vector<Cidr>& allowed_ips) {
  AttributeReader reader(attributes);
  while (const auto attribute = reader.next()) {
    const Result<Cidr> prefix = decode_allowed_ip(attribute->payload);
    if (!prefix) return prefix.error();
    allowed_ips.push_back(*prefix);
  }
  if (reader.malformed()) return malformed("a list of AllowedIPs");
  return {};
}

// Stores a value of exactly T's size.
template <class T>
Result<void> store(const NetlinkAttribute& attribute, T& target, std::string_view what) {
  const auto value = attribute.as<T>();
  if (!value) return malformed(what);
  target = *value;
  return {};
}

Result<void> store(const NetlinkAttribute& attribute, PublicKey& target) {
  const auto value = attribute.as<std::array<std::uint8_t, PublicKey::kSize>>();
  if (!value) return malformed("a public key");
  target = PublicKey(*value);
  return {};
}

Result<void> decode_peer_attribute(const NetlinkAttribute& attribute, WgPeer& peer) {
  switch (attribute.type) {
    case WGPEER_A_ENDPOINT: {
      const Result<Endpoint> endpoint = decode_endpoint(attribute.payload);
      if (!endpoint) return endpoint.error();
      peer.endpoint = *endpoint;
      return {};
    }
    case WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
      return store(attribute, peer.keepalive, "a keepalive interval");
    case WGPEER_A_LAST_HANDSHAKE_TIME: {
      const auto time = decode_time(attribute);
      if (!time) return time.error();
      peer.last_handshake = *time;
      return {};
    }
    case WGPEER_A_RX_BYTES:
      return store(attribute, peer.rx_bytes, "a byte counter");
    case WGPEER_A_TX_BYTES:
      return store(attribute, peer.tx_bytes, "a byte counter");
    case WGPEER_A_ALLOWEDIPS:
      return decode_allowed_ips(attribute.payload, peer.allowed_ips);
    default:
      return {};
  }
}

}  // namespace

NetlinkMessage encode_get_device(const WgTarget& target) {
  return start_message(target, WG_CMD_GET_DEVICE, 64);
}

NetlinkMessage encode_device(const WgTarget& target, const WgDeviceChange& change,
                             const PrivateKey* key) {
  NetlinkMessage message = start_message(target, WG_CMD_SET_DEVICE, 256);  // never outgrown
  if (change.set_private_key && key != nullptr) message.put(WGDEVICE_A_PRIVATE_KEY, key->reveal());
  if (change.listen_port) message.put_value(WGDEVICE_A_LISTEN_PORT, *change.listen_port);
  if (change.fwmark) message.put_value(WGDEVICE_A_FWMARK, *change.fwmark);
  return message;
}

std::vector<WgPeerMessage> encode_peers(const WgTarget& target,
                                        std::span<const WgPeerChange> changes, std::size_t limit) {
  PeerMessages messages(target, limit);
  for (std::size_t i = 0; i < changes.size(); ++i) messages.add(changes[i], i);
  return std::move(messages).finish();
}

Result<void> WgDeviceDecoder::add(const nlmsghdr& message) {
  if (!family_header<genlmsghdr>(message)) return malformed("a message without its header");
  any_ = true;
  AttributeReader reader(attributes_of(message, GENL_HDRLEN));
  while (const auto attribute = reader.next()) {
    Result<void> result;
    switch (attribute->type) {
      case WGDEVICE_A_IFINDEX:
        result = store(*attribute, device_.ifindex, "an interface index");
        break;
      case WGDEVICE_A_IFNAME:
        device_.name = attribute->as_string();
        break;
      case WGDEVICE_A_PUBLIC_KEY:
        result = store(*attribute, device_.public_key);
        break;
      case WGDEVICE_A_LISTEN_PORT:
        result = store(*attribute, device_.listen_port, "a port");
        break;
      case WGDEVICE_A_FWMARK:
        result = store(*attribute, device_.fwmark, "a mark");
        break;
      case WGDEVICE_A_PEERS: {
        AttributeReader peers(attribute->payload);
        while (const auto peer = peers.next())
          if (result = add_peer(peer->payload); !result) return result;
        if (peers.malformed()) result = malformed("a list of peers");
        break;
      }
      default:  // the private key among them
        break;
    }
    if (!result) return result;
  }
  if (reader.malformed()) return malformed("a message");
  return {};
}

Result<void> WgDeviceDecoder::add_peer(Bytes attributes) {
  WgPeer part;
  bool has_key = false;
  AttributeReader reader(attributes);
  while (const auto attribute = reader.next()) {
    Result<void> result;
    if (attribute->type == WGPEER_A_PUBLIC_KEY) {
      result = store(*attribute, part.key);
      has_key = true;
    } else {
      result = decode_peer_attribute(*attribute, part);
    }
    if (!result) return result;
  }
  if (reader.malformed()) return malformed("a peer");
  if (!has_key) return malformed("a peer without its key");

  const auto [place, is_new] = index_.try_emplace(part.key, device_.peers.size());
  if (is_new) {
    device_.peers.push_back(std::move(part));
    return {};
  }
  // A peer that did not fit into one message goes on in the next, with its AllowedIPs only.
  std::vector<Cidr>& allowed_ips = device_.peers[place->second].allowed_ips;
  allowed_ips.insert(allowed_ips.end(), part.allowed_ips.begin(), part.allowed_ips.end());
  return {};
}

Result<WgDevice> WgDeviceDecoder::finish() && {
  if (!any_) return make_error(ErrorCode::kNotFound, "the kernel says nothing of the device");
  for (WgPeer& peer : device_.peers) std::sort(peer.allowed_ips.begin(), peer.allowed_ips.end());
  return std::move(device_);
}

}  // namespace mesh
