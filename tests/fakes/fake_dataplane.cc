#include "fakes/fake_dataplane.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <utility>

namespace mesh::test {
namespace {

constexpr std::uint32_t kMinimumIpv6Mtu = 1280;
// A session younger than this carries a keepalive without a new handshake (REKEY_AFTER_TIME).
constexpr Duration kRekeyAfter = std::chrono::seconds(120);

Error gone(std::string_view what) {
  return make_error(ErrorCode::kNotFound, "{} is not there", what);
}

bool overlap(const NftElement& a, const NftElement& b) {
  return a.set == b.set && a.range.first.family() == b.range.first.family() &&
         a.range.first <= b.range.last && b.range.first <= a.range.last;
}

}  // namespace

FakeDataplane::FakeDataplane(const Clock& clock)
    : clock_(clock), event_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  links_[1] = {1, "lo", "", 65536, true, true, true};
  link_sysctls_["all"] = {};
}

// --- faults ---

void FakeDataplane::fail(std::string kind, int skip, int times, ErrorCode code) {
  faults_.push_back({std::move(kind), skip, times, code});
}

std::optional<Error> FakeDataplane::fault(std::string_view kind, bool operation) {
  for (Fault& fault : faults_) {
    if (fault.kind != kind && !(fault.kind.empty() && operation)) continue;
    if (fault.skip > 0) {
      --fault.skip;
      continue;
    }
    if (fault.times == 0) continue;
    if (fault.times != kForEver) --fault.times;
    ++failures_;
    return make_error(fault.code, "{}: injected fault", kind);
  }
  return std::nullopt;
}

// --- facts ---

Result<BackendChoice> FakeDataplane::ensure_device(const DeviceSpec& spec) {
  if (auto error = fault("ensure-device", false)) return *error;
  if (spec.preference == BackendPreference::kNone)
    return BackendChoice{Backend::kNone, "the configuration says none", false};
  if (available_ == Backend::kNone)
    return BackendChoice{Backend::kNone, unavailable_reason_, false};
  if (has_device()) return BackendChoice{available_, unavailable_reason_, false};
  device_index_ = next_index_++;
  ++devices_made_;
  device_key_ = PublicKey();
  listen_port_ = 0;
  fwmark_ = 0;
  links_[device_index_] = {
      device_index_, spec.name, available_ == Backend::kKernel ? "wireguard" : "tun", 1420, false,
      false,         false};
  link_sysctls_[spec.name] = {};
  event(LinkEvent{device_link(), false});
  return BackendChoice{available_, unavailable_reason_, true};
}

void FakeDataplane::set_identity(const PrivateKey* key) { identity_ = key; }

Result<WgDevice> FakeDataplane::read_device() {
  if (auto error = fault("read-device", false)) return *error;
  if (!has_device()) return gone("the mesh device");
  WgDevice device{device_link().name, device_index_, device_key_, listen_port_, fwmark_, {}};
  for (const auto& [key, peer] : peers_) device.peers.push_back(peer);
  return device;
}

Result<std::vector<Link>> FakeDataplane::read_links() {
  if (auto error = fault("read-links", false)) return *error;
  std::vector<Link> links;
  for (const auto& [index, link] : links_) links.push_back(link);
  return links;
}

Result<std::vector<LocalAddress>> FakeDataplane::read_addresses() {
  if (auto error = fault("read-addresses", false)) return *error;
  return std::vector<LocalAddress>(addresses_.begin(), addresses_.end());
}

Result<std::vector<Route>> FakeDataplane::read_routes(std::uint32_t table) {
  if (auto error = fault("read-routes", false)) return *error;
  std::vector<Route> routes;
  for (const auto& [key, route] : routes_)
    if (key.table == table) routes.push_back(route);
  return routes;
}

Result<std::vector<Rule>> FakeDataplane::read_rules() {
  if (auto error = fault("read-rules", false)) return *error;
  return std::vector<Rule>(rules_.begin(), rules_.end());
}

Result<NftContents> FakeDataplane::read_nftables(const NftSpec& wanted) {
  if (auto error = fault("read-nftables", false)) return *error;
  if (!ruleset_) return gone("table inet meshd");
  return NftContents{{elements_.begin(), elements_.end()}, ruleset_ == wanted};
}

Result<std::vector<NftCounter>> FakeDataplane::read_counters(const NftSets& sets) {
  if (auto error = fault("read-counters", false)) return *error;
  if (!ruleset_) return gone("table inet meshd");
  std::vector<NftCounter> counters;
  for (const auto& [element, counter] : counters_)
    if (sets[static_cast<std::size_t>(element.set)]) counters.push_back(counter);
  return counters;
}

