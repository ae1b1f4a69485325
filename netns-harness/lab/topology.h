// What a lab looks like: its nodes, families and addresses. Pure values; any thread.
//
//   workloads 10.<i>.0.2 fd00:<i>::2        node i                    underlay bridge
//   [node-a/w1]eth0 ---- w1[pods 10.1.0.1 fd00:1::1 | eth0 192.0.2.1 2001:db8::1]---- port
//   [node-b/w1]eth0 ---- w1[pods 10.2.0.1 fd00:2::1 | eth0 192.0.2.2 2001:db8::2]---- port
//                                        [outside]eth0 192.0.2.254 2001:db8::fe  ---- port
//                                          [store]eth0 192.0.2.253 2001:db8::fd  ---- port
//
// Every node has static routes to the other nodes' prefixes by their underlay addresses: the
// network as it is without meshd.
#pragma once

#include <string>
#include <vector>

#include "mesh/ip.h"

namespace mesh::lab {

enum class Families { kIpv4, kIpv6, kDual };
[[nodiscard]] std::vector<Family> list(Families families);
[[nodiscard]] bool has(Families families, Family family);
[[nodiscard]] std::string to_string(Families families);  // "ipv4", "ipv6", "dual"

struct NodeSpec {
  std::string name;
  std::string backend;  // wireguard.backend; empty: the lab's
  int workloads = 1;
};

// Where the nodes keep their records: a shared directory, or a server on the underlay.
enum class StoreKind { kDirectory, kEtcd, kKubernetes };

struct LabSpec {
  std::string id;  // empty: a random one
  std::vector<NodeSpec> nodes;
  Families underlay = Families::kDual;
  Families workloads = Families::kDual;
  std::string backend = "auto";  // of nodes that name none
  bool strict_rp_filter = true;  // 1 in `all` and `default`, as a hardened host has it
  unsigned underlay_mtu = 1500;
  bool outside_client = false;
  StoreKind store = StoreKind::kDirectory;
  bool separate_stores = false;  // a store directory per node, and a relay between them
};

// node-a, node-b, … node-z, node-27, …
[[nodiscard]] std::vector<NodeSpec> numbered_nodes(int count);

// The address plan; `index` counts nodes from 1 (at most 250).
namespace plan {
inline constexpr int kOutsideIndex = 254;
inline constexpr int kStoreIndex = 253;  // the store's server
[[nodiscard]] IpAddress underlay(int index, Family family);
[[nodiscard]] IpAddress link_local(int index);
[[nodiscard]] Cidr prefix(int index, Family family);
[[nodiscard]] IpAddress gateway(int index, Family family);
[[nodiscard]] IpAddress workload(int index, int number, Family family);  // number counts from 1
[[nodiscard]] int prefix_length(Family family);                          // of an underlay address
}  // namespace plan

}  // namespace mesh::lab
