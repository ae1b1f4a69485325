// A configuration that is read again: every key that may change while the mesh runs.
#include "faults/bench.h"
#include "faults/damage.h"

namespace mesh::lab {
namespace {

using Effect = std::function<bool(Bench&)>;

// node-b reads a configuration with `there` merged in; `back` is what it was.
Fault reload(const std::string& what, const std::string& there, const std::string& back,
             Effect effect) {
  Fault fault;
  fault.name = "reload: " + what;
  fault.group = Group::kPlanned;
  fault.inject = [there](Bench& bench) { Bench::reload(bench.b(), there); };
  fault.repaired = std::move(effect);
  fault.undo = [back](Bench& bench) { Bench::reload(bench.b(), back); };
  return fault;
}

bool nothing_else(Bench& bench) { return bench.as_before(bench.b()); }

bool listens_on(Bench& bench, int port) {
  const auto own = bench.b().wireguard();
  const auto seen = bench.a().wireguard();
  if (!own || own->listen_port != port || !seen) return false;
  const std::string key = published_key(bench.lab(), bench.b());
  for (const auto& peer : seen->peers)
    if (peer.public_key == key) return peer.endpoint.ends_with(fmt::format(":{}", port));
  return false;
}

bool rule_says(Bench& bench, const std::string& what) {
  return bench.b().must({"ip", "-4", "rule"}).find(what) != std::string::npos &&
         bench.b().must({"ip", "-6", "rule"}).find(what) != std::string::npos;
}

std::string cidrs(const std::string& more) {
  return "node: {cidrs: [10.2.0.0/24, \"fd00:2::/64\"" + more + "]}";
}

bool routed_at_a(Bench& bench, const std::string& prefix) {
  return !bench.a().must({"ip", "route", "show", "table", "5182", prefix}).empty();
}

Fault cidr_removed() {
  Fault fault = reload("CIDR removed", cidrs(""), cidrs(""),
                       [](Bench& bench) { return !routed_at_a(bench, "10.88.0.0/24"); });
  fault.set_up = [](Bench& bench) {
    Bench::reload(bench.b(), cidrs(", 10.88.0.0/24"));
    if (!wait_until([&] { return routed_at_a(bench, "10.88.0.0/24"); }, milliseconds(10'000)))
      fail("an added CIDR is not routed");
  };
  return fault;
}

Fault record_change() {
  Fault fault = reload(
      "own address withdrawn from the record (IPv6)", "node: {addresses: [192.0.2.2]}",
      "node: {addresses: [192.0.2.2, \"2001:db8::2\"]}", [](Bench& bench) {
        const auto seen = bench.a().wireguard();
        return seen && bench.lab().store().read("node-b").find("2001:db8") == std::string::npos &&
               bench.a()
                       .must({"ip", "-6", "route", "show", "table", "5183"})
                       .find("2001:db8::2 ") == std::string::npos;
      });
  fault.name = "record change: an underlay address withdrawn";
  return fault;
}

}  // namespace

std::vector<Fault> reload_faults() {
  return {
      reload("log level", "log: {level: info}", "log: {level: debug}", nothing_else),
      reload("keepalive", "wireguard: {persistentKeepalive: 7s}",
             "wireguard: {persistentKeepalive: 0s}",
             [](Bench& bench) {
               return bench.b().must({"wg", "show", "mesh0", "persistent-keepalive"}).find("\t7") !=
                      std::string::npos;
             }),
      reload("labels", "node: {labels: {role: db}}", "node: {labels: {}}",
             [](Bench& bench) {
               return bench.lab().store().read("node-b").find("role") != std::string::npos;
             }),
      reload("CIDR added", cidrs(", 10.88.0.0/24"), cidrs(""),
             [](Bench& bench) { return routed_at_a(bench, "10.88.0.0/24"); }),
      cidr_removed(),
      reload("listen port", "wireguard: {listenPort: 51999}", "wireguard: {listenPort: 51820}",
             [](Bench& bench) { return listens_on(bench, 51999); }),
      reload("MTU", "wireguard: {mtu: 1380}", "wireguard: {mtu: 0}",
             [](Bench& bench) {
               return bench.b().must({"ip", "link", "show", "mesh0"}).find("mtu 1380 ") !=
                      std::string::npos;
             }),
      reload("fwmark", "wireguard: {fwmark: 0x4000}", "wireguard: {fwmark: 0x2000}",
             [](Bench& bench) {
               const auto device = bench.b().wireguard();
               return device && device->fwmark == 0x4000 && rule_says(bench, "0x4000/0x4000");
             }),
      reload("routing table", "wireguard: {routingTable: 5282}", "wireguard: {routingTable: 5182}",
             [](Bench& bench) { return rule_says(bench, "lookup 5282"); }),
      reload("rule priority", "wireguard: {rulePriority: 199}", "wireguard: {rulePriority: 99}",
             [](Bench& bench) { return rule_says(bench, "199:") && !rule_says(bench, "\n99:\t"); }),
      record_change(),
  };
}

}  // namespace mesh::lab
