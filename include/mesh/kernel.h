// The kernel's networking objects that meshd reads and writes, as values. Any thread.
#pragma once

#include <bitset>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "mesh/failsafe.h"
#include "mesh/ip.h"

namespace mesh {

inline constexpr std::uint8_t kProtocol =
    109;  // rtm_protocol and FRA_PROTOCOL of everything meshd makes
inline constexpr std::uint32_t kGuardMetric =
    0xffff'ffffU;  // the unreachable route under a device route
inline constexpr std::uint32_t kMainTable = 254;

struct Link {
  int index = 0;
  std::string name;
  std::string kind;  // IFLA_INFO_KIND: "wireguard", "tun", "veth"…; "" for hardware
  std::uint32_t mtu = 0;
  bool up = false;       // IFF_UP
  bool running = false;  // IFF_LOWER_UP: a carrier
  bool loopback = false;
  friend bool operator==(const Link&, const Link&) = default;
};

struct LocalAddress {
  int ifindex = 0;
  IpAddress address;
  int prefix_length = 0;
  bool deprecated_or_temporary = false;  // IPv6 privacy and deprecated addresses are not published
  friend auto operator<=>(const LocalAddress&, const LocalAddress&) = default;
};

enum class RouteType : std::uint8_t { kUnicast, kThrow, kUnreachable, kOther };

// The key of a route: the kernel holds one per (table, destination, metric) as far as meshd's
// tables go.
struct RouteKey {
  std::uint32_t table = 0;
  Cidr destination;
  std::uint32_t metric = 0;  // IPv6 reads 0 as 1024: callers say 1024
  friend auto operator<=>(const RouteKey&, const RouteKey&) = default;
};

struct Route {
  RouteKey key;
  RouteType type = RouteType::kUnicast;
  int oif = 0;                                // kUnicast only
  std::optional<IpAddress> preferred_source;  // RTA_PREFSRC
  std::uint8_t protocol = kProtocol;
  std::uint32_t mtu = 0;    // RTAX_MTU; 0: the device's
  bool mtu_locked = false;  // see set_mtu()
  friend bool operator==(const Route&, const Route&) = default;

