// A workload moves to another node and takes its prefix along, as a migrated machine would.
#include "faults/bench.h"

namespace mesh::lab {
namespace {

constexpr const char* kPrefix4 = "10.77.0.0/24";
constexpr const char* kPrefix6 = "fd00:77::/64";

IpAddress address(const char* text) { return *IpAddress::parse(text); }

// The workload that moves: one namespace whose cable is put from node to node.
struct Traveller {
  NetworkNamespace network;
  static NetworkNamespace make(Bench& bench) {
    return NetworkNamespace::create(bench.lab().directory() + "/ns/net.traveller");
  }
};

std::string cidrs(int index, bool with) {
  return fmt::format("node: {{cidrs: [10.{0}.0.0/24, \"fd00:{0}::/64\"{1}]}}", index,
                     with ? fmt::format(", {}, \"{}\"", kPrefix4, kPrefix6) : "");
}

// Both ways into the traveller's network, in every node: the underlay's routes point to its owner.
void route_to(Bench& bench, const Node& owner) {
  for (const auto& node : bench.lab().nodes()) {
    if (node.get() == &owner) continue;
    node->network().ip(
        fmt::format("route replace {} via {} dev eth0\nroute replace {} via {} dev "
                    "eth0\n",
                    kPrefix4, owner.address(Family::kIpv4).to_string(), kPrefix6,
                    owner.address(Family::kIpv6).to_string()));
  }
}

// The gateway that the traveller expects wherever it is: link-local, for an address inside the
// prefix would be a claim to it.
void prepare_host(const Node& node) {
  node.network().ip("addr add 169.254.1.1/32 dev pods\naddr add fe80::1/64 dev pods nodad\n");
}

void attach(const Node& node) {
  node.network().ip(
      "link set traveller master pods\nlink set traveller up\n"
      "route replace 10.77.0.9/32 dev pods\nroute replace fd00:77::9/128 dev pods\n");
}

void set_up(Bench& bench) {
  auto traveller = std::make_shared<Traveller>(Traveller{Traveller::make(bench)});
  bench.kept = traveller;
  for (const Node* node : {&bench.b(), &bench.c()}) prepare_host(*node);
  bench.b().network().ip(fmt::format("link add traveller type veth peer name eth0 netns {}\n",
                                     traveller->network.path()));
  traveller->network.ip(
      "link set eth0 up\naddr add 10.77.0.9/32 dev eth0\naddr add fd00:77::9/128 dev eth0 nodad\n"
      "route add 169.254.1.1 dev eth0\nroute add default via 169.254.1.1 src 10.77.0.9\n"
      "route add default via fe80::1 dev eth0\n");
  attach(bench.b());
  route_to(bench, bench.b());
  Bench::reload(bench.b(), cidrs(2, true));
  const auto here = [&](const char* target) {
    return bench.a().workload().reaches(address(target), milliseconds(500));
  };
  if (!wait_until([&] { return here("10.77.0.9") && here("fd00:77::9"); }, milliseconds(15'000)))
    fail("the workload that is to move is not reached");
  const auto routed = [&] {
    return !bench.a().must({"ip", "route", "show", "table", "5182", kPrefix4}).empty() &&
           !bench.c().must({"ip", "route", "show", "table", "5182", kPrefix4}).empty();
  };
  if (!wait_until(routed, milliseconds(15'000))) fail("the prefix is not in the mesh");
  std::vector<std::unique_ptr<Pinger>> pingers;
  const Workload& from = bench.a().workload();
  pingers.push_back(std::make_unique<Pinger>(from.network(), from.address(Family::kIpv4),
                                             traveller->network, address("10.77.0.9")));
  pingers.push_back(std::make_unique<Pinger>(from.network(), from.address(Family::kIpv6),
                                             traveller->network, address("fd00:77::9")));
  bench.measure_instead(std::move(pingers));
}

void move_cable(Bench& bench) {
  const auto traveller = std::static_pointer_cast<Traveller>(bench.kept);
  bench.b().network().ip(
      fmt::format("route del 10.77.0.9/32 dev pods\nroute del fd00:77::9/128 dev pods\nlink set "
                  "traveller netns {}\n",
                  bench.c().network().path()));
  attach(bench.c());
  route_to(bench, bench.c());
  // What a hypervisor announces with gratuitous ARP.
  traveller->network.ip("neigh flush dev eth0\n");
}

bool encrypted_at_c(Bench& bench) {
  const auto allowed = [&](const Node& node) {
    const std::string key =
        bench.lab().store().annotation("node-c", "meshd.io/wireguard-public-key");
    const auto device = node.wireguard();
    if (!device) return false;
    for (const auto& peer : device->peers)
      for (const auto& prefix : peer.allowed_ips)
        if (prefix == kPrefix4) return peer.public_key == key;
    return false;
  };
  return allowed(bench.a()) && allowed(bench.b());
}

Fault move(const std::string& name, bool announced_first) {
  Fault fault;
  fault.name = name;
  fault.group = Group::kMove;
  fault.set_up = set_up;
  // As an orchestrator does it: the new node knows the prefix before the workload runs there.
  fault.inject = [announced_first](Bench& bench) {
    const auto withdraw = [&] { Bench::reload(bench.b(), cidrs(2, false)); };
    if (!announced_first) withdraw();
    Bench::reload(bench.c(), cidrs(3, true));
    move_cable(bench);
    if (announced_first) withdraw();
  };
  fault.repaired = encrypted_at_c;
  fault.loss = Cost::kMeasured;
  fault.ceiling = {.lost = 1000, .right_after = milliseconds(3000)};
  fault.why =
      "what is under way goes to where it was, where it is dropped and not forwarded in plaintext, "
      "and the new owner's packets are ahead of the news: "
      "their source is not yet allowed to its key";
  fault.spoils = true;
  return fault;
}

}  // namespace

std::vector<Fault> move_faults() {
  return {move("a prefix moves: the old owner withdraws it first", false),
          move("a prefix moves: the new owner announces it first", true)};
}

}  // namespace mesh::lab
