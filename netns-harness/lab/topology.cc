#include "lab/topology.h"

#include "lab/error.h"

namespace mesh::lab {
namespace {

IpAddress address(const std::string& text) {
  const auto parsed = IpAddress::parse(text);
  if (!parsed) fail("address plan: {}", parsed.error().message);
  return *parsed;
}

bool is_v4(Family family) { return family == Family::kIpv4; }

}  // namespace

std::vector<Family> list(Families families) {
  switch (families) {
    case Families::kIpv4:
      return {Family::kIpv4};
    case Families::kIpv6:
      return {Family::kIpv6};
    case Families::kDual:
      break;
  }
  return {Family::kIpv4, Family::kIpv6};
}

bool has(Families families, Family family) {
  return families == Families::kDual || list(families).front() == family;
}

std::string to_string(Families families) {
  switch (families) {
    case Families::kIpv4:
      return "ipv4";
    case Families::kIpv6:
      return "ipv6";
    case Families::kDual:
      break;
  }
  return "dual";
}

std::vector<NodeSpec> numbered_nodes(int count) {
  std::vector<NodeSpec> nodes;
  for (int i = 0; i < count; ++i) {
    NodeSpec node;
    node.name =
        i < 26 ? fmt::format("node-{}", static_cast<char>('a' + i)) : fmt::format("node-{}", i + 1);
    nodes.push_back(std::move(node));
  }
  return nodes;
}

namespace plan {

IpAddress underlay(int index, Family family) {
  return address(is_v4(family) ? fmt::format("192.0.2.{}", index)
                               : fmt::format("2001:db8::{:x}", index));
}

IpAddress link_local(int index) { return address(fmt::format("fe80::{:x}", index)); }

Cidr prefix(int index, Family family) {
  return is_v4(family) ? Cidr(address(fmt::format("10.{}.0.0", index)), 24)
                       : Cidr(address(fmt::format("fd00:{:x}::", index)), 64);
}

IpAddress gateway(int index, Family family) { return prefix(index, family).base().next(); }

IpAddress workload(int index, int number, Family family) {
  return address(is_v4(family) ? fmt::format("10.{}.0.{}", index, number + 1)
                               : fmt::format("fd00:{:x}::{:x}", index, number + 1));
}

int prefix_length(Family family) { return is_v4(family) ? 24 : 64; }

}  // namespace plan
}  // namespace mesh::lab
