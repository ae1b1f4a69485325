// What host traffic leaves alone, from the configuration: its ports, and where the store is
// reached.
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdlib>

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
  if (colon == std::string_view::npos) {
    port.ports = {443, 443};  // of https, which an API server speaks
    if (const auto address = IpAddress::parse(authority)) port.address = *address;
    return port;
  }
  const auto parsed = parse_failsafe_port("tcp:" + std::string(authority.substr(colon + 1)));
  return parsed ? std::optional(*parsed) : std::nullopt;
}

// Of its current context. What is wrong with a kubeconfig the store says; here it names nobody.
std::string server_in_kubeconfig(const std::filesystem::path& path) {
  const auto named = [](const YAML::Node& list, const std::string& name, const char* what) {
    for (const YAML::Node& entry : list)
      if (entry["name"].as<std::string>("") == name) return entry[what];
    return YAML::Node();
  };
  try {
    const YAML::Node file = YAML::LoadFile(path.native());
    const YAML::Node context =
        named(file["contexts"], file["current-context"].as<std::string>(""), "context");
    return named(file["clusters"], context["cluster"].as<std::string>(""), "cluster")["server"]
        .as<std::string>("");
  } catch (const YAML::Exception&) {
    return "";
  }
}

bool covers(const FailsafePort& wide, const FailsafePort& port) {
  return wide.protocol == port.protocol && wide.ports.first <= port.ports.first &&
         port.ports.last <= wide.ports.last && (!wide.address || wide.address == port.address);
}

}  // namespace

std::string find_api_server(const Config& config) {
  if (config.store.type != StoreType::kKubernetes) return "";
  if (!config.store.kubernetes.kubeconfig.empty())
    return server_in_kubeconfig(config.store.kubernetes.kubeconfig);
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || port == nullptr) return "";
  const bool ipv6 = std::string_view(host).find(':') != std::string_view::npos;
  return fmt::format("https://{}{}{}:{}", ipv6 ? "[" : "", host, ipv6 ? "]" : "", port);
}

std::vector<FailsafePort> failsafe_of(const Config& config) {
  std::vector<FailsafePort> ports = config.encryption.failsafe_ports;
  std::vector<std::string> urls;
  if (config.store.type == StoreType::kEtcd) urls = config.store.etcd.endpoints;
  if (!config.api_server.empty()) urls.push_back(config.api_server);
  for (const std::string& url : urls) {
    const auto port = port_of_url(url);
    if (port && std::none_of(ports.begin(), ports.end(),
                             [&](const FailsafePort& other) { return covers(other, *port); }))
      ports.push_back(*port);
  }
  return ports;
}

}  // namespace mesh
