#include "lab/lab.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "lab/error.h"
#include "lab/registry.h"

namespace mesh::lab {
namespace {

namespace fs = std::filesystem;

// Inside a new mount namespace: forgets every lab's held namespaces (a copied mount would keep them
// alive), and gives the node a /run of its own in which only this lab's directory shows.
void give_own_run(const std::string& directory) {
  const UniqueFd lab(check(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC), directory));
  std::vector<std::string> held;
  std::istringstream mounts(read_file("/proc/thread-self/mountinfo"));
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string skipped;
    std::string target;
    fields >> skipped >> skipped >> skipped >> skipped >> target;
    if (target.starts_with("/run/mesh-lab/") && target.ends_with("/ns")) held.push_back(target);
  }
  for (const auto& target : held) unmount_lazily(target);
  for (const std::string run : {"/run", "/var/run"}) {
    if (fs::is_symlink(run)) continue;  // /var/run is /run on Debian
    mount_at("node-run", run, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
  }
  fs::create_directories(directory);
  mount_at(fmt::format("/proc/thread-self/fd/{}", lab.get()), directory, nullptr, MS_BIND);
  fs::create_directory("/run/meshd");      // what the systemd unit's RuntimeDirectory does
  fs::create_directory("/run/wireguard");  // wireguard-go's sockets
  mount_at("node-sys", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC);
}

void forward(const NetworkNamespace& network, bool strict_rp_filter) {
  network.set_sysctl("net.ipv4.ip_forward", "1");
  network.set_sysctl("net.ipv6.conf.all.forwarding", "1");
  for (const char* scope : {"all", "default"}) {
    network.set_sysctl(fmt::format("net.ipv4.conf.{}.rp_filter", scope),
                       strict_rp_filter ? "1" : "0");
  }
}

// Addresses are usable at once, and nothing is learnt from routers.
void quieten(const NetworkNamespace& network) {
  for (const char* scope : {"all", "default"}) {
    network.set_sysctl(fmt::format("net.ipv6.conf.{}.accept_dad", scope), "0");
    network.set_sysctl(fmt::format("net.ipv6.conf.{}.accept_ra", scope), "0");
  }
}

std::string default_route(Family family) { return family == Family::kIpv4 ? "0.0.0.0/0" : "::/0"; }
std::string no_dad(Family family) { return family == Family::kIpv4 ? "" : " nodad"; }

// The next hop to node `index` for prefixes of `family`, over whatever the underlay speaks. IPv4
// can be routed by an IPv6 next hop (RTA_VIA); IPv6 over an IPv4-only underlay goes by link-local
// addresses.
std::string next_hop(int index, Family family, Families underlay) {
  if (has(underlay, family)) return "via " + plan::underlay(index, family).to_string();
  if (family == Family::kIpv4)
    return "via inet6 " + plan::underlay(index, Family::kIpv6).to_string();
  return "via " + plan::link_local(index).to_string();
}

std::string underlay_addresses(int index, Families families) {
  std::string batch;
  for (const Family family : list(families))
    batch += fmt::format("addr add {}/{} dev eth0{}\n", plan::underlay(index, family).to_string(),
                         plan::prefix_length(family), no_dad(family));
  return batch +
         fmt::format("addr add {}/64 dev eth0 nodad\n", plan::link_local(index).to_string());
}

}  // namespace

Lab::Lab(LabSpec spec) : spec_(std::move(spec)) {
  (void)sweep_labs();
  id_ = create_lab_directory(spec_.id);
  try {
    fs::create_directory(directory() + "/nodes");
    store_ = std::make_unique<RecordStore>(directory() + "/store");
    make_underlay();
    if (spec_.store != StoreKind::kDirectory) make_store_host();
    int index = 0;
    for (const auto& node : spec_.nodes) make_node(node, ++index);
    if (spec_.outside_client) make_outside();
    for (auto& node : nodes_) configure(*node);
    if (spec_.separate_stores) {
      std::map<std::string, RecordStore> stores;
      for (const auto& node : nodes_) stores.emplace(node->name(), node->store());
      relay_ = std::make_unique<StoreRelay>(std::move(stores));
    }
  } catch (...) {
    destroy_lab(id_);
    throw;
  }
}

Lab::~Lab() {
  relay_.reset();
  if (kept_) return;
  try {
    destroy_lab(id_);
  } catch (const std::exception& error) {
    fmt::print(stderr, "clean-up of lab {}: {}\n", id_, error.what());
  }
}

std::string Lab::directory() const { return lab_directory(id_); }

std::string Lab::ns_path(const std::string& kind, const std::string& name) const {
  return fmt::format("{}/ns/{}.{}", directory(), kind, name);
}

NetworkNamespace Lab::make_network(const std::string& name) const {
  NetworkNamespace network = NetworkNamespace::create(ns_path("net", name));
  quieten(network);
  return network;
}

void Lab::make_underlay() {
  underlay_ = std::make_unique<NetworkNamespace>(make_network("underlay"));
  underlay_->set_sysctl("net.ipv6.conf.default.disable_ipv6", "1");  // a switch says nothing itself
  underlay_->ip(
      fmt::format("link add br0 mtu {} type bridge mcast_snooping 0 stp_state 0\nlink set br0 up\n",
                  spec_.underlay_mtu));
}

