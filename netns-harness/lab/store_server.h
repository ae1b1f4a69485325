// StoreServer: the server of a lab whose nodes share no directory: a host of its own on the
// underlay, reachable by all nodes and by no workload.
//
// One thread at a time. It is killed with the lab, by its namespace. A failed step throws LabError.
// Another kind of store: a class like EtcdServer, and a line in make_store_server.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lab/namespace.h"
#include "lab/process.h"
#include "lab/topology.h"
#include "mesh/ip.h"

namespace mesh::lab {

class StoreServer {
 public:
  virtual ~StoreServer() = default;

  // The `store:` block of a node's meshd.yaml, as YAML text.
  [[nodiscard]] virtual std::string configuration(const std::string& node) const = 0;
  // Starts it with what it held before; returns when it answers.
  virtual void start() = 0;
  // The machine of a node joins, where that makes its record (Kubernetes), of which meshd then
  // writes its annotations alone.
  virtual void admit(const std::string& node, const std::vector<IpAddress>& addresses,
                     const std::vector<Cidr>& cidrs) {
    (void)node, (void)addresses, (void)cidrs;
  }
  virtual void kill() = 0;  // SIGKILL
  // Somebody else's hands in the store. `record`: JSON.
  [[nodiscard]] virtual bool has(const std::string& node) const = 0;
  virtual void write(const std::string& node, const std::string& record) = 0;
  virtual void remove(const std::string& node) = 0;
};

// Starts one in `network`, where it has `address`; its files are in `directory`. Null: this kind of
// store needs no server.
std::unique_ptr<StoreServer> make_store_server(StoreKind kind, const NetworkNamespace& network,
                                               const IpAddress& address,
                                               const std::string& directory);

}  // namespace mesh::lab
