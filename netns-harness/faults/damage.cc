#include "faults/damage.h"

#include <csignal>
#include <cstdlib>
#include <ctime>
#include <sstream>

#include "lab/error.h"
#include "lab/registry.h"

namespace mesh::lab {
namespace {

std::string trimmed(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace

std::vector<int> wireguard_go_of(const Lab& lab, const Node& node) {
  const unsigned long own = namespace_number(node.network().path());
  std::vector<int> found;
  for (const int pid : processes_of(lab.id())) {
    if (namespace_number(fmt::format("/proc/{}/ns/net", pid)) != own) continue;
    if (read_file(fmt::format("/proc/{}/comm", pid)).starts_with("wireguard-go"))
      found.push_back(pid);
  }
  return found;
}

void kill_wireguard_go(const Lab& lab, const Node& node) {
  const auto pids = wireguard_go_of(lab, node);
  if (pids.empty()) fail("{}: no wireguard-go to kill", node.name());
  for (const int pid : pids) check(::kill(pid, SIGKILL), "kill wireguard-go");
}

std::string fresh_private_key() { return trimmed(run_or_throw({.argv = {"wg", "genkey"}})); }

std::string public_key_of(const std::string& private_key) {
  const Outcome outcome = run({.argv = {"wg", "pubkey"}, .input = private_key + "\n"});
  if (!outcome.ok()) fail("wg pubkey: {}", outcome.errors);
  return trimmed(outcome.output);
}

std::string fresh_public_key() { return public_key_of(fresh_private_key()); }

std::string published_key(const Lab& lab, const Node& node) {
  return lab.store().annotation(node.name(), "meshd.io/wireguard-public-key");
}

void rename_device(const Node& node, const std::string& from, const std::string& to) {
  if (node.run({"ip", "link", "set", from, "name", to}).ok()) return;
  node.network().ip(
      fmt::format("link set {0} down\nlink set {0} name {1}\nlink set {1} up\n", from, to));
}

// Through standard input: a key is in no file and no command line, and in no message.
void set_private_key(const Node& node, const std::string& private_key, const std::string& device) {
  const Outcome outcome = run({.argv = {"wg", "set", device, "private-key", "/proc/self/fd/0"},
                               .place = node.place(),
                               .input = private_key + "\n"});
  if (!outcome.ok()) fail("{}: wg set {} private-key: {}", node.name(), device, outcome.errors);
}

std::vector<std::string> split_words(const std::string& words) {
  std::vector<std::string> parts;
  std::istringstream stream(words);
  for (std::string word; stream >> word;) parts.push_back(word);
  return parts;
}

void must(const Node& node, const std::string& words) { (void)node.must(split_words(words)); }

void forget_everything(const Lab& lab, const Node& node) {
  (void)node.run({"ip", "link", "del", "mesh0"});
  for (const int pid : wireguard_go_of(lab, node)) (void)::kill(pid, SIGKILL);
  (void)wait_until([&] { return wireguard_go_of(lab, node).empty(); }, milliseconds(5000));
  (void)node.run({"nft", "delete", "table", "inet", "meshd"});
  for (const char* family : {"-4", "-6"}) {
    (void)run({.argv = {"ip", family, "-force", "-batch", "-"},
               .place = node.place(),
               .input = "rule flush protocol 109\nroute flush table 5182\nroute flush table 5183\n"
                        "route flush table 5184\n"});
  }
}

void drop_udp(const Node& node, const Node& from) {
  std::string rules;
  for (const Family family : {Family::kIpv4, Family::kIpv6})
    rules += fmt::format("    {} saddr {} meta l4proto udp counter drop\n",
                         family == Family::kIpv4 ? "ip" : "ip6", from.address(family).to_string());
  (void)run_or_throw({.argv = {"nft", "-f", "-"},
                      .place = node.place(),
                      .input = fmt::format("table inet lab {{\n  chain faults {{\n    type filter "
                                           "hook prerouting priority -400;\n{}  }}\n}}\n",
                                           rules)});
}

void let_all_in(const Node& node) { (void)node.run({"nft", "delete", "table", "inet", "lab"}); }

bool owns_machine() {
  const char* own = std::getenv("MESHD_LAB_OWN_MACHINE");
  return own != nullptr && own == std::string("1");
}

void step_wall_clock(std::chrono::seconds by) {
  if (!owns_machine()) fail("{}", kClockIsOthers);
  timespec now{};
  check(::clock_gettime(CLOCK_REALTIME, &now), "clock_gettime");
  now.tv_sec += by.count();
  check(::clock_settime(CLOCK_REALTIME, &now), "clock_settime");
}

}  // namespace mesh::lab
