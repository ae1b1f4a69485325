// Somebody changes the routes, rules, nftables or sysctls of the mesh on node-b.
#include "faults/bench.h"
#include "faults/damage.h"
#include "lab/kernel_state.h"

namespace mesh::lab {
namespace {

// All of them the kernel tells of. Where nothing is said of loss, no packet takes what was changed.
const Ceiling kByEvent{.lost = 400, .leaked = 200, .right_after = milliseconds(2000)};

Fault repair(const std::string& name, Fault::Step inject, const std::string& why = "") {
  Fault fault;
  fault.name = name;
  fault.group = Group::kRepair;
  fault.inject = std::move(inject);
  fault.repaired = [](Bench& bench) { return bench.as_before(bench.b()); };
  fault.loss = why.empty() ? Cost::kNone : Cost::kMeasured;
  fault.why = why;
  fault.ceiling = kByEvent;
  fault.counted = true;
  return fault;
}

Fault by_command(const std::string& name, const std::string& words, const std::string& why = "") {
  return repair(
      name, [words](Bench& bench) { must(bench.b(), words); }, why);
}

constexpr const char* kGuarded =
    "the unreachable route below drops what has no route, until the kernel's event is answered";
constexpr const char* kOpened =
    "who may change routes and rules can send past the device: until the kernel's event is "
    "answered";

// What takes the path away under the packets' feet: they go in plaintext until the answer.
Fault opens_the_path(Fault fault, const std::string& why = kOpened) {
  fault.leak = Cost::kMeasured;
  fault.why_plaintext = why;
  return fault;
}

// A rule of somebody else is not meshd's to remove: it wins the path back or says the truth.
Fault rival_rule() {
  Fault fault = repair("a rival rule before ours", [](Bench& bench) {
    must(bench.b(), "ip rule add pref 50 to 10.1.0.0/24 lookup main");
  });
  fault.why_plaintext =
      "a foreign rule stays; the packets it takes are counted, and the peer is not called "
      "encrypted while it stands";
  fault.repaired = [](Bench& bench) {
    if (!bench.shows(bench.b(), bench.a(), "encrypted")) return true;
    const std::uint64_t before = bench.leaked();
    bench.let_pass(40);
    return bench.leaked() == before;
  };
  fault.encrypted = false;
  fault.counted = false;
  fault.leak = Cost::kMeasured;
  fault.ceiling = {.lost = 0, .leaked = 800, .right_after = milliseconds(2000)};
  fault.undo = [](Bench& bench) { (void)bench.b().run({"ip", "rule", "del", "pref", "50"}); };
  return fault;
}

Fault rp_filter() {
  Fault fault = repair(
      "rp_filter tightened (eth0, mesh0)",
      [](Bench& bench) {
        for (const char* device : {"eth0", "mesh0"})
          bench.b().network().set_sysctl(fmt::format("net.ipv4.conf.{}.rp_filter", device), "1");
      },
      "sysctls have no events: found at the next comparison");
  fault.ceiling = {.lost = 400, .leaked = 0, .right_after = milliseconds(12'000)};
  return fault;
}

}  // namespace

std::vector<Fault> routing_faults() {
  return {
      by_command("route deleted", "ip route del 10.1.0.0/24 dev mesh0 table 5182", kGuarded),
      opens_the_path(by_command("route replaced by one past the device",
                                "ip route replace 10.1.0.0/24 via 192.0.2.1 dev eth0 table 5182")),
      opens_the_path(by_command("foreign route added to our table",
                                "ip route add 10.1.0.2/32 via 192.0.2.1 table 5182 proto static")),
      by_command("guard deleted",
                 "ip route del unreachable 10.1.0.0/24 metric 4294967295 table 5182"),
      by_command("route to the peer's host deleted", "ip route del 192.0.2.1 dev mesh0 table 5183"),
      opens_the_path(
          by_command("table of workloads flushed", "ip route flush table 5182", kGuarded)),
      opens_the_path(by_command("rule deleted", "ip -4 rule del pref 99")),
      opens_the_path(by_command("rule deleted (IPv6)", "ip -6 rule del pref 99")),
      by_command("rule for the peers' hosts deleted", "ip -4 rule del pref 101"),
      rival_rule(),
      by_command("nftables table deleted", "nft delete table inet meshd"),
      by_command("nft flush ruleset", "nft flush ruleset"),
      by_command("counting element removed",
                 "nft delete element inet meshd tx_wireguard4 { 10.1.0.0/24 }"),
      opens_the_path(by_command("element removed: own prefix no longer ours",
                                "nft delete element inet meshd own4 { 10.2.0.0/24 }"),
                     "a source that is nobody's keeps the path it had without meshd, until the "
                     "event is answered"),
      rp_filter(),
  };
}

}  // namespace mesh::lab
