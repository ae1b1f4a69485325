#include "lab/kernel_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <regex>
#include <set>
#include <sstream>

namespace mesh::lab {
namespace {

constexpr const char* kDevice = "mesh0";

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);)
    if (!line.empty()) lines.push_back(line);
  return lines;
}

// Rules, the routing tables, the device and its addresses. Objects that are missing print nothing.
std::string routing(const Node& node, const char* family) {
  static const std::regex kIndex("^[0-9]+: (mesh0:)");
  const Outcome outcome = run(
      {.argv = {"ip", family, "-force", "-batch", "-"},
       .place = node.place(),
       .input = fmt::format(
           "rule show\nroute show table 5182\nroute show table 5183\nroute show table 5184\naddr "
           "show dev {}\n",
           kDevice)});
  std::string text;
  for (const auto& line : lines_of(outcome.output)) {
    if (line.find("inet6 fe80:") != std::string::npos)
      continue;  // the kernel's own, made at random
    if (line.find("_lft") != std::string::npos) continue;
    text += fmt::format("{} {}\n", family, std::regex_replace(line, kIndex, "$1"));
  }
  return text;
}

std::string device(const Node& node) {
  const auto found = node.wireguard(kDevice);
  if (!found) return "wg: none\n";
  std::string text = fmt::format("wg: key {} port {} fwmark {:#x}\n", found->public_key,
                                 found->listen_port, found->fwmark);
  std::set<std::string> peers;
  for (auto peer : found->peers) {
    std::sort(peer.allowed_ips.begin(), peer.allowed_ips.end());
    peers.insert(
        fmt::format("wg: peer {} {}\n", peer.public_key, fmt::join(peer.allowed_ips, ",")));
  }
  for (const auto& peer : peers) text += peer;
  return text;
}

std::string filter(const Node& node) {
  static const std::regex kCounter(" counter packets [0-9]+ bytes [0-9]+");
  const Outcome outcome = node.run({"nft", "list", "table", "inet", "meshd"});
  return outcome.ok() ? std::regex_replace(outcome.output, kCounter, "") : "nft: none\n";
}

std::string reverse_path(const Node& node) {
  std::string text;
  for (const char* scope : {"all", "eth0", kDevice})
    text += fmt::format("rp_filter {} {}\n", scope,
                        node.network().sysctl(fmt::format("net.ipv4.conf.{}.rp_filter", scope)));
  return text;
}

}  // namespace

std::string kernel_state(const Node& node) {
  std::string text;
  for (const char* family : {"-4", "-6"}) {
    auto lines = lines_of(routing(node, family));
    std::sort(lines.begin(), lines.end());  // the order of routes says nothing
    for (const auto& line : lines) text += line + "\n";
  }
  return text + device(node) + filter(node) + reverse_path(node);
}

std::string difference(const std::string& before, const std::string& now) {
  const auto old_lines = lines_of(before);
  const auto new_lines = lines_of(now);
  const std::multiset<std::string> old_set(old_lines.begin(), old_lines.end());
  const std::multiset<std::string> new_set(new_lines.begin(), new_lines.end());
  std::string text;
  for (const auto& line : old_set)
    if (old_set.count(line) > new_set.count(line)) text += "- " + line + "\n";
  for (const auto& line : new_set)
    if (new_set.count(line) > old_set.count(line)) text += "+ " + line + "\n";
  return text;
}

}  // namespace mesh::lab
