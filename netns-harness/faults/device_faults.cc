// Somebody changes the WireGuard device of node-b, its peers or its addresses.
#include <csignal>

#include "faults/bench.h"
#include "faults/damage.h"

namespace mesh::lab {
namespace {

// The kernel tells of it.
const Ceiling kByEvent{.lost = 400, .leaked = 0, .right_after = milliseconds(2000)};
// Found at the next sample of the device, once a second where all is settled.
const Ceiling kBySample{.lost = 1600, .leaked = 0, .right_after = milliseconds(4000)};
// The same, and then a handshake, of which one packet may be lost.
const Ceiling kNewSession{.lost = 2400, .leaked = 0, .right_after = milliseconds(6000)};

bool as_before(Bench& bench) { return bench.as_before(bench.b()); }

Fault repair(const std::string& name, Fault::Step inject, const std::string& why,
             const Ceiling& ceiling) {
  Fault fault;
  fault.name = name;
  fault.group = Group::kRepair;
  fault.inject = std::move(inject);
  fault.repaired = as_before;
  fault.loss = Cost::kMeasured;
  fault.why = why;
  fault.ceiling = ceiling;
  fault.counted = true;
  return fault;
}

Fault by_command(const std::string& name, const std::string& words, const std::string& why,
                 const Ceiling& ceiling) {
  return repair(
      name, [words](Bench& bench) { must(bench.b(), words); }, why, ceiling);
}

std::string key_of_a(Bench& bench) { return published_key(bench.lab(), bench.a()); }

void set_peer(Bench& bench, const std::string& key, const std::string& more) {
  must(bench.b(), fmt::format("wg set mesh0 peer {} {}", key, more));
}

// An error in its status, a peer that does not answer, or not ready. It must say so: no answer is
// none.
bool says_it_is_ill(Bench& bench) {
  const auto status = fetch_status(bench.b().network());
  if (!status) return false;
  return !status->value("error", "").empty() || bench.shows(bench.b(), bench.a(), "degraded") ||
         !is_ready(bench.b().network());
}

constexpr const char* kNoSession =
    "a device that is made again has no session: nothing passes until the next handshake, and what "
    "is sent is dropped, not shown";
constexpr const char* kSampled =
    "WireGuard has no events: what is changed in the device is found at the next sample";
constexpr const char* kUntilEvent = "until the kernel's event is answered";

Fault renamed() {
  Fault fault = repair(
      "device renamed", [](Bench& bench) { rename_device(bench.b(), "mesh0", "old0"); }, kNoSession,
      kNewSession);
  fault.undo = [](Bench& bench) { (void)bench.b().run({"ip", "link", "del", "old0"}); };
  return fault;
}

Fault wireguard_go_killed() {
  Fault fault = repair(
      "wireguard-go killed", [](Bench& bench) { kill_wireguard_go(bench.lab(), bench.b()); },
      kNoSession, kNewSession);
  fault.impossible = [](Bench& bench) {
    return bench.on_kernel() ? std::string("the kernel has no such process") : std::string();
  };
  return fault;
}

// It does not answer, so neither what it holds nor what it does can be known: node-b must not call
// itself well meanwhile, and what it cannot encrypt must not go out otherwise.
Fault wireguard_go_frozen() {
  const auto signal = [](Bench& bench, int number) {
    for (const int pid : wireguard_go_of(bench.lab(), bench.b())) (void)::kill(pid, number);
  };
  Fault fault;
  fault.name = "wireguard-go frozen (SIGSTOP) for 20 s";
  fault.group = Group::kRepair;
  fault.inject = [signal](Bench& bench) {
    signal(bench, SIGSTOP);
    if (!wait_until([&] { return says_it_is_ill(bench); }, milliseconds(15'000)))
      fail("wireguard-go does not answer, and node-b calls itself well");
  };
  fault.lasts = 20 * 200;
  fault.end = [signal](Bench& bench) { signal(bench, SIGCONT); };
  fault.undo = fault.end;
  fault.repaired = [](Bench& bench) { return as_before(bench) && !says_it_is_ill(bench); };
  fault.loss = Cost::kMeasured;
  fault.why = "who is to encrypt does not run: what is sent meanwhile is lost, not shown";
  // Looking for the illness takes time, too, in which packets are lost.
  fault.ceiling = {.lost = 4 * 15 * 200 + 2400, .leaked = 0, .right_after = milliseconds(10'000)};
  fault.deadline = milliseconds(30'000);
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
      "until the peer's next packet shows where it is", kBySample);
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
      by_command("device deleted", "ip link del mesh0", kNoSession, kNewSession),
      renamed(),
      by_command("device set down", "ip link set mesh0 down", kUntilEvent, kByEvent),
      repair(
          "private key changed",
          [](Bench& bench) { set_private_key(bench.b(), fresh_private_key()); },
          "a device with another key is another one: its sessions are gone, and it is found at "
          "the next sample",
          kNewSession),
      by_command("listen port changed", "wg set mesh0 listen-port 51999", kSampled, kBySample),
      by_command("fwmark changed", "wg set mesh0 fwmark 0x4000", kSampled, kBySample),
      by_command("address removed", "ip addr del 10.2.0.1/32 dev mesh0", kUntilEvent, kByEvent),
      by_command("MTU of the device changed", "ip link set mesh0 mtu 1300", kUntilEvent, kByEvent),
      repair(
          "peer removed", [](Bench& bench) { set_peer(bench, key_of_a(bench), "remove"); },
          "its session is gone, which is found at the next sample", kNewSession),
      repair(
          "foreign peer added",
          [](Bench& bench) { set_peer(bench, fresh_public_key(), "allowed-ips 10.99.0.0/24"); },
          kSampled, kBySample),
      repair(
          "AllowedIPs moved to another key",
          [](Bench& bench) {
            set_peer(bench, fresh_public_key(), "allowed-ips 10.1.0.0/24,fd00:1::/64");
          },
          kSampled, kBySample),
      repair(
          "AllowedIPs replaced",
          [](Bench& bench) { set_peer(bench, key_of_a(bench), "allowed-ips 10.98.0.0/24"); },
          kSampled, kBySample),
      endpoint_changed(),
      wireguard_go_frozen(),
      wireguard_go_killed(),
  };
}

}  // namespace mesh::lab