Result<int> FakeDataplane::read_link_sysctl(const std::string& link, LinkSysctl sysctl) {
  if (auto error = fault("read-link-sysctl", false)) return *error;
  const auto found = link_sysctls_.find(link);
  if (found == link_sysctls_.end()) return gone(link);
  return found->second.at(static_cast<std::size_t>(sysctl));
}

// The first link that is neither loopback nor the device carries everything, with its first address
// of the family.
Result<RouteLookup> FakeDataplane::lookup(const IpAddress& destination, std::uint32_t mark) {
  if (auto error = fault("lookup", false)) return *error;
  // Of the rules, only one that leads everything to the main table before any other is understood.
  const bool led_away = std::any_of(rules_.begin(), rules_.end(), [](const Rule& rule) {
    return rule.protocol != kProtocol && rule.table == kMainTable && rule.priority < 99;
  });
  if (mark == 0 && !led_away && has_device() && way_of(destination) == RouteType::kUnicast)
    return RouteLookup{device_index_, std::nullopt, std::nullopt, 0};
  for (const auto& [index, link] : links_) {
    if (link.loopback || index == device_index_) continue;
    RouteLookup result;
    result.oif = index;
    result.mtu = link.mtu;
    for (const LocalAddress& address : addresses_)
      if (address.ifindex == index && address.address.family() == destination.family()) {
        result.source = address.address;
        return result;
      }
  }
  return make_error(ErrorCode::kUnavailable, "no route to {}", destination.to_string());
}

std::optional<PublicKey> FakeDataplane::allowed_to(const Cidr& cidr) const {
  const auto found = allowed_.find(cidr);
  return found == allowed_.end() ? std::nullopt : std::optional(found->second);
}

RouteType FakeDataplane::way_of(const IpAddress& destination) const {
  const Route* best = nullptr;
  for (const auto& [key, route] : routes_) {
    if (tables_.empty() || key.table != *tables_.begin() || !key.destination.contains(destination))
      continue;
    if (best == nullptr || key.destination.length() > best->key.destination.length() ||
        (key.destination == best->key.destination && key.metric < best->key.metric))
      best = &route;
  }
  return best == nullptr ? RouteType::kOther : best->type;
}

// --- operations ---

struct FakeDataplane::Execute {
  FakeDataplane& kernel;

  Result<void> operator()(const ConfigureDevice& act) const {
    if (!kernel.has_device()) return gone("the mesh device");
    if (act.change.set_private_key)
      kernel.device_key_ =
          kernel.identity_ != nullptr ? kernel.identity_->public_key() : kernel.own_key_;
    if (act.change.listen_port) kernel.listen_port_ = *act.change.listen_port;
    if (act.change.fwmark) kernel.fwmark_ = *act.change.fwmark;
    return {};
  }
  Result<void> operator()(const ConfigureLink& act) const {
    if (!kernel.has_device()) return gone("the mesh device");
    Link& link = kernel.device_link();
    if (act.mtu != 0) link.mtu = act.mtu;
    if (act.up) link.up = link.running = true;
    kernel.event(LinkEvent{link, false});
    if (act.mtu != 0 && act.mtu < kMinimumIpv6Mtu) {
      const auto addresses = kernel.addresses_;
      for (const LocalAddress& address : addresses)
        if (address.ifindex == link.index && address.address.family() == Family::kIpv6)
          kernel.remove_address(link.index, address.address);
    }
    return {};
  }
  Result<void> operator()(const AddAddress& act) const {
    if (!kernel.has_device()) return gone("the mesh device");
    kernel.add_address(kernel.device_index_, act.address, address_bits(act.address.family()));
    return {};
  }
  Result<void> operator()(const RemoveAddress& act) const {
    kernel.remove_address(kernel.device_index_, act.address);
    return {};
  }
  Result<void> operator()(const SetLinkSysctl& act) const {
    const auto found = kernel.link_sysctls_.find(act.setting.link);
    if (found == kernel.link_sysctls_.end()) return gone(act.setting.link);
    found->second.at(static_cast<std::size_t>(act.setting.sysctl)) = act.setting.value;
    return {};
  }
  Result<void> operator()(const PutRule& act) const {
    kernel.put_rule(act.rule);
    return {};
  }
  Result<void> operator()(const RemoveRule& act) const {
    kernel.remove_rule(act.rule);
    return {};
  }
  Result<void> operator()(const InstallRuleset& act) const {
    if (act.keep_sets && !kernel.ruleset_) return gone("table inet meshd");
    kernel.ruleset_ = act.spec;
    if (act.keep_sets) return {};
    kernel.elements_.clear();
    kernel.counters_.clear();
    return {};
  }
  Result<void> operator()(const ChangePeer& act) const { return kernel.change_peer(act.change); }
  Result<void> operator()(const PutRoute& act) const { return kernel.put_own_route(act.route); }
  Result<void> operator()(const RemoveRoute& act) const {
    const auto found = kernel.routes_.find(act.route.key);
    if (found != kernel.routes_.end() && found->second == act.route)
      kernel.remove_route(act.route.key);
    return {};
  }
  Result<void> operator()(const PutElement& act) const {
    if (!kernel.ruleset_) return gone("table inet meshd");
    if (kernel.elements_.contains(act.element)) return {};
    // They are in order and do not overlap: only a neighbour can be in the way.
    const auto next = kernel.elements_.lower_bound(act.element);
    for (auto other = next == kernel.elements_.begin() ? next : std::prev(next);
         other != kernel.elements_.end(); ++other) {
      if (overlap(*other, act.element))
        return make_error(ErrorCode::kExists, "{} overlaps {}", act.element.range.to_string(),
                          other->range.to_string());
      if (other == next) break;
    }
    kernel.elements_.insert(act.element);
    kernel.counters_[act.element] = {act.element, 0, 0};
    return {};
  }
  Result<void> operator()(const RemoveElement& act) const {
    kernel.elements_.erase(act.element);
    kernel.counters_.erase(act.element);
    return {};
  }
};

