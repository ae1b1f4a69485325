// Node: a host of the lab with its own network and mount namespace, and the meshd that runs on it.
//
// Its /run is its own, so that sockets of wireguard-go and meshd do not meet those of other nodes;
// the lab's directory is visible inside. One thread at a time.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lab/namespace.h"
#include "lab/process.h"
#include "lab/store.h"
#include "lab/topology.h"
#include "lab/workload.h"

namespace YAML {
class Node;
}

namespace mesh::lab {

// Where meshd, meshctl and their like are: $MESHD_BIN_DIR, beside this program, this program's
// build tree, PATH. Throws LabError naming the places when there is none.
std::string find_binary(const std::string& name);
[[nodiscard]] bool has_binary(const std::string& name);

// What `wg show DEVICE dump` says of one peer.
struct WireguardPeer {
  std::string public_key;
  std::string endpoint;
  std::vector<std::string> allowed_ips;
  long long latest_handshake = 0;  // seconds since the epoch; 0: never
  unsigned long long rx_bytes = 0;
  unsigned long long tx_bytes = 0;
};
struct WireguardDevice {
  std::string public_key;
  int listen_port = 0;
  unsigned fwmark = 0;
  std::vector<WireguardPeer> peers;
};

class Node {
 public:
  Node(NodeSpec spec, int index, std::string directory, NetworkNamespace network,
       MountNamespace mounts);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  [[nodiscard]] const std::string& name() const { return spec_.name; }
  [[nodiscard]] int index() const { return index_; }  // from 1; see plan::
  [[nodiscard]] const NetworkNamespace& network() const { return network_; }
  [[nodiscard]] Place place() const { return {network_.fd(), mounts_.fd()}; }
  [[nodiscard]] IpAddress address(Family family) const;  // on the underlay
  [[nodiscard]] Workload& workload(int number = 1);      // counts from 1
  [[nodiscard]] std::vector<std::unique_ptr<Workload>>& workloads() { return workloads_; }

  // Commands, with the node's namespaces.
  [[nodiscard]] Outcome run(std::vector<std::string> argv,
                            milliseconds timeout = milliseconds(30'000)) const;
  std::string must(std::vector<std::string> argv) const;  // output; LabError unless it exits 0
  [[nodiscard]] bool reaches(const IpAddress& target,
                             milliseconds timeout = milliseconds(1000)) const;

  // The configuration: the lab's values, with YAML text merged over them key by key. A running
  // meshd sees it at its next start or reload().
  void configure(const std::string& yaml_patch);
  void write_config_text(const std::string& text) const;  // verbatim, for bad ones
  [[nodiscard]] std::string config_path() const { return directory_ + "/meshd.yaml"; }
  [[nodiscard]] std::string directory() const { return directory_; }
  [[nodiscard]] const RecordStore& store() const { return *store_; }

  // meshd. start() does not wait until it is ready: wait for what you need.
  void start(bool drop_net_admin = false);
  // The program that the next start() runs; an upgrade is another one.
  void use_program(std::string path) { program_ = std::move(path); }
  int stop();     // SIGTERM; its exit code
  void kill();    // SIGKILL, that process alone
  void reload();  // SIGHUP
  void restart() {
    (void)stop();
    start();
  }
  [[nodiscard]] bool running();
  [[nodiscard]] Process& process();
  void release();  // meshd outlives the harness
  [[nodiscard]] std::string log() const { return read_file(log_path()); }
  [[nodiscard]] std::string log_path() const { return directory_ + "/meshd.log"; }

  // meshctl. status() throws when meshd does not answer, try_status() says nothing.
  [[nodiscard]] Outcome meshctl(std::vector<std::string> arguments) const;
  [[nodiscard]] nlohmann::json status() const;
  [[nodiscard]] std::optional<nlohmann::json> try_status() const;
  // The peer's object in status; empty when there is none.
  [[nodiscard]] nlohmann::json peer(const std::string& name) const;
  [[nodiscard]] std::string state_of(const std::string& name) const;   // "" : not listed
  [[nodiscard]] std::string reason_of(const std::string& name) const;  // "" : none
  [[nodiscard]] bool wait_for_state(const std::string& name, const std::string& state,
                                    milliseconds timeout = milliseconds(20'000)) const;

  // The device as `wg` shows it, kernel or wireguard-go alike; nothing when there is none.
  [[nodiscard]] std::optional<WireguardDevice> wireguard(const std::string& device = "mesh0") const;

  // Everything a person needs to see why a scenario failed.
  [[nodiscard]] std::string diagnosis() const;

 private:
  friend class Lab;
  NodeSpec spec_;
  int index_;
  std::string directory_;
  NetworkNamespace network_;
  MountNamespace mounts_;
  std::vector<IpAddress> addresses_;
  std::vector<std::unique_ptr<Workload>> workloads_;
  std::unique_ptr<RecordStore> store_;
  std::unique_ptr<YAML::Node> config_;
  std::optional<Process> meshd_;
  std::string program_;  // empty: the one that was built
};

}  // namespace mesh::lab
