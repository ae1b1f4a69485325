#include "core/mirror.h"

#include <algorithm>

namespace mesh {

void Mirror::set_device(const WgDevice& device, Touched& touched) {
  std::map<PublicKey, WgPeer> peers;
  std::map<Cidr, PublicKey> allowed;
  for (const WgPeer& peer : device.peers) {
    const auto before = peers_.find(peer.key);
    const bool same = before != peers_.end() && before->second.allowed_ips == peer.allowed_ips &&
                      before->second.keepalive == peer.keepalive &&
                      before->second.endpoint == peer.endpoint;
    if (!same) touched.peers.insert(peer.key);
    // A peer that roams is heard from there; another endpoint without a word was written by others.
    if (before != peers_.end() && before->second.endpoint && peer.endpoint &&
        before->second.endpoint != peer.endpoint && before->second.rx_bytes == peer.rx_bytes &&
        before->second.last_handshake == peer.last_handshake)
      forget_endpoint(peer.key);
    if (before == peers_.end() && peer.endpoint) {
      if (peer.last_handshake) {
        adopted_endpoints_.insert(peer.key);
      } else {
        written_endpoints_.try_emplace(peer.key, *peer.endpoint);
      }
    }
    for (const Cidr& cidr : peer.allowed_ips) allowed[cidr] = peer.key;
    peers[peer.key] = peer;
  }
  for (const auto& [key, peer] : peers_) {
    if (peers.contains(key)) continue;
    touched.peers.insert(key);
    forget_endpoint(key);
  }
  peers_ = std::move(peers);
  allowed_ = std::move(allowed);
  device_ = device;
  device_->peers.clear();
}

void Mirror::clear_device(Touched& touched) {
  for (const auto& [key, peer] : peers_) touched.peers.insert(key);
  const int ifindex = device_ ? device_->ifindex : 0;
  peers_.clear();
  allowed_.clear();
  written_endpoints_.clear();
  adopted_endpoints_.clear();
  device_.reset();
  if (ifindex == 0) return;
  drop_device_routes(ifindex, touched);
  std::erase_if(addresses_,
                [&](const LocalAddress& address) { return address.ifindex == ifindex; });
}

void Mirror::drop_device_routes(int ifindex, Touched& touched) {
  std::erase_if(routes_, [&](const auto& item) {
    const bool lost = item.second.type == RouteType::kUnicast && item.second.oif == ifindex;
    if (lost) touched.routes.insert(item.first);
    return lost;
  });
}

void Mirror::set_links(const std::vector<Link>& links) {
  links_.clear();
  for (const Link& link : links) links_[link.name] = link;
}

void Mirror::set_addresses(const std::vector<LocalAddress>& addresses) {
  addresses_ = {addresses.begin(), addresses.end()};
}

void Mirror::set_routes(const std::vector<Route>& routes, Touched& touched) {
  std::map<RouteKey, Route> fresh;
  for (const Route& route : routes) {
    const auto before = routes_.find(route.key);
    if (before == routes_.end() || before->second != route) touched.routes.insert(route.key);
    fresh[route.key] = route;
  }
  for (const auto& [key, route] : routes_)
    if (!fresh.contains(key)) touched.routes.insert(key);
  routes_ = std::move(fresh);
}

void Mirror::set_nftables(std::optional<NftContents> contents, Touched& touched) {
  std::set<NftElement> fresh;
  if (contents) fresh = {contents->elements.begin(), contents->elements.end()};
  std::set_symmetric_difference(fresh.begin(), fresh.end(), elements_.begin(), elements_.end(),
                                std::inserter(touched.elements, touched.elements.end()));
  elements_ = std::move(fresh);
  sets_ = contents.has_value();
  ruleset_ = sets_ && contents->rules_are_right;
}

void Mirror::forget_endpoint(const PublicKey& key) {
  written_endpoints_.erase(key);
  adopted_endpoints_.erase(key);
}

void Mirror::take_as_written(const PublicKey& key, const Endpoint& endpoint) {
  written_endpoints_[key] = endpoint;
  adopted_endpoints_.erase(key);
}

std::optional<Endpoint> Mirror::written_endpoint(const PublicKey& key) const {
  const auto found = written_endpoints_.find(key);
  return found == written_endpoints_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<PublicKey> Mirror::allowed_to(const Cidr& cidr) const {
  const auto found = allowed_.find(cidr);
  return found == allowed_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<int> Mirror::link_setting(const std::string& link, LinkSysctl sysctl) const {
  const auto found = link_settings_.find({link, sysctl});
  return found == link_settings_.end() ? std::nullopt : std::optional(found->second);
}

const Link* Mirror::link(const std::string& name) const {
  const auto found = links_.find(name);
  return found == links_.end() ? nullptr : &found->second;
}

int Mirror::index_of(const std::string& link_name) const {
  const Link* found = link(link_name);
  return found == nullptr ? 0 : found->index;
}

void Mirror::change_peer(const WgPeerChange& change) {
  if (change.remove || change.anew) {
    if (const auto found = peers_.find(change.key); found != peers_.end()) {
      for (const Cidr& cidr : found->second.allowed_ips) allowed_.erase(cidr);
      peers_.erase(found);
      forget_endpoint(change.key);
    }
    if (change.remove) return;
  }
  if (change.update_only && !peers_.contains(change.key)) return;
  WgPeer& peer = peers_[change.key];
  peer.key = change.key;
  if (change.endpoint) {
    peer.endpoint = change.endpoint;
    take_as_written(change.key, *change.endpoint);
  }
  if (change.keepalive) peer.keepalive = *change.keepalive;
  for (const Cidr& cidr : change.remove_allowed_ips) {
    // Only what it holds: the kernel leaves another peer's alone.
    if (std::erase(peer.allowed_ips, cidr) != 0) allowed_.erase(cidr);
  }
  for (const Cidr& cidr : change.add_allowed_ips) {
    if (const auto holder = allowed_.find(cidr); holder != allowed_.end()) {
      if (holder->second == change.key) continue;
      std::erase(peers_[holder->second].allowed_ips, cidr);
    }
    allowed_[cidr] = change.key;
    peer.allowed_ips.insert(
        std::upper_bound(peer.allowed_ips.begin(), peer.allowed_ips.end(), cidr), cidr);
  }
}

struct Mirror::OnOperation {
  Mirror& mirror;

  void operator()(const ConfigureDevice& act) const {
    if (!mirror.device_) return;
    if (act.change.listen_port) mirror.device_->listen_port = *act.change.listen_port;
    if (act.change.fwmark) mirror.device_->fwmark = *act.change.fwmark;
    // The key itself shows at the next dump; assuming it here would hide a failed write.
  }
  void operator()(const ConfigureLink& act) const {
    for (auto& [name, link] : mirror.links_) {
      if (!mirror.device_ || link.index != mirror.device_->ifindex) continue;
      if (act.mtu != 0) link.mtu = act.mtu;
      if (act.up) link.up = true;
    }
  }
  void operator()(const AddAddress& act) const {
    if (mirror.device_)
      mirror.addresses_.insert(
          {mirror.device_->ifindex, act.address, address_bits(act.address.family())});
  }
  void operator()(const RemoveAddress& act) const {
    const int index = mirror.device_ ? mirror.device_->ifindex : 0;
    std::erase_if(mirror.addresses_, [&](const LocalAddress& a) {
      return a.ifindex == index && a.address == act.address;
    });
  }
  void operator()(const SetLinkSysctl& act) const { mirror.set_link_setting(act.setting); }
  void operator()(const PutRule& act) const { mirror.rules_.insert(act.rule); }
  void operator()(const RemoveRule& act) const { mirror.rules_.erase(act.rule); }
  void operator()(const InstallRuleset& act) const {
    mirror.ruleset_ = mirror.sets_ = true;
    if (!act.keep_sets) mirror.elements_.clear();
  }
  void operator()(const ChangePeer& act) const { mirror.change_peer(act.change); }
  void operator()(const PutRoute& act) const { mirror.routes_[act.route.key] = act.route; }
  void operator()(const RemoveRoute& act) const { mirror.routes_.erase(act.route.key); }
  void operator()(const PutElement& act) const { mirror.elements_.insert(act.element); }
  void operator()(const RemoveElement& act) const { mirror.elements_.erase(act.element); }
};

void Mirror::apply(const Operation& operation) { std::visit(OnOperation{*this}, operation.act); }

struct Mirror::OnEvent {
  Mirror& mirror;
  const std::string& device_name;
  Touched& touched;

  std::string operator()(const LinkEvent& event) const {
    const Link& link = event.link;
    const bool ours =
        link.name == device_name || (mirror.device_ && mirror.device_->ifindex == link.index);
    // A renamed link is known by its index.
    const auto renamed =
        std::find_if(mirror.links_.begin(), mirror.links_.end(), [&](const auto& item) {
          return item.second.index == link.index && item.first != link.name;
        });
    const bool lost_name = renamed != mirror.links_.end() && renamed->first == device_name;
    if (renamed != mirror.links_.end()) {
      mirror.links_[link.name] = renamed->second;
      mirror.links_.erase(renamed);
    }
    const auto before = mirror.links_.find(link.name);
    if (event.removed) {
      const bool known = before != mirror.links_.end();
      if (known) mirror.links_.erase(before);
      if (!ours || !known) return "";
      mirror.clear_device(touched);
      return "device";
    }
    const bool went_down = before != mirror.links_.end() && before->second.up && !link.up;
    const bool changed = before == mirror.links_.end() || before->second.up != link.up ||
                         before->second.mtu != link.mtu;
    mirror.links_[link.name] = link;
    if (!ours) return "";
    // IPv4 flushes the routes of a device that goes down without telling anybody.
    if (went_down) mirror.drop_device_routes(link.index, touched);
    if (lost_name) return "device";
    return changed ? "link" : "";
  }
  std::string operator()(const AddressEvent& event) const {
    const bool ours = mirror.device_ && mirror.device_->ifindex == event.address.ifindex;
    // One that is deprecated by now is the same address.
    const LocalAddress& news = event.address;
    bool changed = event.removed || !mirror.addresses_.contains(news);
    const auto known = std::erase_if(mirror.addresses_, [&](const LocalAddress& here) {
      return here.ifindex == news.ifindex && here.address == news.address &&
             here.prefix_length == news.prefix_length;
    });
    if (event.removed)
      changed = known != 0;
    else
      mirror.addresses_.insert(news);
    // With an IPv4 address go the routes that prefer it, and with the last one all of the device;
    // nobody is told.
    if (ours && event.removed && event.address.address.family() == Family::kIpv4)
      mirror.drop_device_routes(event.address.ifindex, touched);
    return ours && changed ? "address" : "";
  }
  std::string operator()(const RouteEvent& event) const {
    const auto known = mirror.routes_.find(event.route.key);
    const bool is_known = known != mirror.routes_.end();
    if (event.removed) {
      // A replaced route may be announced as removed after its successor: only the one we know
      // goes.
      if (!is_known || known->second != event.route) return "";
      mirror.routes_.erase(known);
    } else {
      if (is_known && known->second == event.route) return "";
      mirror.routes_[event.route.key] = event.route;
    }
    touched.routes.insert(event.route.key);
    return "route";
  }
  std::string operator()(const RuleEvent& event) const {
    const bool changed = event.removed ? mirror.rules_.erase(event.rule) != 0
                                       : mirror.rules_.insert(event.rule).second;
    return changed && event.rule.protocol == kProtocol ? "rule" : "";
  }
  std::string operator()(const NftEvent&) const {
    return "nftables";  // what was done the event does not say: whoever asks reads it again
  }
  std::string operator()(const OverrunEvent&) const {
    touched.everything = true;
    return "";
  }
};

std::string Mirror::apply(const KernelEvent& event, const std::string& device_name,
                          Touched& touched) {
  return std::visit(OnEvent{*this, device_name, touched}, event);
}

}  // namespace mesh