void Lab::make_node(const NodeSpec& spec, int index) {
  const std::string directory = fmt::format("{}/nodes/{}", this->directory(), spec.name);
  fs::create_directory(directory);
  NetworkNamespace network = make_network(spec.name);
  forward(network, spec_.strict_rp_filter);
  MountNamespace mounts = MountNamespace::create(ns_path("mnt", spec.name), network,
                                                 [&] { give_own_run(this->directory()); });
  auto node = std::make_unique<Node>(spec, index, directory, std::move(network), std::move(mounts));
  const std::string port = fmt::format("p{}", index);
  underlay_->ip(fmt::format(
      "link add {0} mtu {1} type veth peer name eth0 mtu {1} netns {2}\nlink set {0} master br0 "
      "up\n",
      port, spec_.underlay_mtu, node->network().path()));

  std::string batch = "link set eth0 addrgenmode none\nlink set eth0 up\n";
  batch += underlay_addresses(index, spec_.underlay);
  batch += "link add pods type bridge mcast_snooping 0 stp_state 0\nlink set pods up\n";
  for (const Family family : list(spec_.workloads))
    batch += fmt::format("addr add {}/{} dev pods{}\n", plan::gateway(index, family).to_string(),
                         plan::prefix(index, family).length(), no_dad(family));
  int other = 0;
  for (const auto& unused : spec_.nodes) {
    (void)unused;
    if (++other == index) continue;
    for (const Family family : list(spec_.workloads))
      batch += fmt::format("route add {} {} dev eth0\n", plan::prefix(other, family).to_string(),
                           next_hop(other, family, spec_.underlay));
  }
  for (const Family family : list(spec_.underlay))
    node->addresses_.push_back(plan::underlay(index, family));

  for (int number = 1; number <= spec.workloads; ++number) {
    NetworkNamespace inner = make_network(fmt::format("{}@w{}", spec.name, number));
    batch += fmt::format(
        "link add w{0} type veth peer name eth0 netns {1}\nlink set w{0} master pods up\n", number,
        inner.path());
    std::vector<IpAddress> addresses;
    for (const Family family : list(spec_.workloads))
      addresses.push_back(plan::workload(index, number, family));
    node->workloads_.push_back(std::make_unique<Workload>(fmt::format("{}/w{}", spec.name, number),
                                                          std::move(inner), addresses));
  }
  node->network().ip(batch);
  for (const auto& workload : node->workloads_) {
    std::string inner = "link set eth0 up\n";
    for (const auto& address : workload->addresses()) {
      const Family family = address.family();
      inner += fmt::format("addr add {}/{} dev eth0{}\nroute add {} via {}\n", address.to_string(),
                           plan::prefix(index, family).length(), no_dad(family),
                           default_route(family), plan::gateway(index, family).to_string());
    }
    workload->network().ip(inner);
  }
  nodes_.push_back(std::move(node));
}

NetworkNamespace Lab::make_host(const std::string& name, int index) {
  NetworkNamespace network = make_network(name);
  underlay_->ip(fmt::format(
      "link add {0} mtu {1} type veth peer name eth0 mtu {1} netns {2}\nlink set {0} master br0 "
      "up\n",
      name, spec_.underlay_mtu, network.path()));
  network.ip("link set eth0 addrgenmode none\nlink set eth0 up\n" +
             underlay_addresses(index, spec_.underlay));
  return network;
}

void Lab::make_store_host() {
  store_host_ = std::make_unique<NetworkNamespace>(make_host("store", plan::kStoreIndex));
  const Family family = list(spec_.underlay).front();
  store_server_ =
      make_store_server(spec_.store, *store_host_, plan::underlay(plan::kStoreIndex, family),
                        directory() + "/server");
  store_server_->start();
}

void Lab::make_outside() {
  NetworkNamespace network = make_host("outside", plan::kOutsideIndex);
  std::vector<IpAddress> addresses;
  for (const Family family : list(spec_.underlay))
    addresses.push_back(plan::underlay(plan::kOutsideIndex, family));
  outside_ = std::make_unique<Workload>("outside", std::move(network), addresses);
}

void Lab::configure(Node& node) {
  node.store_ = std::make_unique<RecordStore>(spec_.separate_stores ? node.directory() + "/store"
                                                                    : store_->path());
  YAML::Node config;
  config["node"]["name"] = node.name();
  for (const auto& address : node.addresses_)
    config["node"]["addresses"].push_back(address.to_string());
  for (const Family family : list(spec_.workloads))
    config["node"]["cidrs"].push_back(plan::prefix(node.index(), family).to_string());
  config["store"]["type"] = "directory";
  config["store"]["directory"]["path"] = node.store_->path();
  config["wireguard"]["backend"] = node.spec_.backend.empty() ? spec_.backend : node.spec_.backend;
  config["keys"]["directory"] = node.directory() + "/keys";
  config["log"]["level"] = "debug";
  node.configure(YAML::Dump(config));
  if (!store_server_) return;
  node.configure(store_server_->configuration(node.name()));
  std::vector<Cidr> cidrs;
  for (const Family family : list(spec_.workloads))
    cidrs.push_back(plan::prefix(node.index(), family));
  store_server_->admit(node.name(), node.addresses_, cidrs);
}

