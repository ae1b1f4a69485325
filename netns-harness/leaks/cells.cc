// What is done to a pair that must encrypt.
#include <filesystem>
#include <thread>

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
  lab.plug_cable(node);
  if (!guard) return;
  std::this_thread::sleep_for(milliseconds(500) * patience());
  node.start();
}

Act rebooted(Act meanwhile, bool guard) {
  return [meanwhile, guard](Lab& lab) { reboot(lab, meanwhile, guard); };
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
                  std::this_thread::sleep_for(milliseconds(1500) * patience());  // written down
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
  };
}

}  // namespace mesh::lab
