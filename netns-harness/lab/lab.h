// Lab: an underlay bridge and nodes around it (topology.h draws it), torn down with the object.
//
// Everything lives in namespaces of the lab's own; the machine's are never touched. Labs may run
// side by side. Making one sweeps what a killed harness left. One thread at a time; a failed step
// throws LabError. Making a lab of four nodes takes about half a second.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lab/namespace.h"
#include "lab/node.h"
#include "lab/store.h"
#include "lab/store_server.h"
#include "lab/topology.h"
#include "lab/workload.h"

namespace mesh::lab {

class Lab {
 public:
  explicit Lab(LabSpec spec);
  ~Lab();
  Lab(const Lab&) = delete;
  Lab& operator=(const Lab&) = delete;

  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] const LabSpec& spec() const { return spec_; }
  [[nodiscard]] std::string directory() const;
  [[nodiscard]] const NetworkNamespace& underlay() const { return *underlay_; }

  [[nodiscard]] std::vector<std::unique_ptr<Node>>& nodes() { return nodes_; }
  [[nodiscard]] Node& node(const std::string& name);
  [[nodiscard]] Node& operator[](std::size_t i) { return *nodes_.at(i); }
  [[nodiscard]] Workload& outside();  // LabSpec::outside_client
  // The store every node shares; with separate stores, write to a node's own and let it be relayed.
  [[nodiscard]] const RecordStore& store() const { return *store_; }
  [[nodiscard]] StoreRelay& relay();          // LabSpec::separate_stores
  [[nodiscard]] StoreServer& store_server();  // LabSpec::store, where that is a server

  // Starts meshd on every node, in order.
  void start_all();
  // Whether every pair of `names` (all nodes when empty) came to be `encrypted`, as both see it.
  [[nodiscard]] bool wait_all_encrypted(std::vector<std::string> names = {},
                                        milliseconds timeout = milliseconds(30'000));

  // The cable between a node and the underlay.
  void pull_cable(const Node& node);
  void plug_cable(const Node& node);
  // The port of the underlay bridge that the node hangs on, e.g. "p1".
  [[nodiscard]] static std::string port_of(const Node& node);
  // Drops packets on the underlay that match, in nft's words: `ip saddr 192.0.2.1 udp dport 51820`.
  // Needs the kernel's bridge family of nftables. drop_nothing() ends it.
  void drop(const std::string& nft_match);
  void drop_nothing();
  [[nodiscard]] unsigned long long dropped() const;  // packets, by all drop() together
  // Whether this kernel makes WireGuard links: what `backend: auto` then takes.
  [[nodiscard]] static bool kernel_has_wireguard();
  // Delay and loss by netem on what the node receives: `delay 20ms loss 1%`. Whether the kernel
  // can.
  [[nodiscard]] static bool has_netem();
  void impair(const Node& node, const std::string& netem);

  // Leaves everything standing when this object and process end; `mesh-lab down` removes it.
  void keep();
  [[nodiscard]] std::string diagnosis() const;

 private:
  void make_underlay();
  void make_node(const NodeSpec& spec, int index);
  void make_outside();
  void make_store_host();
  // A host on the underlay that is no node, with the addresses of `index`.
  [[nodiscard]] NetworkNamespace make_host(const std::string& name, int index);
  void configure(Node& node);
  [[nodiscard]] NetworkNamespace make_network(const std::string& name) const;
  [[nodiscard]] std::string ns_path(const std::string& kind, const std::string& name) const;

  LabSpec spec_;
  std::string id_;
  bool kept_ = false;
  std::unique_ptr<NetworkNamespace> underlay_;
  std::unique_ptr<RecordStore> store_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::unique_ptr<Workload> outside_;
  std::unique_ptr<StoreRelay> relay_;
  std::unique_ptr<NetworkNamespace> store_host_;
  std::unique_ptr<StoreServer> store_server_;
};

// The namespaces of a lab made by another process: "node-a", "node-a/w1", "outside", "underlay".
struct OpenPlace {
  NetworkNamespace network;
  std::unique_ptr<MountNamespace> mounts;  // of nodes only
  [[nodiscard]] Place place() const { return {network.fd(), mounts ? mounts->fd() : -1}; }
};
OpenPlace open_place(const std::string& lab_id, const std::string& name);
// The nodes of a lab made by another process.
std::vector<std::string> node_names(const std::string& lab_id);

}  // namespace mesh::lab