Node& Lab::node(const std::string& name) {
  for (auto& node : nodes_)
    if (node->name() == name) return *node;
  fail("lab {} has no node {}", id_, name);
}

Workload& Lab::outside() {
  if (!outside_) fail("this lab has no outside client: ask for it in LabSpec");
  return *outside_;
}

StoreRelay& Lab::relay() {
  if (!relay_) fail("this lab's nodes share one store: ask for separate_stores in LabSpec");
  return *relay_;
}

StoreServer& Lab::store_server() {
  if (!store_server_) fail("this lab's nodes share a directory: ask for a server in LabSpec");
  return *store_server_;
}

void Lab::start_all() {
  for (auto& node : nodes_) node->start();
}

bool Lab::wait_all_encrypted(std::vector<std::string> names, milliseconds timeout) {
  if (names.empty())
    for (const auto& node : nodes_) names.push_back(node->name());
  const auto deadline = Clock::now() + timeout * patience();
  for (const auto& name : names) {
    for (const auto& peer : names) {
      if (peer == name) continue;
      const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
      if (!node(name).wait_for_state(peer, "encrypted", left / patience())) return false;
    }
  }
  return true;
}

std::string Lab::port_of(const Node& node) { return fmt::format("p{}", node.index()); }

void Lab::pull_cable(const Node& node) {
  underlay_->ip(fmt::format("link set {} down\n", port_of(node)));
}

void Lab::plug_cable(const Node& node) {
  underlay_->ip(fmt::format("link set {} up\n", port_of(node)));
}

void Lab::drop(const std::string& nft_match) {
  (void)run_or_throw(
      {.argv = {"nft", "-f", "-"},
       .place = {.network = underlay_->fd()},
       .input = fmt::format("table bridge lab {{\n"
                            "  chain faults {{ type filter hook forward priority 0;\n"
                            "    {} counter drop\n  }}\n}}\n",
                            nft_match)});
}

void Lab::drop_nothing() {
  (void)lab::run(
      {.argv = {"nft", "delete", "table", "bridge", "lab"}, .place = {.network = underlay_->fd()}});
}

unsigned long long Lab::dropped() const {
  const std::string text = run_or_throw({.argv = {"nft", "-j", "list", "table", "bridge", "lab"},
                                         .place = {.network = underlay_->fd()}});
  unsigned long long packets = 0;
  const nlohmann::json ruleset = nlohmann::json::parse(text);
  for (const auto& object : ruleset["nftables"]) {
    if (!object.contains("rule")) continue;
    for (const auto& expression : object["rule"]["expr"])
      if (expression.contains("counter"))
        packets += expression["counter"]["packets"].get<unsigned long long>();
  }
  return packets;
}

// In a network namespace that ends with the command.
bool Lab::kernel_has_wireguard() {
  return lab::run({.argv = {"unshare", "--net", "ip", "link", "add", "probe", "type", "wireguard"}})
      .ok();
}

bool Lab::has_netem() {
  return ::access("/sys/module/sch_netem", F_OK) == 0 ||
         lab::run({.argv = {"modprobe", "-q", "sch_netem"}}).ok();
}

void Lab::impair(const Node& node, const std::string& netem) {
  std::vector<std::string> argv = {"tc", "qdisc", "replace", "dev", port_of(node), "root", "netem"};
  std::istringstream words(netem);
  for (std::string word; words >> word;) argv.push_back(word);
  (void)run_or_throw({.argv = argv, .place = {.network = underlay_->fd()}});
}

void Lab::keep() {
  keep_lab(id_);
  kept_ = true;
  for (auto& node : nodes_) node->release();
}

std::string Lab::diagnosis() const {
  std::string text = fmt::format("lab {}\n", id_);
  for (const auto& name : store_->nodes())
    text += fmt::format("---- record {}\n{}", name, store_->read(name));
  for (const auto& node : nodes_) text += node->diagnosis();
  return text;
}

OpenPlace open_place(const std::string& lab_id, const std::string& name) {
  std::string file = name;
  std::replace(file.begin(), file.end(), '/', '@');
  const std::string held = lab_directory(lab_id) + "/ns/";
  if (!fs::exists(held + "net." + file))
    fail("lab {} has no '{}'; `mesh-lab status` lists what there is", lab_id, name);
  OpenPlace place{NetworkNamespace::open(held + "net." + file), nullptr};
  if (fs::exists(held + "mnt." + file))
    place.mounts = std::make_unique<MountNamespace>(MountNamespace::open(held + "mnt." + file));
  return place;
}

std::vector<std::string> node_names(const std::string& lab_id) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(lab_directory(lab_id) + "/ns")) {
    const std::string file = entry.path().filename();
    if (file.starts_with("mnt.")) names.push_back(file.substr(4));
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace mesh::lab
