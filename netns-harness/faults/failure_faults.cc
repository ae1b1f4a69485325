// Hosts, links and paths fail.
#include <csignal>
#include <filesystem>

#include "faults/bench.h"
#include "faults/damage.h"

namespace mesh::lab {
namespace {

constexpr unsigned kSecond = 200;  // probes

Fault failure(const std::string& name, const std::string& why) {
  Fault fault;
  fault.name = name;
  fault.group = Group::kFailure;
  fault.repaired = [](Bench& bench) { return bench.as_before(bench.b()); };
  fault.loss = why.empty() ? Cost::kNone : Cost::kMeasured;
  fault.why = why;
  // The way back: WireGuard tries a handshake every five seconds.
  fault.ceiling = {.lost = 8000, .leaked = 0, .right_after = milliseconds(12'000)};
  fault.deadline = milliseconds(30'000);
  return fault;
}

constexpr const char* kBroken = "the path is broken: what is sent meanwhile is lost, not shown";

Fault cable(const std::string& name, unsigned probes) {
  Fault fault = failure(name, kBroken);
  fault.inject = [](Bench& bench) { bench.lab().pull_cable(bench.b()); };
  fault.lasts = probes;
  fault.end = [](Bench& bench) { bench.lab().plug_cable(bench.b()); };
  // node-a's only socket waits now and then, full of packets for a neighbour that does not answer.
  fault.bystander = Cost::kMeasured;
  return fault;
}

Fault address_away() {
  Fault fault =
      failure("underlay address removed for 3 s and put back",
              "WireGuard sends from the address it has; the peer answers to the one that is "
              "gone");
  fault.inject = [](Bench& bench) { must(bench.b(), "ip addr del 192.0.2.2/24 dev eth0"); };
  fault.lasts = 3 * kSecond;
  fault.end = [](Bench& bench) {
    must(bench.b(), "ip addr add 192.0.2.2/24 dev eth0");
    // The static routes of the underlay went with it.
    for (const int other : {1, 3})
      must(bench.b(),
           fmt::format("ip route replace 10.{0}.0.0/24 via 192.0.2.{0} dev eth0", other));
  };
  return fault;
}

// All that a kernel holds of the mesh is gone, and the host is away for two seconds.
Fault reboot(const std::string& name, bool new_key) {
  Fault fault =
      failure(name,
              "the host is away for two seconds; then the peer must learn that the session "
              "is gone");
  fault.inject = [new_key](Bench& bench) {
    bench.lab().pull_cable(bench.b());
    bench.b().kill();
    forget_everything(bench.lab(), bench.b());
    if (new_key) std::filesystem::remove(bench.b().directory() + "/keys/private.key");
  };
  fault.lasts = 2 * kSecond;
  fault.end = [](Bench& bench) {
    bench.lab().plug_cable(bench.b());
    bench.b().start();
  };
  fault.leak = Cost::kMeasured;
  fault.why_plaintext =
      "node-b's own packets are plaintext until its meshd runs: the link is up first";
  fault.ceiling = {.lost = 8000, .leaked = 1000, .right_after = milliseconds(15'000)};
  if (new_key) {
    fault.repaired = [](Bench& bench) { return bench.both("encrypted"); };
    fault.spoils = true;
  }
  return fault;
}

Fault dropped(const std::string& name, bool both_ways, unsigned probes) {
  Fault fault = failure(name, kBroken);
  fault.inject = [both_ways](Bench& bench) {
    drop_udp(bench.a(), bench.b());
    if (both_ways) drop_udp(bench.b(), bench.a());
  };
  fault.lasts = probes;
  const auto end = [](Bench& bench) {
    let_all_in(bench.a());
    let_all_in(bench.b());
  };
  fault.end = end;
  fault.undo = end;
  return fault;
}

// The operator prefers plaintext to silence, after a while.
Fault fell_back() {
  Fault fault = dropped("UDP dropped both ways for 60 s, fallbackAfter 30s", true, 60 * kSecond);
  const auto fall_back_after = [](Bench& bench, const char* time) {
    for (Node* node : {&bench.a(), &bench.b()})
      Bench::reload(*node, fmt::format("encryption: {{fallbackAfter: {}}}", time));
  };
  fault.set_up = [=](Bench& bench) { fall_back_after(bench, "30s"); };
  fault.undo = [=, let_in = fault.undo](Bench& bench) {
    let_in(bench);
    fall_back_after(bench, "0s");
  };
  fault.leak = Cost::kMeasured;
  fault.why_plaintext =
      "sent in plaintext after 30 s without an answer, as configured, until the "
      "next handshake";
  fault.repaired = [repaired = fault.repaired](Bench& bench) {
    return bench.leaked() > kSecond && repaired(bench);  // it did fall back
  };
  fault.deadline = milliseconds(90'000);
  fault.ceiling = {.lost = 2000, .leaked = 60'000, .right_after = milliseconds(80'000)};
  return fault;
}

Fault device_lost_without_meshd() {
  Fault fault = failure("device deleted while meshd is dead, then started",
                        "nobody repairs until meshd is started; the guards drop meanwhile");
  fault.inject = [](Bench& bench) {
    bench.b().kill();
    must(bench.b(), "ip link del mesh0");
  };
  fault.lasts = kSecond;
  fault.end = [](Bench& bench) { bench.b().start(); };
  return fault;
}

Fault all_daemons_dead() {
  Fault fault = failure("every meshd killed for 5 s", "");
  fault.inject = [](Bench& bench) {
    for (auto& node : bench.lab().nodes()) node->kill();
  };
  fault.lasts = 5 * kSecond;
  fault.end = [](Bench& bench) { bench.lab().start_all(); };
  return fault;
}

Fault frozen() {
  Fault fault = failure("meshd stopped by a debugger (SIGSTOP) for 5 s", "");
  fault.inject = [](Bench& bench) { bench.b().process().signal(SIGSTOP); };
  fault.lasts = 5 * kSecond;
  const auto end = [](Bench& bench) { bench.b().process().signal(SIGCONT); };
  fault.end = end;
  fault.undo = end;
  return fault;
}

// Every node's clock, as a time server steps it: what is measured by the wall clock (the age of a
// handshake, WireGuard's time stamps) must not be taken for time that passed.
Fault wall_clock() {
  static constexpr std::chrono::seconds kStep(20);
  Fault fault = failure("wall clock set back by 20 s, and 2 s later forward again", "");
  fault.inject = [](Bench&) { step_wall_clock(-kStep); };
  fault.lasts = 2 * kSecond;
  fault.end = [](Bench&) { step_wall_clock(kStep); };
  fault.impossible = [](Bench&) {
    return owns_machine() ? std::string() : std::string(kClockIsOthers);
  };
  return fault;
}

Fault impaired(const std::string& netem, const std::string& why) {
  Fault fault = failure("path with " + netem, why);
  fault.inject = [netem](Bench& bench) { bench.lab().impair(bench.b(), netem); };
  fault.lasts = 5 * kSecond;
  const auto end = [](Bench& bench) {
    (void)run({.argv = {"tc", "qdisc", "del", "dev", Lab::port_of(bench.b()), "root"},
               .place = {.network = bench.lab().underlay().fd()}});
  };
  fault.end = end;
  fault.undo = end;
  fault.impossible = [](Bench&) {
    return Lab::has_netem() ? std::string() : std::string("this kernel has no netem");
  };
  return fault;
}

}  // namespace

std::vector<Fault> failure_faults() {
  return {
      cable("underlay link down for 10 s", 10 * kSecond),
      address_away(),
      reboot("host rebooted, same key", false),
      reboot("host rebooted, new key", true),
      dropped("UDP dropped both ways for 40 s", true, 40 * kSecond),
      dropped("UDP dropped one way (from node-b) for 40 s", false, 40 * kSecond),
      fell_back(),
      device_lost_without_meshd(),
      all_daemons_dead(),
      frozen(),
      wall_clock(),
      impaired("loss 5%", "netem drops one packet in twenty that node-b should receive"),
      impaired("delay 20ms 10ms reorder 25%",
               "packets sent before the delay was taken off arrive "
               "behind newer ones: WireGuard's replay window drops what is far too late"),
      impaired("delay 200ms", "what is under way when the delay ends"),
  };
}

}  // namespace mesh::lab
