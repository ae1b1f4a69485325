// Workload: a program's network behind a node (a pod, a container), or the client outside.
// Its namespace has one interface, eth0, and a default route. Commands may be run from any thread.
#pragma once

#include <string>
#include <vector>

#include "lab/namespace.h"
#include "lab/process.h"
#include "lab/topology.h"

namespace mesh::lab {

class Workload {
 public:
  Workload(std::string name, NetworkNamespace network, std::vector<IpAddress> addresses)
      : name_(std::move(name)), network_(std::move(network)), addresses_(std::move(addresses)) {}

  [[nodiscard]] const std::string& name() const { return name_; }  // "node-a/w1"
  [[nodiscard]] const NetworkNamespace& network() const { return network_; }
  [[nodiscard]] const std::vector<IpAddress>& addresses() const { return addresses_; }
  // Its first address of the family. Throws LabError when it has none.
  [[nodiscard]] IpAddress address(Family family) const;
  // One more address on eth0: a /32 or /128 that lives here.
  void add_address(const IpAddress& address);
  [[nodiscard]] Outcome run(std::vector<std::string> argv) const;
  // One ICMP echo to `target`: whether its answer came within `timeout` (times patience()).
  [[nodiscard]] bool reaches(const IpAddress& target,
                             milliseconds timeout = milliseconds(1000)) const;

 private:
  std::string name_;
  NetworkNamespace network_;
  std::vector<IpAddress> addresses_;
};

}  // namespace mesh::lab
