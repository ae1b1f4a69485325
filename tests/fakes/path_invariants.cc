#include "fakes/path_invariants.h"

namespace mesh::test {
namespace {

bool is_device_route(const FakeDataplane& kernel, const Route& route) {
  return route.type == RouteType::kUnicast && kernel.has_device() &&
         route.oif == kernel.device_index();
}

const Route* find(const std::map<RouteKey, Route>& routes, const RouteKey& key) {
  const auto found = routes.find(key);
  return found == routes.end() ? nullptr : &found->second;
}

}  // namespace

std::set<std::string> path_faults(const FakeDataplane& kernel, const Desired& desired,
                                  std::uint32_t w, std::uint32_t h) {
  std::set<std::string> faults;
  const auto fault = [&](const char* rule, const Cidr& cidr) {
    faults.insert(std::string(rule) + ": " + cidr.to_string());
  };
  for (const auto& [key, route] : kernel.routes()) {
    if (!is_device_route(kernel, route) || route.protocol != kProtocol) continue;
    if (key.table != w && key.table != h) continue;
    // The guard of a prefix that leaves the mesh may go before its route: then clear is what is
    // meant.
    RouteKey guard = key;
    guard.metric = kGuardMetric;
    if (key.table == w && desired.routes().contains(guard) &&
        find(kernel.routes(), guard) == nullptr)
      fault("a device route without its guard", key.destination);
    if (!kernel.allowed_to(key.destination))
      fault("a device route that no peer's AllowedIPs answer", key.destination);
  }
  for (const auto& [key, want] : desired.routes()) {
    RouteKey base = key;
    base.metric = base_metric(key.destination.family());
    const Route* have = find(kernel.routes(), base);
    if (key.table == w && key.metric == kGuardMetric) {
      const bool carried = have != nullptr && have->type != RouteType::kThrow;
      const bool guarded = find(kernel.routes(), key) != nullptr;
      if ((have != nullptr && have->type == RouteType::kThrow) || (!carried && !guarded))
        fault("an encrypted prefix could leave in clear", key.destination);
    } else if (key.table == w && want.route.type == RouteType::kUnreachable) {
      const bool blocked = have != nullptr && have->type != RouteType::kThrow;
      RouteKey guard = key;
      guard.metric = kGuardMetric;
      if (!blocked && find(kernel.routes(), guard) == nullptr)
        fault("a blocked prefix could leave in clear", key.destination);
    }
  }
  for (const auto& [key, peer] : desired.peers())
    for (const Cidr& cidr : peer.allowed_ips)
      if (!kernel.allowed_to(cidr)) fault("a prefix that is in nobody's AllowedIPs", cidr);
  for (const auto& [key, route] : kernel.routes())
    if (key.table == h && route.protocol == kProtocol && route.type != RouteType::kUnicast)
      fault("a reject route among the hosts", key.destination);
  return faults;
}

PathWatcher::PathWatcher(FakeDataplane& kernel, const Desired& desired, std::uint32_t w,
                         std::uint32_t h)
    : kernel_(kernel), desired_(desired), w_(w), h_(h) {
  kernel_.after_each([this](const Operation& operation) { look(operation); });
}

void PathWatcher::begin() { known_ = path_faults(kernel_, desired_, w_, h_); }

// What has no route yet goes nowhere.
bool PathWatcher::guarded(RouteKey key) const {
  key.metric = kGuardMetric;
  return kernel_.routes().contains(key);
}

void PathWatcher::look(const Operation& operation) {
  std::set<std::string> now = path_faults(kernel_, desired_, w_, h_);
  // A reset takes a peer's AllowedIPs for the moment between two messages; its routes are away by
  // then.
  const auto* change = std::get_if<ChangePeer>(&operation.act);
  const bool reset = change != nullptr && change->change.remove;
  for (const std::string& fault : now)
    if (!known_.contains(fault) && !(reset && fault.starts_with("a prefix that is in nobody's")))
      made_.insert(fault + ", after " + to_string(operation));
  if (strict_rules && std::holds_alternative<PutRule>(operation.act))
    for (const auto& [key, want] : desired_.routes())
      if (key.table == w_ && !kernel_.routes().contains(key) && !guarded(key))
        made_.insert("a rule before the route of " + key.destination.to_string());
  known_ = std::move(now);
}

}  // namespace mesh::test
