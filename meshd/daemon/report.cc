#include "meshd/daemon/report.h"

#include <algorithm>

namespace mesh {
namespace {

constexpr Duration kWentBackWarning = std::chrono::hours(1);

// What the peer itself says of its lack of WireGuard, behind our own words for it.
std::string detail_of(const Peer& peer) {
  const Decision& decision = peer.decision();
  std::string detail(explain(decision.reason));
  const Announcement& announcement = peer.announcement();
  if (decision.reason == Reason::kPeerUnsupported && announcement.support.starts_with("none: "))
    detail += ": " + announcement.support.substr(6);
  if (decision.reason == Reason::kHandshaking && peer.candidate() && peer.active())
    detail = "proving its new key";
  const PairPolicy& policy = peer.policy();
  if (decision.reason == Reason::kPolicy && policy.mode == Mode::kOff)
    detail = fmt::format("the policy {} asks for plaintext", policy.policy);
  if (decision.state == State::kBlocked && policy.mode == Mode::kRequire)
    detail += fmt::format(" (the policy {} requires encryption)", policy.policy);
  if (decision.reason == Reason::kInvalidRecord) detail += ", the last good one stays in force";
  if (decision.reason == Reason::kNoRecord && decision.path == Path::kWireguard)
    detail += ", it is sent to as before for the moment";
  return detail;
}

std::optional<Backend> published_backend(const Announcement& announcement) {
  if (announcement.unsupported) return Backend::kNone;
  if (announcement.support == to_string(Backend::kKernel)) return Backend::kKernel;
  if (announcement.support == to_string(Backend::kUserspace)) return Backend::kUserspace;
  return std::nullopt;
}

void add_liveness(PeerStatus& status, const SilentNodes* silent_nodes) {
  const auto* told = silent_nodes == nullptr ? nullptr : silent_nodes->told(status.node);
  if (told == nullptr) return;
  status.alive = !told->has_value();
  status.silent_since = *told;
}

void add_tunnel(PeerStatus& status, const Peer& peer, const ReportInputs& inputs) {
  status.endpoint = peer.endpoint(inputs.model.local());
  if (!peer.active()) return;
  const auto found = inputs.mirror.peers().find(peer.active()->key);
  if (found == inputs.mirror.peers().end()) return;
  // Where the packets really go: the kernel may have learned another endpoint than the record's.
  if (found->second.endpoint) status.endpoint = found->second.endpoint;
  status.last_handshake = found->second.last_handshake;
}

void add_counts(PeerStatus& status, const Traffic& traffic) {
  const auto count = [&](NftSet set) { return traffic.count(status.node, set); };
  const Traffic::Tunnel tunnel = traffic.tunnel(status.node);
  status.rx_bytes = tunnel.rx;
  status.tx_bytes = tunnel.tx;
  status.rx_packets = count(NftSet::kRxWireguard).packets;
  status.tx_packets = count(NftSet::kTxWireguard).packets;
  status.plaintext_rx_bytes = count(NftSet::kRxPlaintext).bytes;
  status.pinned_bytes = count(NftSet::kPinned).bytes;
  status.pinned_packets = count(NftSet::kPinned).packets;
  status.plaintext_tx_bytes = count(NftSet::kTxPlaintext).bytes + status.pinned_bytes;
  status.plaintext_rx_packets = count(NftSet::kRxPlaintext).packets;
  status.plaintext_tx_packets = count(NftSet::kTxPlaintext).packets + status.pinned_packets;
  for (const NftSet set : {NftSet::kRxRequired, NftSet::kRxRequiredHosts}) {
    status.dropped_rx_bytes += count(set).bytes;
    status.dropped_rx_packets += count(set).packets;
  }
  for (const NftSet set : {NftSet::kTxRequired, NftSet::kTxBlocked, NftSet::kEncryptedHosts,
                           NftSet::kRequiredHosts, NftSet::kClosedHop}) {
    status.dropped_tx_bytes += count(set).bytes;
    status.dropped_tx_packets += count(set).packets;
  }
  status.dropped_bytes = status.dropped_rx_bytes + status.dropped_tx_bytes;
  status.foreign_source_bytes = count(NftSet::kForeign).bytes;
  status.foreign_source_packets = count(NftSet::kForeign).packets;
}

// The device's MTU as it is, or the routes' where the way is narrower.
void add_mtu(PeerStatus& status, const std::string& node, const Peer& peer,
             const ReportInputs& inputs) {
  if (inputs.paths != nullptr) {
    status.path_mtu = inputs.paths->path_mtu(node);
    status.mtu_reason = inputs.paths->why_unsure(node);
  }
  const LocalNode& local = inputs.model.local();
  const Link* device = inputs.mirror.link(local.device_name);
  if (peer.decision().path != Path::kWireguard || device == nullptr) return;
  const RouteMtu routes = peer.route_mtu(local);
  const auto smaller = [&](std::uint32_t mtu) { return mtu == 0 ? device->mtu : mtu; };
  status.mtu = std::min(smaller(routes.ipv4), smaller(routes.ipv6));
}

// A link on which workloads live: it has an address inside this node's own prefixes.
bool carries_workloads(const Link& link, const ReportInputs& inputs) {
  const LocalNode& local = inputs.model.local();
  if (!link.up || link.loopback || link.name == local.device_name) return false;
  const auto& addresses = inputs.mirror.addresses();
  return std::any_of(addresses.begin(), addresses.end(), [&](const LocalAddress& address) {
    return address.ifindex == link.index &&
           std::any_of(local.cidrs.begin(), local.cidrs.end(),
                       [&](const Cidr& cidr) { return cidr.contains(address.address); });
  });
}

// One warning for all peers and links: what the mesh carries whole on its narrowest way.
void warn_of_large_workload_links(Status& status, const ReportInputs& inputs) {
  const PeerStatus* narrowest = nullptr;
  std::uint32_t widest = 0;
  for (const PeerStatus& peer : status.peers) {
    if (!peer.mtu) continue;
    if (narrowest == nullptr || *peer.mtu < *narrowest->mtu) narrowest = &peer;
    widest = std::max(widest, *peer.mtu);
  }
  if (narrowest == nullptr) return;
  const std::uint32_t mtu = *narrowest->mtu;
  const Link* largest = nullptr;
  for (const auto& [name, link] : inputs.mirror.links())
    if (link.mtu > mtu && carries_workloads(link, inputs) &&
        (largest == nullptr || link.mtu > largest->mtu))
      largest = &link;
  if (largest == nullptr) return;
  status.warnings.push_back(fmt::format(
      "the workload interface {} has an MTU of {}, the mesh carries {}{}: TCP adapts, but larger "
      "datagrams are refused or fragmented: set the MTU of {} and of the workloads behind it to {}",
      largest->name, largest->mtu, mtu, mtu == widest ? "" : " to " + narrowest->node,
      largest->name, mtu));
}

// What an operator has to look at, and need not for ever.
void warn_of_store_that_went_back(Status& status, WallTime now) {
  const auto& went_back = status.store.went_back;
  if (!went_back || now - went_back->at > kWentBackWarning) return;
  status.warnings.push_back(
      fmt::format("the store went back at {}: {}", format_time(went_back->at), went_back->why));
}

// The rules turn the tables on: without them nothing that was decided happens.
bool rules_stand(const ReportInputs& inputs) {
  const std::vector<Rule> rules = desired_device(inputs.model.local(), true).rules;
  return std::all_of(rules.begin(), rules.end(),
                     [&](const Rule& rule) { return inputs.mirror.rules().contains(rule); });
}

// Nothing but nftables keeps hosts from each other.
Path host_path(const Peer& peer, const LocalNode& local, bool guarded) {
  if (!peer.covers_hosts(local)) return Path::kPlaintext;
  if (peer.decision().path == Path::kWireguard) return Path::kWireguard;
  const bool required = peer.mode(local) == Mode::kRequire || peer.decision().path == Path::kDrop;
  return required && guarded ? Path::kDrop : Path::kPlaintext;
}

HostTrafficStatus host_traffic_of(const LocalNode& local) {
  HostTrafficStatus status;
  status.covered = local.host_traffic;
  if (!status.covered) return status;
  for (const FailsafePort& port : local.failsafe) status.exemptions.push_back(port.to_string());
  status.exemptions.push_back(fmt::format("udp:{} (WireGuard)", local.listen_port));
  status.exemptions.emplace_back("ICMP echo requests (path MTU)");
  status.exemptions.emplace_back("IPv6 neighbour discovery");
  return status;
}

PeerStatus peer_status(const std::string& node, const Peer& peer, const ReportInputs& inputs) {
  PeerStatus status;
  status.node = node;
  status.state = peer.decision().state;
  status.reason = peer.decision().reason;
  status.path = peer.decision().path;
  status.host_path = host_path(peer, inputs.model.local(), inputs.mirror.has_sets());
  status.detail = detail_of(peer);
  status.since = peer.since();
  status.mode = peer.mode(inputs.model.local());
  status.policy = peer.policy().policy;
  status.unreadable_policy = peer.policy().unreadable;
  status.backend = published_backend(peer.announcement());
  status.public_key = peer.announcement().key;
  status.addresses = peer.accepted().addresses;
  status.cidrs = peer.accepted().cidrs;
  status.labels = peer.record().labels;
  status.warnings = peer.warnings();
  status.downgrade = peer.memory().downgrade;
  if (status.state == State::kBlocked && status.mode != Mode::kRequire &&
      peer.held(inputs.model.local()))
    status.detail +=
        "; it was encrypted, and becoming less is not allowed here "
        "(encryption.allowWithdrawal): `meshctl allow-plaintext` lifts that";
  add_liveness(status, inputs.silent_nodes);
  add_tunnel(status, peer, inputs);
  add_mtu(status, node, peer, inputs);
  add_counts(status, inputs.traffic);
  return status;
}

bool uses(Family family, const ReportInputs& inputs) {
  const auto& addresses = inputs.mirror.addresses();
  return std::any_of(addresses.begin(), addresses.end(), [&](const LocalAddress& here) {
    return here.address.family() == family && here.address.why_not_reachable().empty();
  });
}

// A prefix of a peer that the kernel has no route into the mesh for: it refused ours, or the device
// has no IPv6 where the host has.
const Cidr* without_route(const Peer& peer, const ReportInputs& inputs) {
  const LocalNode& local = inputs.model.local();
  if (local.device_index == 0) return nullptr;
  for (const Cidr& cidr : peer.accepted().cidrs) {
    if (!local.carries(cidr.family()) && !uses(cidr.family(), inputs)) continue;
    const auto route =
        inputs.mirror.routes().find({local.table_w, cidr, base_metric(cidr.family())});
    if (route == inputs.mirror.routes().end() || route->second.type != RouteType::kUnicast)
      return &cidr;
  }
  return nullptr;
}

// Whether the routes refuse what goes there.
bool is_closed(const Cidr& cidr, const ReportInputs& inputs) {
  const std::uint32_t table = inputs.model.local().table_w;
  const auto& routes = inputs.mirror.routes();
  const auto found = routes.find({table, cidr, base_metric(cidr.family())});
  if (found != routes.end()) return found->second.type == RouteType::kUnreachable;
  return routes.contains({table, cidr, kGuardMetric});
}

// What was decided for the peer is not what happens to its packets.
void show_bypassed(PeerStatus& shown, bool guarded, std::string why, bool closed = false) {
  const bool required =
      closed || (shown.mode == Mode::kRequire && guarded);  // then nftables drops them
  shown.state = required ? State::kBlocked : State::kPlaintext;
  shown.path = required ? Path::kDrop : Path::kPlaintext;
  shown.reason = Reason::kLocalUnsupported;
  shown.detail = std::move(why);
}

}  // namespace

Status make_status(const ReportInputs& inputs) {
  const LocalNode& local = inputs.model.local();
  Status status;
  status.node = local.name;
  status.version = inputs.version;
  status.backend = local.backend;
  status.backend_reason = inputs.backend_reason;
  status.interface = local.device_name;
  status.addresses = local.addresses;
  status.cidrs = local.cidrs;
  if (!local.key.is_zero()) {
    status.public_key = local.key;
    status.key_created = inputs.key_created;
  }
  status.listen_port = local.listen_port;
  status.mode = local.mode;
  status.store = inputs.store;
  status.drain = inputs.drain;
  status.host_traffic = host_traffic_of(local);
  status.repairs = inputs.repairs;
  status.counters_read = inputs.counters_read;
  status.last_reconcile = inputs.now;
  status.error = inputs.error;
  status.warnings = inputs.warnings;
  for (const auto& [node, message] : inputs.model.refused())
    status.refused_records.push_back({node, message});
  status.policies = inputs.model.policies().size();
  for (const auto& [policy, refused] : inputs.model.policies().refused())
    status.refused_policies.push_back({policy, refused.message, refused.earlier_in_force});
  const bool in_force = rules_stand(inputs);
  const bool guarded = inputs.mirror.has_sets();
  if (!guarded && inputs.model.must_close())
    status.warnings.emplace_back(
        "there is no guard in nftables: peers that must encrypt are held by routes alone, which do "
        "not bind sockets bound to a device, refuse nothing that arrives, and say nothing of what "
        "nodes themselves send each other");
  for (const auto& [node, peer] : inputs.model.peers()) {
    status.peers.push_back(peer_status(node, peer, inputs));
    PeerStatus& shown = status.peers.back();
    if (shown.path != Path::kWireguard) continue;
    if (!in_force)
      show_bypassed(shown, guarded,
                    "the policy rules that lead into the mesh are missing on this node");
    else if (inputs.diverted.contains(node))
      show_bypassed(shown, guarded, "somebody else's policy rule leads its packets past the mesh");
    else if (const Cidr* cidr = without_route(peer, inputs))
      show_bypassed(
          shown, guarded,
          fmt::format("there is no route into the mesh for {} on this node", cidr->to_string()),
          is_closed(*cidr, inputs));
    else if (const auto leak = inputs.leaking.find(node); leak != inputs.leaking.end())
      shown.warnings.push_back(
          fmt::format("{} bytes to it have left unencrypted since it is sent to through WireGuard, "
                      "the last just now: look for policy rules that ask for a source or a mark "
                      "(`ip rule`), and for sockets that are bound to a device",
                      leak->second));
  }
  warn_of_store_that_went_back(status, inputs.now);
  warn_of_large_workload_links(status, inputs);
  return status;
}

}  // namespace mesh
