// What host traffic leaves alone, from the configuration: its ports, and where the store is
// reached.
#include <algorithm>

#include "meshd/daemon/config.h"

namespace mesh {
namespace {

// "http://192.0.2.9:2379": the address and port; a name gives the port alone, for nobody here knows
// its addresses. So does loopback: the store is on this node, and reached at any address of it.
std::optional<FailsafePort> port_of_url(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return std::nullopt;
  std::string_view authority = url.substr(scheme + 3);
  authority = authority.substr(0, authority.find('/'));
  FailsafePort port;
  if (const auto endpoint = Endpoint::parse(authority)) {
    port.ports = {endpoint->port, endpoint->port};
    if (endpoint->address.why_not_reachable().empty()) port.address = endpoint->address;
    return port;
  }
  const std::size_t colon = authority.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto parsed = parse_failsafe_port("tcp:" + std::string(authority.substr(colon + 1)));
  return parsed ? std::optional(*parsed) : std::nullopt;
}

bool covers(const FailsafePort& wide, const FailsafePort& port) {
  return wide.protocol == port.protocol && wide.ports.first <= port.ports.first &&
         port.ports.last <= wide.ports.last && (!wide.address || wide.address == port.address);
}

}  // namespace

std::vector<FailsafePort> failsafe_of(const Config& config) {
  std::vector<FailsafePort> ports = config.encryption.failsafe_ports;
  if (config.store.type != StoreType::kEtcd) return ports;
  for (const std::string& url : config.store.etcd.endpoints) {
    const auto port = port_of_url(url);
    if (port && std::none_of(ports.begin(), ports.end(),
                             [&](const FailsafePort& other) { return covers(other, *port); }))
      ports.push_back(*port);
  }
  return ports;
}

}  // namespace mesh