std::vector<Result<void>> FakeDataplane::apply(std::span<const Operation> operations) {
  std::vector<Result<void>> results;
  std::set<std::string> failed;
  for (const Operation& operation : operations) {
    if (failed.contains(operation.node)) {
      results.push_back(make_error(ErrorCode::kUnavailable, "not tried: an earlier one failed"));
      continue;
    }
    if (auto error = fault(name_of(operation.act), true)) {
      results.push_back(*error);
    } else {
      results.push_back(std::visit(Execute{*this}, operation.act));
    }
    if (!results.back()) {
      if (!operation.node.empty()) failed.insert(operation.node);
      continue;
    }
    executed_.push_back(operation);
    if (look_) look_(operation);
  }
  return results;
}

Result<void> FakeDataplane::change_peer(const WgPeerChange& change) {
  if (!has_device()) return gone("the mesh device");
  if (change.key == device_key_) return {};  // the kernel ignores one's own key silently
  if (change.remove || change.anew) remove_peer(change.key);
  if (change.remove) return {};
  if (!peers_.contains(change.key)) {
    if (change.update_only) return {};
    peers_[change.key].key = change.key;
  }
  WgPeer& peer = peers_[change.key];
  for (const Cidr& cidr : change.remove_allowed_ips)
    if (allowed_to(cidr) == change.key) remove_allowed_ip(cidr);
  for (const Cidr& cidr : change.add_allowed_ips) move_allowed_ip(cidr, change.key);
  if (change.endpoint) peer.endpoint = change.endpoint;
  const std::uint16_t before = change.kick ? 0 : peer.keepalive;
  if (change.keepalive) peer.keepalive = *change.keepalive;
  if (change.kick && !change.keepalive) peer.keepalive = 25;
  // Switching the keepalive on sends one at once.
  if (change.kick || (before == 0 && peer.keepalive != 0)) try_handshake(peer);
  return {};
}

void FakeDataplane::move_allowed_ip(const Cidr& cidr, const PublicKey& key) {
  if (allowed_to(cidr) == key) return;
  remove_allowed_ip(cidr);
  allowed_[cidr] = key;
  std::vector<Cidr>& list = peers_.at(key).allowed_ips;
  list.insert(std::upper_bound(list.begin(), list.end(), cidr), cidr);
}

void FakeDataplane::try_handshake(WgPeer& peer) {
  if (!peer.endpoint || !device_link().up || device_key_.is_zero()) return;
  peer.tx_bytes += 148;
  const WallTime now = clock_.now().wall;
  const bool fresh = peer.last_handshake && now - *peer.last_handshake < kRekeyAfter;
  if (fresh || !answering_.contains(peer.key)) return;
  peer.rx_bytes += 92;
  peer.last_handshake = now + kRoundTrip;
}

Result<void> FakeDataplane::put_own_route(const Route& route) {
  if (route.type == RouteType::kUnicast) {
    const auto link = links_.find(route.oif);
    if (link == links_.end()) return gone("the route's device");
    if (!link->second.up)
      return make_error(ErrorCode::kUnavailable, "{} is down", link->second.name);
    if (route.preferred_source &&
        std::none_of(addresses_.begin(), addresses_.end(),
                     [&](const LocalAddress& a) { return a.address == *route.preferred_source; }))
      return make_error(ErrorCode::kInvalid, "{} is no local address",
                        route.preferred_source->to_string());
  }
  put_route(route);
  return {};
}

}  // namespace mesh::test