  // The largest packet this route carries; 0: what its device does. IPv6 overwrites a route's MTU
  // when the device's changes, unless it is locked; path MTU discovery goes on either way. For IPv4
  // a lock would end discovery, and nothing there needs it.
  void set_mtu(std::uint32_t bytes) {
    mtu = bytes;
    mtu_locked = bytes != 0 && key.destination.family() == Family::kIpv6;
  }
};

// A policy rule "[not] [from SOURCE] [to DESTINATION] [fwmark MARK/MASK] [iif lo] [ipproto P]
// [sport A-B] [dport A-B] lookup TABLE".
struct Rule {
  Family family = Family::kIpv4;
  std::uint32_t priority = 0;
  bool invert = false;  // FIB_RULE_INVERT negates all selectors together
  std::uint32_t fwmark = 0;
  std::uint32_t fwmask = 0;
  std::optional<Cidr> source;
  std::uint32_t table = 0;
  std::uint8_t protocol = kProtocol;
  bool more_selectors =
      false;  // or another action: somebody else's, and never equal to one of ours
  std::optional<Cidr> destination = {};
  bool locally_made = false;  // iif lo: packets of this host's own sockets
  IpProtocol ip_protocol = IpProtocol::kAny;
  PortRange source_ports = {};
  PortRange destination_ports = {};
  friend auto operator<=>(const Rule&, const Rule&) = default;
};

// Settings of one link that the data path depends on: net.ipv4.conf.<link>.<sysctl>. The kernel
// takes the greater of the link's value and that of "all", for each of them.
enum class LinkSysctl : std::uint8_t {
  kRpFilter,      // 0 off, 1 strict, 2 loose
  kSrcValidMark,  // 1: the reverse-path check looks the source up under the packet's mark
};
inline constexpr int kLinkSysctlCount = 2;
std::string_view to_string(LinkSysctl sysctl);  // the kernel's name

struct LinkSetting {
  std::string link;
  LinkSysctl sysctl = LinkSysctl::kRpFilter;
  int value = 0;
  friend auto operator<=>(const LinkSetting&, const LinkSetting&) = default;
};

// What `ip route get` says.
struct RouteLookup {
  int oif = 0;
  std::optional<IpAddress> gateway;
  std::optional<IpAddress> source;
  std::uint32_t mtu = 0;  // of the route or its exceptions; 0: the link's
};

// The sets of nftables table "inet meshd". Each exists once per family ("tx_wireguard4",
// "tx_wireguard6"); the family is that of the range. Those marked C count bytes and packets per
// element.
enum class NftSet : std::uint8_t {
  kOwn,          // my prefixes and my addresses: sources that are in my record
  kOwnAddress,   // my underlay addresses
  kPeerAddress,  // the peers' underlay addresses
  kPeer,         // the peers' prefixes and addresses
  kForeign,  // C: peers' prefixes; packets there from a source outside kOwn take the path they had
             // without meshd
  kTxWireguard,  // C: to the peer through the mesh device
  kRxWireguard,  // C: from the peer through the mesh device
  kTxPlaintext,  // C: to the peer by any other device
  kRxPlaintext,  // C: from the peer by any other device
  kTxRequired,   // C: prefixes that must not be sent to by any other device: dropped
  kRxRequired,   // C: the same for what arrives
  kTxBlocked,    // C: prefixes that nothing is sent to now: my routes refuse it
  kPinned,       // C: to the peer by any other device, of connections that are pinned to that
  // Host traffic, once both sides cover it; less what is exempt (NftSpec::failsafe):
  kEncryptedHosts,  // C: peers' addresses that this node's are sent to through the mesh device only
  kRequiredHosts,   // C: peers' addresses that must not be sent to by any other
  kRxRequiredHosts,  // C: the same for what arrives
  kClosedHop,  // C: addresses of peers that are not sent to in plaintext: no gateways for what
               // came through the mesh, or goes to a prefix of mine
};
inline constexpr int kNftSetCount = 17;
std::string_view to_string(NftSet set);
using NftSets = std::bitset<kNftSetCount>;  // index with NftSet
inline const NftSets kAllNftSets = NftSets().set();

// Inclusive at both ends, one family. Ranges of one set never overlap.
struct IpRange {
  IpAddress first;
  IpAddress last;
  std::optional<Cidr> prefix() const;  // where it is one
  std::string to_string() const;       // a prefix where it is one, else "first-last"
  friend auto operator<=>(const IpRange&, const IpRange&) = default;
};

struct NftElement {
  NftSet set = NftSet::kOwn;
  IpRange range;
  friend auto operator<=>(const NftElement&, const NftElement&) = default;
};

struct NftCounter {
  NftElement element;
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
};

// What table "inet meshd" holds: all elements, sorted, and whether its rules are those that are
// wanted. If not, its sets are meshd's all the same.
struct NftContents {
  std::vector<NftElement> elements;
  bool rules_are_right = true;
};

// The parts of nf_tables that a kernel may be built without, or not be able to load; all else that
// a ruleset uses is part of nf_tables itself.
struct NftExpressions {
  bool ct = true;      // nft_ct: connection tracking
  bool fib = true;     // nft_fib_inet: whether an address is this host's
  bool socket = true;  // nft_socket: whether somebody listens
  friend bool operator==(const NftExpressions&, const NftExpressions&) = default;
};

// What the ruleset's text depends on.
struct NftSpec {
  std::string device;        // mesh0
  std::uint32_t fwmark = 0;  // M
  // The listen port, and the ones peers may still send to: redirected without connection tracking.
  // Empty while none has moved, the last one last; the port is then 0, but for host traffic.
  std::uint16_t listen_port = 0;
  std::vector<std::uint16_t> former_ports = {};
  // Masqueraded connections keep the way they began on: needs connection tracking, and turns it on.
  bool pins = false;
  // Node-to-node traffic is encrypted and guarded, but for what is exempt.
  bool host_traffic = false;
  std::vector<FailsafePort> failsafe = {};
  NftExpressions kernel_has = {};
  friend bool operator==(const NftSpec&, const NftSpec&) = default;

  // What it would use of these.
  NftExpressions uses() const {
    const bool moved = !former_ports.empty();
    return {pins, pins || host_traffic || moved, moved};
  }
};

// Kernel events, in the order the kernel sent them.
struct LinkEvent {
  Link link;
  bool removed = false;
};
struct AddressEvent {
  LocalAddress address;
  bool removed = false;
};
struct RouteEvent {
  Route route;
  bool removed = false;
};
struct RuleEvent {
  Rule rule;
  bool removed = false;
};
struct NftEvent {};      // somebody else changed table "inet meshd", or flushed the ruleset
struct OverrunEvent {};  // events were lost: read everything again
using KernelEvent =
    std::variant<LinkEvent, AddressEvent, RouteEvent, RuleEvent, NftEvent, OverrunEvent>;

}  // namespace mesh
