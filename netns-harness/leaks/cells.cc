// What is done to a pair that must encrypt.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "faults/damage.h"
#include "lab/error.h"
#include "leaks/leaks.h"

namespace mesh::lab {
namespace {

using Act = std::function<void(Lab&)>;

Node& b(Lab& lab) { return lab[1]; }

// Commands on node-b whose failure is no matter: with encryption off there is less to break.
Act commands(std::vector<std::string> lines) {
  return [lines](Lab& lab) {
    for (const std::string& line : lines) (void)b(lab).run(split_words(line));
  };
}

Act in_turn(std::vector<Act> acts) {
  return [acts](Lab& lab) {
    for (const Act& act : acts) act(lab);
  };
}

void stop(Lab& lab) { (void)b(lab).stop(); }
void kill(Lab& lab) { b(lab).kill(); }

void move_device_away(Lab& lab) {
  (void)run({.argv = {"ip", "link", "set", "mesh0", "netns", lab.underlay().path()},
             .place = {.network = b(lab).network().fd()}});
}

const std::vector<std::string> kFlushTables = {
    "ip route flush table 5182",    "ip route flush table 5183",    "ip route flush table 5184",
    "ip -6 route flush table 5182", "ip -6 route flush table 5183", "ip -6 route flush table 5184"};
const std::vector<std::string> kFlushRules = {"ip rule flush protocol 109",
                                              "ip -6 rule flush protocol 109"};

std::string aside(const Lab& lab) { return lab.store().path() + ".aside"; }
void take_store_away(Lab& lab) { std::filesystem::rename(lab.store().path(), aside(lab)); }

void empty_store(Lab& lab) {
  for (const std::string& node : lab.store().nodes()) lab.store().remove(node);
}

// As of before the nodes had keys.
void restore_old_backup(Lab& lab) {
  for (const std::string& node : lab.store().nodes())
    lab.store().set_annotation(node, "meshd.io/wireguard-public-key", "");
}

void claim_its_key(Lab& lab) {
  lab.store().write(
      "mallory",
      fmt::format("name: mallory\naddresses: [\"192.0.2.66\"]\ncidrs: [\"10.66.0.0/24\"]\n"
                  "annotations:\n  meshd.io/wireguard-public-key: \"{}\"\n",
                  published_key(lab, b(lab))));
}

void forget_keys(Lab& lab) { std::filesystem::remove_all(b(lab).directory() + "/keys"); }

std::uint64_t received_of_workloads(const Node& node) {
  return nlohmann::json::parse(node.must({"ip", "-j", "-s", "link", "show", "dev", "pods"}))
      .at(0)["stats64"]["rx"]["packets"]
      .get<std::uint64_t>();
}

// The network of a host comes up after the guard, and goes down before anything is forgotten.
void reboot(Lab& lab, const Act& meanwhile, bool guard) {
  Node& node = b(lab);
  lab.pull_cable(node);
  node.kill();
  forget_everything(lab, node);
  meanwhile(lab);
  if (guard) (void)node.run({find_binary("meshd"), "--guard", "--config", node.config_path()});
  if (!guard) node.start();
  if (!guard) (void)wait_until([&] { return node.try_status().has_value(); }, milliseconds(10'000));
  // What waits for its neighbour's address was let out before the guard stood; no host that was
  // started again has any.
  for (const char* family : {"-4", "-6"})
    (void)node.run({"ip", family, "neigh", "flush", "dev", "eth0", "nud", "all"});
  lab.plug_cable(node);
  if (!guard) return;
  // Long enough alone under traffic: 50 rounds of it, in both families.
  const std::uint64_t before = received_of_workloads(node);
  if (!wait_until([&] { return received_of_workloads(node) >= before + 100; },
                  milliseconds(30'000)))
    fail("{} hears nothing of its workloads", node.name());
  node.start();
}

Act rebooted(Act meanwhile, bool guard) {
  return [meanwhile, guard](Lab& lab) { reboot(lab, meanwhile, guard); };
}

void write_policy(Lab& lab, const std::string& name, int order, const std::string& action) {
  const std::string folder = lab.store().path() + "/policies";
  std::filesystem::create_directories(folder);
  write_file(folder + "/." + name,
             fmt::format("apiVersion: meshd.io/v1\nkind: EncryptionPolicy\nmetadata: {{name: {}}}\n"
                         "spec: {{order: {}, action: {}}}\n",
                         name, order, action));
  std::filesystem::rename(folder + "/." + name, folder + "/" + name + ".yaml");
}

// Under which the pair must encrypt all the time, and by another policy each time.
void change_policies(Lab& lab) {
  const auto decided_by = [&](const std::string& policy) {
    if (!wait_until(
            [&] {
              return lab[0].peer("node-b").value("policy", "") == policy &&
                     lab[1].peer("node-a").value("policy", "") == policy;
            },
            milliseconds(10'000)))
      fail("the policy '{}' does not come to decide", policy);
  };
  write_policy(lab, "first", 10, "Require");
  decided_by("first");
  write_policy(lab, "zeroth", 5, "Require");
  decided_by("zeroth");
  std::filesystem::remove(lab.store().path() + "/policies/zeroth.yaml");
  decided_by("first");
  write_policy(lab, "first", 10, "Prefer");  // of a pair that is encrypted: it stays so
  if (!wait_until([&] { return lab[1].peer("node-a").value("mode", "") == "prefer"; },
                  milliseconds(10'000)))
    fail("the policy does not change");
  std::filesystem::remove(lab.store().path() + "/policies/first.yaml");
  decided_by("");
}

// Each makes the text of nftables another one: what stands on nftables alone must not be without
// it.
void reload_other_rules(Lab& lab) {
  for (const char* ports : {"['tcp:22', 'udp:5000']", "['tcp:22']", "['udp:6000-6001']"}) {
    b(lab).configure(fmt::format("encryption: {{failsafePorts: {}}}", ports));
    (void)b(lab).meshctl({"reload"});
  }
}

Act changed_to(const std::string& mode) {
  return [mode](Lab& lab) {
    b(lab).configure(fmt::format("encryption: {{mode: {}}}", mode));
    (void)b(lab).meshctl({"reload"});
  };
}

}  // namespace

std::vector<LeakCell> leak_cells() {
  const Act nothing = [](Lab&) {};
  const Act restart_with_new_key = in_turn({kill, forget_keys, [](Lab& lab) { b(lab).start(); }});
  return {
      {"nothing happens", nothing},
      {"device deleted", commands({"ip link del mesh0"})},
      {"device down", commands({"ip link set mesh0 down"})},
      {"device moved to another namespace", move_device_away},
      {"rules deleted", commands(kFlushRules)},
      {"tables flushed", commands(kFlushTables)},
      {"a rival rule before ours",
       commands({"ip rule add pref 50 lookup main", "ip -6 rule add pref 50 lookup main"})},
      {"nftables table deleted", commands({"nft delete table inet meshd"}), "", false},
      {"nft flush ruleset", commands({"nft flush ruleset"}), "", false},
      {"nftables table deleted, sockets bound to a device",
       commands({"nft delete table inet meshd"}),
       "for a socket bound to a device nftables alone stands: until the kernel's event is "
       "answered"},
      {"rules and nftables table deleted together",
       in_turn({commands(kFlushRules), commands({"nft delete table inet meshd"})}),
       "both guards at once: until the kernel's events are answered", false},
      {"meshd stopped", stop},
      {"meshd killed", kill},
      {"meshd killed during a pass", in_turn({commands({"ip link del mesh0"}), kill})},
      {"meshd stopped, then device deleted", in_turn({stop, commands({"ip link del mesh0"})})},
      {"meshd stopped, then rules deleted", in_turn({stop, commands(kFlushRules)})},
      {"meshd stopped, then tables flushed", in_turn({stop, commands(kFlushTables)})},
      {"meshd stopped, then nftables table deleted",
       in_turn({stop, commands({"nft delete table inet meshd"})}), "", false},
      {"store out", take_store_away},
      {"store emptied", empty_store},
      {"store restored to a backup without keys", restore_old_backup},
      {"peer's record removed while it is stopped",
       in_turn({stop, [](Lab& lab) { lab.store().remove("node-b"); }})},
      {"peer's record removed, then the other restarted",
       in_turn({stop,
                [](Lab& lab) {
                  lab.store().remove("node-b");
                  (void)wait_until([&] { return lab[0].reason_of("node-b") == "no-record"; },
                                   milliseconds(5000));
                  wait_until_written_down(lab[0]);
                  lab[0].kill();
                  lab[0].start();
                }})},
      {"peer withdraws its key (drain)",
       [](Lab& lab) {
         (void)b(lab).meshctl({"drain", "--no-wait"});
       }},
      {"peer's key replaced", restart_with_new_key},
      {"peer's key claimed by another", claim_its_key},
      {"peer rebooted", rebooted(nothing, true)},
      {"peer rebooted with another key", rebooted(forget_keys, true)},
      {"boot before the store answers, with the guard", rebooted(take_store_away, true)},
      {"boot before the store answers, without the guard", rebooted(take_store_away, false)},
      {"the peer's mode changed to prefer", changed_to("prefer")},
      {"policies changed", change_policies, "", false},
      {"configuration reloaded, with other rules of nftables", reload_other_rules},
  };
}

}  // namespace mesh::lab
