// What others do to the kernel in memory, and the events that tell of it.
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "fakes/fake_dataplane.h"

namespace mesh::test {

void FakeDataplane::set_backend(Backend backend, std::string reason) {
  available_ = backend;
  unavailable_reason_ = std::move(reason);
}

int FakeDataplane::add_link(const std::string& name, std::uint32_t mtu) {
  const int index = next_index_++;
  links_[index] = {index, name, "veth", mtu, true, true, false};
  link_sysctls_[name] = {};
  event(LinkEvent{links_[index], false});
  return index;
}

void FakeDataplane::add_address(int ifindex, const IpAddress& address, int length) {
  const LocalAddress added{ifindex, address, length, false};
  if (addresses_.insert(added).second) event(AddressEvent{added, false});
}

void FakeDataplane::remove_address(int ifindex, const IpAddress& address) {
  const auto found = std::find_if(addresses_.begin(), addresses_.end(), [&](const LocalAddress& a) {
    return a.ifindex == ifindex && a.address == address;
  });
  if (found == addresses_.end()) return;
  event(AddressEvent{*found, true});
  addresses_.erase(found);
  if (ifindex != device_index_ || address.family() != Family::kIpv4) return;
  // The kernel takes the routes that prefer it along, or all with the last one, and says nothing.
  const bool last = std::none_of(addresses_.begin(), addresses_.end(), [&](const LocalAddress& a) {
    return a.ifindex == ifindex && a.address.family() == Family::kIpv4;
  });
  std::vector<RouteKey> gone;
  for (const auto& [key, route] : routes_)
    if (route.oif == ifindex && key.destination.family() == Family::kIpv4 &&
        (last || route.preferred_source == address))
      gone.push_back(key);
  for (const RouteKey& key : gone) erase_route(key, false);
}

void FakeDataplane::answer(const PublicKey& key, bool answers) {
  if (answers) {
    answering_.insert(key);
  } else {
    answering_.erase(key);
  }
}

void FakeDataplane::handshake(const PublicKey& key) {
  const auto found = peers_.find(key);
  if (found == peers_.end()) return;
  found->second.last_handshake = clock_.now().wall + kRoundTrip;
  found->second.rx_bytes += 148;
  found->second.tx_bytes += 92;
}

void FakeDataplane::receive(const PublicKey& key, std::uint64_t bytes) {
  if (const auto found = peers_.find(key); found != peers_.end()) found->second.rx_bytes += bytes;
}

void FakeDataplane::roam(const PublicKey& key, const Endpoint& endpoint) {
  write_endpoint(key, endpoint);
  receive(key, 148);
}

void FakeDataplane::write_endpoint(const PublicKey& key, const Endpoint& endpoint) {
  if (const auto found = peers_.find(key); found != peers_.end()) found->second.endpoint = endpoint;
}

void FakeDataplane::count(const NftElement& element, std::uint64_t bytes) {
  const auto found = counters_.find(element);
  if (found == counters_.end()) return;
  found->second.bytes += bytes;
  ++found->second.packets;
}

void FakeDataplane::drop_device_routes(bool also_addresses) {
  std::vector<RouteKey> lost;
  for (const auto& [key, route] : routes_)
    if (route.type == RouteType::kUnicast && route.oif == device_index_) lost.push_back(key);
  // IPv4 routes go without a word.
  for (const RouteKey& key : lost) erase_route(key, key.destination.family() == Family::kIpv6);
  if (!also_addresses) return;
  const auto addresses = addresses_;
  for (const LocalAddress& address : addresses)
    if (address.ifindex == device_index_) remove_address(device_index_, address.address);
}

Result<void> FakeDataplane::remove_device(const DeviceSpec&) {
  if (const auto error = fault("remove-device", false)) return *error;
  delete_device();
  return {};
}

void FakeDataplane::delete_device() {
  if (!has_device()) return;
  drop_device_routes(true);
  const Link link = device_link();
  link_sysctls_.erase(link.name);
  links_.erase(device_index_);
  device_index_ = 0;
  peers_.clear();
  allowed_.clear();
  event(LinkEvent{link, true});
}

void FakeDataplane::set_link_mtu(const std::string& name, std::uint32_t mtu) {
  for (auto& [index, link] : links_) {
    if (link.name != name) continue;
    link.mtu = mtu;
    event(LinkEvent{link, false});
  }
}
void FakeDataplane::set_device_up(bool up) {
  if (!has_device()) return;
  if (!up) drop_device_routes(false);
  device_link().up = device_link().running = up;
  event(LinkEvent{device_link(), false});
}

void FakeDataplane::put_route(const Route& route) {
  routes_[route.key] = route;
  event(RouteEvent{route, false});
}

void FakeDataplane::erase_route(const RouteKey& key, bool told) {
  const auto found = routes_.find(key);
  if (found == routes_.end()) return;
  if (told) event(RouteEvent{found->second, true});
  routes_.erase(found);
}

void FakeDataplane::remove_route(const RouteKey& key) { erase_route(key, true); }

void FakeDataplane::put_rule(const Rule& rule) {
  if (rules_.insert(rule).second) event(RuleEvent{rule, false});
}

void FakeDataplane::remove_rule(const Rule& rule) {
  if (rules_.erase(rule) != 0) event(RuleEvent{rule, true});
}

void FakeDataplane::put_peer(const WgPeer& peer) {
  remove_peer(peer.key);
  peers_[peer.key] = peer;
  peers_[peer.key].allowed_ips.clear();
  for (const Cidr& cidr : peer.allowed_ips) move_allowed_ip(cidr, peer.key);
}

void FakeDataplane::remove_peer(const PublicKey& key) {
  const auto found = peers_.find(key);
  if (found == peers_.end()) return;
  for (const Cidr& cidr : found->second.allowed_ips) allowed_.erase(cidr);
  peers_.erase(found);
}

void FakeDataplane::remove_allowed_ip(const Cidr& cidr) {
  const auto found = allowed_.find(cidr);
  if (found == allowed_.end()) return;
  std::erase(peers_.at(found->second).allowed_ips, cidr);
  allowed_.erase(found);
}

void FakeDataplane::spoil_rules() {
  ruleset_->fwmark = ~ruleset_->fwmark;
  event(NftEvent{});
}

void FakeDataplane::flush_ruleset() {
  ruleset_.reset();
  elements_.clear();
  counters_.clear();
  event(NftEvent{});
}

// --- events ---

void FakeDataplane::event(KernelEvent event) {
  if (const auto* route = std::get_if<RouteEvent>(&event)) {
    const std::uint32_t table = route->route.key.table;
    if (!tables_.contains(table)) return;
  }
  events_.push_back(std::move(event));
  (void)::eventfd_write(event_fd_.get(), 1);
}

std::vector<KernelEvent> FakeDataplane::drain_events() {
  eventfd_t waiting = 0;
  (void)::eventfd_read(event_fd_.get(), &waiting);
  return std::exchange(events_, {});
}

void FakeDataplane::lose_events() {
  events_.clear();
  event(OverrunEvent{});
}

}  // namespace mesh::test
