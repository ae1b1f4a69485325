#include "chaos/acts.h"

#include <csignal>
#include <cstdio>

#include "faults/damage.h"
#include "lab/error.h"

namespace mesh::lab {
namespace {

// A command that may fail: the thing it would break may be broken already.
Act::Step command(const std::string& words) {
  return [words](Lab&, Node& node, Node&) { (void)node.run(split_words(words)); };
}

// The same with the peer's prefix, host and key in it.
Act::Step about_peer(const std::string& words) {
  return [words](Lab& lab, Node& node, Node& peer) {
    const std::string key = published_key(lab, peer);
    if (key.empty()) return;
    (void)node.run(split_words(
        fmt::format(fmt::runtime(words), fmt::arg("i", peer.index()), fmt::arg("key", key))));
  };
}

void start_if_dead(Lab&, Node& node, Node&) {
  if (!node.running()) node.start();
}
void kill_if_alive(Lab&, Node& node, Node&) {
  if (node.running()) node.kill();
}

void move_store(Lab& lab, bool away) {
  const std::string here = lab.store().path();
  const std::string there = here + ".away";
  (void)std::rename((away ? here : there).c_str(), (away ? there : here).c_str());
}

Act::Step signal(int number) {
  return [number](Lab&, Node& node, Node&) {
    if (node.running()) node.process().signal(number);
  };
}

Act::Step netem(const std::string& what) {
  return [what](Lab& lab, Node& node, Node&) { lab.impair(node, what); };
}

void no_netem(Lab& lab, Node& node, Node&) {
  (void)run({.argv = {"tc", "qdisc", "del", "dev", Lab::port_of(node), "root"},
             .place = {.network = lab.underlay().fd()}});
}

void forget(Lab& lab, Node& node, Node& peer) {
  kill_if_alive(lab, node, peer);
  forget_everything(lab, node);
  node.start();
}

// A prefix that every node may announce, and two at a time. Nobody sends to it: what is judged is
// that the claims do no harm to anything else.
Act::Step wandering_prefix(bool here) {
  return [here](Lab&, Node& node, Node&) {
    node.configure(fmt::format("node: {{cidrs: [10.{0}.0.0/24, \"fd00:{0}::/64\"{1}]}}",
                               node.index(), here ? ", 10.99.0.0/24" : ""));
    if (node.running()) node.process().signal(SIGHUP);
  };
}

Act::Step rival_rule(const std::string& act) {
  return [act](Lab&, Node& node, Node& peer) {
    (void)node.run({"ip", "rule", act, "pref", "50", "to",
                    fmt::format("10.{}.0.0/24", peer.index()), "lookup", "main"});
  };
}

std::vector<Act> daemon_acts() {
  return {
      {.name = "meshd killed", .begin = kill_if_alive, .end = start_if_dead, .restarts = true},
      {.name = "meshd killed and started",
       .begin =
           [](Lab& lab, Node& node, Node& peer) {
             kill_if_alive(lab, node, peer);
             node.start();
           },
       .restarts = true},
      {.name = "meshd restarted",
       .begin =
           [](Lab&, Node& node, Node&) {
             if (node.running()) (void)node.stop();
             node.start();
           },
       .restarts = true},
      {.name = "meshd frozen", .begin = signal(SIGSTOP), .end = signal(SIGCONT)},
      {.name = "configuration read again", .begin = signal(SIGHUP)},
      {.name = "another prefix announced",
       .begin = wandering_prefix(true),
       .end = wandering_prefix(false)},
      {.name = "host rebooted", .begin = forget, .opens = true, .restarts = true},
  };
}

std::vector<Act> device_acts() {
  return {
      {.name = "device deleted", .begin = command("ip link del mesh0")},
      {.name = "wireguard-go killed",
       .begin =
           [](Lab& lab, Node& node, Node&) {
             for (const int pid : wireguard_go_of(lab, node)) (void)::kill(pid, SIGKILL);
           },
       .needs_wireguard_go = true},
      {.name = "device renamed",
       .begin = [](Lab&, Node& node, Node&) { rename_device(node, "mesh0", "mesh9"); }},
      {.name = "MTU of the device changed", .begin = command("ip link set mesh0 mtu 1300")},
      {.name = "device set down", .begin = command("ip link set mesh0 down")},
      {.name = "addresses flushed", .begin = command("ip addr flush dev mesh0")},
      {.name = "private key changed",
       .begin =
           [](Lab&, Node& node, Node&) {
             if (node.wireguard()) set_private_key(node, fresh_private_key());
           }},
      {.name = "listen port changed", .begin = command("wg set mesh0 listen-port 51999")},
      {.name = "fwmark of the device changed", .begin = command("wg set mesh0 fwmark 0x4000")},
      {.name = "foreign peer added",
       .begin =
           [](Lab&, Node& node, Node&) {
             (void)node.run(
                 {"wg", "set", "mesh0", "peer", fresh_public_key(), "allowed-ips", "10.98.0.0/24"});
           }},
      {.name = "peer removed", .begin = about_peer("wg set mesh0 peer {key} remove")},
      {.name = "AllowedIPs replaced",
       .begin = about_peer("wg set mesh0 peer {key} allowed-ips 10.98.0.0/24")},
      {.name = "endpoint changed",
       .begin = about_peer("wg set mesh0 peer {key} endpoint 192.0.2.99:51820")},
  };
}

std::vector<Act> routing_acts() {
  return {
      {.name = "route deleted",
       .begin = about_peer("ip route del 10.{i}.0.0/24 dev mesh0 table 5182")},
      {.name = "IPv6 route deleted",
       .begin = about_peer("ip -6 route del fd00:{i}::/64 dev mesh0 table 5182")},
      {.name = "route replaced",
       .begin = about_peer("ip route replace 10.{i}.0.0/24 via 192.0.2.{i} dev eth0 table 5182"),
       .opens = true},
      {.name = "guard deleted",
       .begin = about_peer("ip route del unreachable 10.{i}.0.0/24 metric 4294967295 table 5182")},
      {.name = "foreign route added",
       .begin = about_peer("ip route add 10.{i}.0.2/32 via 192.0.2.{i} table 5182 proto static"),
       .opens = true},
      {.name = "host route deleted",
       .begin = about_peer("ip route del 192.0.2.{i} dev mesh0 table 5183")},
      {.name = "table flushed", .begin = command("ip route flush table 5182"), .opens = true},
      {.name = "rule deleted", .begin = command("ip -4 rule del pref 99"), .opens = true},
      {.name = "IPv6 rule deleted", .begin = command("ip -6 rule del pref 99"), .opens = true},
      {.name = "rival rule added",
       .begin = rival_rule("add"),
       .end = rival_rule("del"),
       .opens = true},
      {.name = "reverse path checked strictly",
       .begin =
           [](Lab&, Node& node, Node&) {
             for (const char* device : {"eth0", "mesh0"})
               node.network().set_sysctl(fmt::format("net.ipv4.conf.{}.rp_filter", device), "1");
           }},
      {.name = "nftables table deleted", .begin = command("nft delete table inet meshd")},
      {.name = "ruleset flushed", .begin = command("nft flush ruleset")},
      {.name = "own element removed",
       .begin =
           [](Lab&, Node& node, Node&) {
             (void)node.run({"nft", fmt::format("delete element inet meshd own4 {{ 10.{}.0.0/24 }}",
                                                node.index())});
           },
       .opens = true},
  };
}

std::vector<Act> network_acts() {
  return {
      {.name = "cable pulled",
       .begin = [](Lab& lab, Node& node, Node&) { lab.pull_cable(node); },
       .end = [](Lab& lab, Node& node, Node&) { lab.plug_cable(node); }},
      {.name = "UDP from one peer dropped",
       .begin = [](Lab&, Node& node, Node& peer) { drop_udp(node, peer); },
       .end = [](Lab&, Node& node, Node&) { let_all_in(node); }},
      {.name = "loss", .begin = netem("loss 10%"), .end = no_netem, .needs_netem = true},
      {.name = "delay and reordering",
       .begin = netem("delay 20ms 15ms reorder 25%"),
       .end = no_netem,
       .needs_netem = true},
  };
}

std::vector<Act> store_acts() {
  const auto changed = [](const std::string& text) {
    return [text](Lab& lab, Node& node, Node&) { lab.store().write(node.name(), text); };
  };
  return {
      {.name = "store away",
       .begin = [](Lab& lab, Node&, Node&) { move_store(lab, true); },
       .end = [](Lab& lab, Node&, Node&) { move_store(lab, false); },
       .on_store = true},
      {.name = "record corrupted", .begin = changed("name: [\n\t}: \x01\n"), .on_store = true},
      {.name = "record truncated", .begin = changed(""), .on_store = true},
      {.name = "record deleted",
       .begin = [](Lab& lab, Node& node, Node&) { lab.store().remove(node.name()); },
       .on_store = true},
      {.name = "key overwritten",
       .begin =
           [](Lab& lab, Node& node, Node&) {
             if (!published_key(lab, node).empty())
               lab.store().set_annotation(node.name(), "meshd.io/wireguard-public-key",
                                          fresh_public_key());
           },
       .on_store = true},
  };
}

// All nodes of a lab have the machine's clock. Not by more than a peer may refuse handshakes for:
// their time stamps must not go back.
std::vector<Act> clock_acts() {
  constexpr std::chrono::seconds kStep(20);
  const auto step = [](std::chrono::seconds by) {
    return [by](Lab&, Node&, Node&) { step_wall_clock(by); };
  };
  return {
      {.name = "wall clock set forward",
       .begin = step(kStep),
       .end = step(-kStep),
       .needs_own_machine = true},
      {.name = "wall clock set back",
       .begin = step(-kStep),
       .end = step(kStep),
       .needs_own_machine = true},
  };
}

}  // namespace

const std::vector<Act>& all_acts() {
  static const std::vector<Act> kActs = [] {
    std::vector<Act> all;
    for (auto& part :
         {daemon_acts(), device_acts(), routing_acts(), network_acts(), store_acts(), clock_acts()})
      all.insert(all.end(), part.begin(), part.end());
    return all;
  }();
  return kActs;
}

Step Order::next() {
  for (auto lasting = lasting_.begin(); lasting != lasting_.end(); ++lasting) {
    if (lasting->left-- > 0) continue;
    Step step = lasting->step;
    lasting_.erase(lasting);
    step.ends = true;
    return step;
  }
  Step step;
  do {
    step.act = static_cast<std::size_t>(below(all_acts().size()));
    step.node = static_cast<int>(below(static_cast<std::uint64_t>(nodes_)));
    const auto others = static_cast<std::uint64_t>(nodes_ - 1);
    step.peer = (step.node + 1 + static_cast<int>(below(others))) % nodes_;
    step.pause = milliseconds(100 + below(2400));
  } while (!fits(step));
  if (all_acts()[step.act].end) lasting_.push_back({step, 1 + static_cast<unsigned>(below(4))});
  return step;
}

// Nothing is begun twice, nobody writes to a store that is away, and the witness keeps its daemon.
bool Order::fits(const Step& step) const {
  const auto& act = all_acts()[step.act];
  if (act.restarts && step.node == kWitness) return false;
  for (const auto& lasting : lasting_) {
    const auto& other = all_acts()[lasting.step.act];
    if (act.needs_own_machine && other.needs_own_machine) return false;
    if (act.on_store && other.on_store) return false;
    if (act.needs_netem && other.needs_netem && step.node == lasting.step.node) return false;
    if (step.act == lasting.step.act && step.node == lasting.step.node) return false;
    // A frozen daemon answers no signal: what stops or starts one would wait for it.
    const auto on_daemon = [](const Act& each) {
      return each.name.starts_with("meshd") || each.name == "host rebooted";
    };
    if (on_daemon(act) && on_daemon(other) && step.node == lasting.step.node) return false;
    // Nobody would close it again before the excuse for it ends.
    if (act.opens && on_daemon(other) && step.node == lasting.step.node) return false;
  }
  return true;
}

std::vector<Step> Order::rest() {
  std::vector<Step> steps;
  for (const auto& lasting : lasting_) {
    steps.push_back(lasting.step);
    steps.back().ends = true;
    steps.back().pause = milliseconds(0);
  }
  lasting_.clear();
  return steps;
}

std::string describe(const Step& step, Lab& lab) {
  return fmt::format("{}{} on {} (peer {})", step.ends ? "end of " : "", all_acts()[step.act].name,
                     lab[static_cast<std::size_t>(step.node)].name(),
                     lab[static_cast<std::size_t>(step.peer)].name());
}

}  // namespace mesh::lab
