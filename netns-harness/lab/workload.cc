#include "lab/workload.h"

#include "lab/error.h"
#include "lab/ping.h"

namespace mesh::lab {

IpAddress Workload::address(Family family) const {
  for (const auto& address : addresses_)
    if (address.family() == family) return address;
  fail("{} has no {} address", name_, family == Family::kIpv4 ? "IPv4" : "IPv6");
}

void Workload::add_address(const IpAddress& address) {
  const bool v6 = address.family() == Family::kIpv6;
  network_.ip(
      fmt::format("addr add {} dev eth0{}\n", Cidr::host(address).to_string(), v6 ? " nodad" : ""));
  addresses_.push_back(address);
}

Outcome Workload::run(std::vector<std::string> argv) const {
  return lab::run({.argv = std::move(argv), .place = {.network = network_.fd()}});
}

bool Workload::reaches(const IpAddress& target, milliseconds timeout) const {
  return ping(network_, target, timeout).answered;
}

}  // namespace mesh::lab
