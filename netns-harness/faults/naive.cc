// The same mesh by hand, with ip and wg, in the order that suggests itself: what the instrument
// shows when the order is wrong.
#include "faults/bench.h"
#include "faults/damage.h"

namespace mesh::lab {
namespace {

// wg0 of the two nodes, made by hand.
struct Hand {
  std::map<std::string, std::string> private_keys;
  std::map<std::string, std::string> public_keys;
};

Hand& hand(Bench& bench) { return *std::static_pointer_cast<Hand>(bench.kept); }

void make_device(Bench& bench, const Node& node) {
  if (!node.run({"ip", "link", "add", "wg0", "type", "wireguard"}).ok())
    must(node, "wireguard-go wg0");
  set_private_key(node, hand(bench).private_keys[node.name()], "wg0");
  must(node, "wg set wg0 listen-port 51820");
  node.network().ip("link set wg0 up\n");
  node.network().set_sysctl("net.ipv4.conf.all.rp_filter", "0");
  for (const char* device : {"eth0", "wg0"})
    node.network().set_sysctl(fmt::format("net.ipv4.conf.{}.rp_filter", device), "0");
}

std::string prefixes_of(const Node& node) {
  return fmt::format("10.{0}.0.0/24,fd00:{0}::/64", node.index());
}

void add_peer(Bench& bench, const Node& node, const Node& peer) {
  must(node, fmt::format("wg set wg0 peer {} endpoint {}:51820 allowed-ips {}",
                         hand(bench).public_keys[peer.name()],
                         peer.address(Family::kIpv4).to_string(), prefixes_of(peer)));
}

void route(const Node& node, const Node& peer) {
  node.network().ip(
      fmt::format("route replace 10.{0}.0.0/24 dev wg0\nroute replace "
                  "fd00:{0}::/64 dev wg0\n",
                  peer.index()));
}

void make_devices(Bench& bench) {
  auto made = std::make_shared<Hand>();
  for (const Node* node : {&bench.a(), &bench.b()}) {
    made->private_keys[node->name()] = fresh_private_key();
    made->public_keys[node->name()] = public_key_of(made->private_keys[node->name()]);
  }
  bench.kept = made;
  for (const Node* node : {&bench.a(), &bench.b()}) make_device(bench, *node);
}

bool passes(Bench& bench) {
  return bench.a().workload().reaches(bench.b().workload().address(Family::kIpv4)) &&
         bench.b().workload().reaches(bench.a().workload().address(Family::kIpv6));
}

void connect(Bench& bench) {
  make_devices(bench);
  add_peer(bench, bench.a(), bench.b());
  add_peer(bench, bench.b(), bench.a());
  route(bench.a(), bench.b());
  route(bench.b(), bench.a());
  if (!wait_until([&] { return passes(bench); }, milliseconds(30'000)))
    fail("the pair that was made by hand does not work");
}

Fault naive(const std::string& name, const std::string& why) {
  Fault fault;
  fault.name = name;
  fault.group = Group::kNaive;
  fault.why = why;
  fault.start = Start::kNoMeshd;
  fault.repaired = passes;
  fault.encrypted = false;
  fault.loss = Cost::kSome;
  fault.leak = Cost::kMeasured;
  fault.why_plaintext = "what has no route into the device takes the one past it";
  fault.deadline = milliseconds(30'000);
  return fault;
}

Fault route_on_key() {
  Fault fault = naive("route as soon as the key is read; the other side reads 1 s later",
                      "sent into a device whose peer does not know the sender yet");
  fault.set_up = make_devices;
  fault.inject = [](Bench& bench) {
    add_peer(bench, bench.a(), bench.b());
    route(bench.a(), bench.b());
    bench.let_pass(200);
    add_peer(bench, bench.b(), bench.a());
    route(bench.b(), bench.a());
  };
  return fault;
}

Fault device_made_again() {
  Fault fault =
      naive("device deleted and made again at a restart",
            "the routes go with the device, so packets are plaintext; then the session is "
            "gone");
  fault.set_up = connect;
  fault.inject = [](Bench& bench) {
    must(bench.b(), "ip link del wg0");
    (void)wait_until([&] { return wireguard_go_of(bench.lab(), bench.b()).empty(); },
                     milliseconds(5000));
    make_device(bench, bench.b());
    add_peer(bench, bench.b(), bench.a());
    route(bench.b(), bench.a());
  };
  return fault;
}

Fault lists_replaced() {
  Fault fault = naive("AllowedIPs written as lists, cleared first, at 50 changes",
                      "between the two writes the device knows no peer for the packet");
  fault.set_up = connect;
  fault.inject = [](Bench& bench) {
    const std::string key = hand(bench).public_keys[bench.a().name()];
    for (int change = 0; change < 50; ++change) {
      must(bench.b(), fmt::format("wg set wg0 peer {} allowed-ips 10.98.0.0/24", key));
      must(bench.b(),
           fmt::format("wg set wg0 peer {} allowed-ips {}", key, prefixes_of(bench.a())));
    }
  };
  return fault;
}

}  // namespace

std::vector<Fault> naive_faults() {
  return {route_on_key(), device_made_again(), lists_replaced()};
}

}  // namespace mesh::lab
