// What operators do on purpose to a node or its daemon. Nothing may be lost, and nothing shown.
#include <filesystem>

#include "faults/bench.h"
#include "faults/damage.h"

namespace mesh::lab {
namespace {

Fault planned(std::string name) {
  Fault fault;
  fault.name = std::move(name);
  fault.group = Group::kPlanned;
  return fault;
}

bool untouched(Bench& bench) { return bench.as_before(bench.b()); }
bool answers(Bench& bench) { return bench.b().running() && bench.both("encrypted"); }
bool adopted(Bench& bench) { return answers(bench) && untouched(bench); }

// A copy of the program, as a package manager would put it beside the running one.
void upgrade(Bench& bench) {
  const std::string next = bench.lab().directory() + "/meshd-next";
  std::filesystem::copy_file(find_binary("meshd"), next,
                             std::filesystem::copy_options::overwrite_existing);
  bench.b().use_program(next);
  bench.b().restart();
}

Fault stop() {
  Fault fault = planned("meshd stopped (SIGTERM)");
  fault.inject = [](Bench& bench) {
    const int code = bench.b().stop();
    if (code != 0) fail("meshd exited with {}", code);
  };
  fault.lasts = 200;
  fault.end = [](Bench&) {};
  fault.repaired = untouched;
  fault.encrypted = false;  // it cannot say
  fault.undo = [](Bench& bench) { bench.b().start(); };
  return fault;
}

Fault start() {
  Fault fault = planned("meshd started on a running data path");
  fault.set_up = [](Bench& bench) { (void)bench.b().stop(); };
  fault.inject = [](Bench& bench) { bench.b().start(); };
  fault.repaired = adopted;
  return fault;
}

Fault restart() {
  Fault fault = planned("meshd restarted");
  fault.inject = [](Bench& bench) { bench.b().restart(); };
  fault.repaired = adopted;
  return fault;
}

Fault kill_and_start() {
  Fault fault = planned("meshd killed (SIGKILL) and started");
  fault.inject = [](Bench& bench) { bench.b().kill(); };
  fault.lasts = 100;
  fault.end = [](Bench& bench) { bench.b().start(); };
  fault.repaired = adopted;
  return fault;
}

Fault binary_upgrade() {
  Fault fault = planned("meshd upgraded (another binary)");
  fault.inject = upgrade;
  fault.repaired = adopted;
  fault.undo = [](Bench& bench) {
    bench.b().use_program("");
    bench.b().restart();
  };
  return fault;
}

Fault drain() {
  Fault fault = planned("meshctl drain");
  fault.inject = [](Bench& bench) { Bench::command(bench.b(), "drain"); };
  fault.repaired = [](Bench& bench) { return bench.both("plaintext"); };
  fault.encrypted = false;
  fault.leak = Cost::kMeasured;
  fault.why_plaintext = "a drained node is reached in plaintext, on purpose";
  fault.undo = [](Bench& bench) { (void)bench.b().meshctl({"resume"}); };
  return fault;
}

Fault resume() {
  Fault fault = planned("meshctl resume");
  fault.set_up = [](Bench& bench) {
    Bench::command(bench.b(), "drain");
    if (!bench.b().wait_for_state("node-a", "plaintext") ||
        !bench.a().wait_for_state("node-b", "plaintext"))
      fail("a drained node does not become plaintext");
  };
  fault.inject = [](Bench& bench) { Bench::command(bench.b(), "resume"); };
  fault.repaired = [](Bench& bench) { return bench.both("encrypted"); };
  fault.leak = Cost::kMeasured;
  fault.why_plaintext = "plaintext until the handshake";
  fault.undo = [](Bench& bench) { (void)bench.b().meshctl({"resume"}); };
  return fault;
}

Fault join() {
  Fault fault = planned("a node joins");
  fault.start = Start::kWithoutB;
  fault.inject = [](Bench& bench) { bench.b().start(); };
  fault.repaired = [](Bench& bench) { return bench.both("encrypted"); };
  fault.leak = Cost::kMeasured;
  fault.why_plaintext = "plaintext until the handshake";
  return fault;
}

Fault leave() {
  Fault fault = planned("a node leaves (mode off, stop, record removed)");
  fault.inject = [](Bench& bench) {
    Bench::reload(bench.b(), "encryption: {mode: 'off'}");
    if (!wait_until([&] { return bench.both("plaintext"); }, milliseconds(20'000)))
      fail("mode off does not make the pair plaintext");
    (void)bench.b().stop();
    bench.lab().store().remove("node-b");
  };
  fault.repaired = [](Bench& bench) {
    const auto sample = bench.watch().latest("node-a");
    if (!sample) return false;
    const auto peer = sample->peers.find("node-b");  // a node that is gone is plaintext or unlisted
    return peer == sample->peers.end() || peer->second.state == "plaintext";
  };
  fault.encrypted = false;
  fault.leak = Cost::kMeasured;
  fault.why_plaintext = "plaintext after it left";
  fault.spoils = true;
  return fault;
}

Fault mode_off() {
  Fault fault = planned("mode off");
  fault.inject = [](Bench& bench) { Bench::reload(bench.b(), "encryption: {mode: 'off'}"); };
  fault.repaired = [](Bench& bench) { return bench.both("plaintext"); };
  fault.encrypted = false;
  fault.leak = Cost::kMeasured;
  fault.why_plaintext = "mode off is plaintext, on purpose";
  fault.undo = [](Bench& bench) { Bench::reload(bench.b(), "encryption: {mode: prefer}"); };
  return fault;
}

Fault mode_back() {
  Fault fault = planned("mode off and prefer again");
  fault.inject = [](Bench& bench) {
    Bench::reload(bench.b(), "encryption: {mode: 'off'}");
    if (!wait_until([&] { return bench.both("plaintext"); }, milliseconds(20'000)))
      fail("mode off does not make the pair plaintext");
    bench.let_pass(100);
    Bench::reload(bench.b(), "encryption: {mode: prefer}");
  };
  fault.repaired = [](Bench& bench) { return bench.both("encrypted"); };
  fault.leak = Cost::kMeasured;
  fault.why_plaintext = "plaintext until the handshake";
  fault.undo = [](Bench& bench) { Bench::reload(bench.b(), "encryption: {mode: prefer}"); };
  return fault;
}

}  // namespace

std::vector<Fault> planned_faults() {
  return {stop(),   start(),    restart(),   kill_and_start(), binary_upgrade(), drain(),
          resume(), mode_off(), mode_back(), join(),           leave()};
}

}  // namespace mesh::lab
