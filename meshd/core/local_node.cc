#include "core/local_node.h"

#include <algorithm>

namespace mesh {

bool LocalNode::has_family(Family family) const {
  return std::any_of(addresses.begin(), addresses.end(),
                     [&](const IpAddress& a) { return a.family() == family; });
}

bool LocalNode::differs_in_host_addresses_alone(const LocalNode& other) const {
  for (const Family family : {Family::kIpv4, Family::kIpv6})
    if (preferred_source(family) != other.preferred_source(family) ||
        host_source(family) != other.host_source(family))
      return false;
  LocalNode same = other;
  same.host_addresses = host_addresses;
  return same == *this;
}

std::optional<IpAddress> LocalNode::preferred_source(Family family) const {
  for (const Cidr& cidr : cidrs) {
    if (cidr.family() != family) continue;
    const auto found = host_addresses.lower_bound(cidr.base());
    if (found != host_addresses.end() && cidr.contains(*found)) return *found;
  }
  return std::nullopt;
}

std::optional<IpAddress> LocalNode::host_source(Family family) const {
  for (const IpAddress& address : addresses)
    if (address.family() == family && host_addresses.contains(address)) return address;
  return std::nullopt;
}

}  // namespace mesh
