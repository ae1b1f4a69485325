// Somebody changes the WireGuard device of node-b, its peers or its addresses.
#include "faults/bench.h"
#include "faults/damage.h"

namespace mesh::lab {
namespace {

bool as_before(Bench& bench) {
  if (bench.as_before(bench.b())) return true;
  return false;
}

Fault repair(const std::string& name, Fault::Step inject, const std::string& why) {
  Fault fault;
  fault.name = name;
  fault.group = Group::kRepair;
  fault.inject = std::move(inject);
  fault.repaired = as_before;
  fault.loss = Cost::kMeasured;
  fault.why = why;
  fault.counted = true;
  return fault;
}

Fault by_command(const std::string& name, const std::string& words, const std::string& why) {
  return repair(
      name, [words](Bench& bench) { must(bench.b(), words); }, why);
}

std::string key_of_a(Bench& bench) { return published_key(bench.lab(), bench.a()); }

void set_peer(Bench& bench, const std::string& key, const std::string& more) {
  must(bench.b(), fmt::format("wg set mesh0 peer {} {}", key, more));
}

constexpr const char* kNoSession =
    "a device that is made again has no session: nothing passes until the next handshake, and what "
    "is sent is dropped, not shown";
constexpr const char* kSampled =
    "WireGuard has no events: what is changed in the device is found at the next sample";
constexpr const char* kUntilEvent = "until the kernel's event is answered";

Fault renamed() {
  Fault fault = repair(
      "device renamed", [](Bench& bench) { rename_device(bench.b(), "mesh0", "old0"); },
      kNoSession);
  fault.undo = [](Bench& bench) { (void)bench.b().run({"ip", "link", "del", "old0"}); };
  return fault;
}

Fault wireguard_go_killed() {
  Fault fault = repair(
      "wireguard-go killed", [](Bench& bench) { kill_wireguard_go(bench.lab(), bench.b()); },
      kNoSession);
  fault.impossible = [](Bench& bench) {
    return bench.on_kernel() ? std::string("the kernel has no such process") : std::string();
  };
  return fault;
}

// A packet of the peer brings its true endpoint back; only when none comes meshd must act.
Fault endpoint_changed() {
  Fault fault = repair(
      "endpoint of the peer changed",
      [](Bench& bench) { set_peer(bench, key_of_a(bench), "endpoint 192.0.2.99:51820"); },
      "until the peer's next packet shows where it is");
  fault.repaired = [](Bench& bench) {
    const auto device = bench.b().wireguard();
    const std::string key = key_of_a(bench);
    if (!device) return false;
    for (const auto& peer : device->peers)
      if (peer.public_key == key) return peer.endpoint.find("192.0.2.99") == std::string::npos;
    return false;
  };
  fault.counted = false;  // WireGuard's roaming may be faster
  return fault;
}

}  // namespace

std::vector<Fault> device_faults() {
  return {
      by_command("device deleted", "ip link del mesh0", kNoSession),
      renamed(),
      by_command("device set down", "ip link set mesh0 down", kUntilEvent),
      repair(
          "private key changed",
          [](Bench& bench) { set_private_key(bench.b(), fresh_private_key()); },
          "a device with another key is another one: its sessions are gone, and it is found at "
          "the next sample"),
      by_command("listen port changed", "wg set mesh0 listen-port 51999", kSampled),
      by_command("fwmark changed", "wg set mesh0 fwmark 0x4000", kSampled),
      by_command("address removed", "ip addr del 10.2.0.1/32 dev mesh0", kUntilEvent),
      by_command("MTU of the device changed", "ip link set mesh0 mtu 1300", kUntilEvent),
      repair(
          "peer removed", [](Bench& bench) { set_peer(bench, key_of_a(bench), "remove"); },
          "its session is gone, which is found at the next sample"),
      repair(
          "foreign peer added",
          [](Bench& bench) { set_peer(bench, fresh_public_key(), "allowed-ips 10.99.0.0/24"); },
          kSampled),
      repair(
          "AllowedIPs moved to another key",
          [](Bench& bench) {
            set_peer(bench, fresh_public_key(), "allowed-ips 10.1.0.0/24,fd00:1::/64");
          },
          kSampled),
      repair(
          "AllowedIPs replaced",
          [](Bench& bench) { set_peer(bench, key_of_a(bench), "allowed-ips 10.98.0.0/24"); },
          kSampled),
      endpoint_changed(),
      wireguard_go_killed(),
  };
}

}  // namespace mesh::lab
