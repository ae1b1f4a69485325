#include "leaks/leaks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "faults/table.h"
#include "lab/capture.h"
#include "lab/error.h"
#include "leaks/sprayer.h"

namespace mesh::lab {
namespace {

// In rounds of the traffic, one datagram of each kind: 100 a second, fewer on a slow machine.
constexpr std::uint64_t kLeadIn = 30;
constexpr std::uint64_t kAftermath = 250;
constexpr milliseconds kLongestRounds(60'000);
const std::set<std::string> kPair = {"node-a", "node-b"};

void add_streams(Node& from, Node& to, bool bound, std::vector<Stream>& streams) {
  for (const Family family : list(Families::kDual)) {
    const IpAddress host = from.address(family);
    streams.push_back({&from.workload().network(), from.workload().address(family),
                       to.workload().address(family), ""});
    streams.push_back({&from.network(), host, to.address(family), ""});
    if (!bound) continue;
    streams.push_back({&from.network(), host, to.workload().address(family), "eth0"});
    streams.push_back({&from.network(), host, to.address(family), "eth0"});
  }
}

bool ready(Lab& lab, bool required) {
  const auto shows = [&](Node& node, const std::string& peer) {
    const auto found = node.peer(peer);
    return required ? found.value("state", "") == "encrypted" &&
                          found.value("hostPath", "") == "wireguard"
                    : found.value("state", "") == "plaintext";
  };
  return wait_until([&] { return shows(lab[0], "node-b") && shows(lab[1], "node-a"); },
                    milliseconds(20'000));
}

LeakCount count(Capture& capture) {
  LeakCount leaked;
  leaked.workload6 = capture.plaintext_of(kPair, Family::kIpv6);
  leaked.workload4 = capture.plaintext_of(kPair, Family::kIpv4);
  leaked.host6 = capture.host_of(kPair, Family::kIpv6);
  leaked.host4 = capture.host_of(kPair, Family::kIpv4);
  return leaked;
}

LeakCount run_cell(const LeakCell& cell, const std::string& backend, bool required,
                   std::string& seen) {
  LabSpec spec;
  spec.nodes = numbered_nodes(2);
  spec.backend = backend;
  Lab lab(std::move(spec));
  for (auto& node : lab.nodes())
    node->configure(
        fmt::format("encryption: {{mode: {}, hostTraffic: true}}", required ? "require" : "off"));
  lab.start_all();
  if (!ready(lab, required)) fail("the mesh does not become what it should:\n{}", lab.diagnosis());
  for (const auto& node : lab.nodes()) wait_until_written_down(*node);
  std::vector<Stream> streams;
  add_streams(lab[0], lab[1], cell.bound_sockets, streams);
  add_streams(lab[1], lab[0], cell.bound_sockets, streams);
  Capture capture(lab);
  const Sprayer sprayer(std::move(streams));
  if (!sprayer.wait_for_rounds(kLeadIn, kLongestRounds)) fail("no traffic");
  if (required && count(capture).all() > 0) fail("it leaks before anything was done");
  cell.act(lab);
  if (!sprayer.wait_for_rounds(kAftermath, kLongestRounds)) fail("the traffic has stopped");
  const LeakCount leaked = count(capture);
  if (required && leaked.all() > 0) {
    auto kinds = capture.between("node-a", "node-b").plaintext_seen;
    for (auto& host : capture.host_seen("node-a", "node-b")) kinds.push_back(std::move(host));
    if (kinds.size() > 4) kinds.resize(4);
    seen = fmt::format("{}", fmt::join(kinds, "; "));
  }
  return leaked;
}

std::string numbers(const LeakCount& count) {
  return fmt::format("{} / {} | {} / {}", count.workload4, count.workload6, count.host4,
                     count.host6);
}

std::string verdict(const LeakResult& result) {
  if (!result.failure.empty()) return "**NOT MEASURED**: " + result.failure;
  if (!result.off.every_kind()) return "**BLIND**: with encryption off a kind was not seen";
  if (result.required.all() == 0) return "zero";
  if (!result.possible.empty()) return "what is possible: " + result.possible;
  return "**LEAKED**: " + result.seen;
}

constexpr const char* kIntroduction = R"(# Leaks

What crosses the underlay in plaintext between two nodes that must encrypt (`encryption.mode: require` and `hostTraffic` on both)
while something is done to one of them. Made by a command, natively (wireguard-go) and in the virtual machine (the kernel's WireGuard):

```
build/release/netns-harness/mesh-lab leaks --output docs/leaks.md
```

It exits with 0 only if every cell was measured and zero, but for those where nothing more is possible; `--cells REGEX` runs some.

- Traffic, 100 datagrams a second each way and family, never stops: between workloads, between the nodes' own addresses, and from
  sockets that are bound to the underlay's device (`SO_BINDTODEVICE`), which routes do not bind.
- **workloads, hosts**: packets in plaintext, IPv4 / IPv6, of any workload, or between the nodes' own addresses. Exempt, and counted in no
  cell, are WireGuard's own packets, the echo requests that measure paths, and neighbour discovery.
- **with encryption off**: the same cell with `mode: off`. A cell counts only if every kind was seen there.
)";

}  // namespace

void wait_until_written_down(Node& node) {
  const std::string file = fmt::format("{}/{}.snapshot", node.directory(), node.name());
  // "node NAME KEY here|gone RECORD": see meshd/store/snapshot.cc.
  const auto holds = [&] {
    const auto status = node.try_status();
    if (!status || !std::filesystem::exists(file)) return false;
    const std::string text = read_file(file);
    return std::ranges::all_of((*status)["peers"], [&](const nlohmann::json& peer) {
      const bool proven = peer["path"] == "wireguard";
      return text.find(fmt::format("\nnode {} {} {} ", peer["node"].get<std::string>(),
                                   proven ? peer["publicKey"].get<std::string>() : "-",
                                   peer["reason"] == "no-record" ? "gone" : "here")) !=
             std::string::npos;
    });
  };
  if (!wait_until(holds, milliseconds(20'000)))
    fail("{} does not write down what it knows in {}", node.name(), file);
}

LeakResult measure(const LeakCell& cell, const std::string& backend) {
  LeakResult result;
  result.name = cell.name;
  result.possible = cell.possible;
  try {
    result.required = run_cell(cell, backend, true, result.seen);
    std::string unused;
    result.off = run_cell(cell, backend, false, unused);
  } catch (const LabError& error) {
    result.failure = error.what();
  }
  return result;
}

std::string line_of(const LeakResult& result) {
  return fmt::format("{:<55} {:>14} | off: {:>14}  {}", result.name, numbers(result.required),
                     numbers(result.off), verdict(result));
}

std::string leak_section(const std::vector<LeakResult>& results, const std::string& backend,
                         const std::string& kernel) {
  const auto met = std::count_if(results.begin(), results.end(),
                                 [](const LeakResult& result) { return result.met(); });
  std::string text = fmt::format(
      "## {}\n\nLinux {}. {} cells: {} met, {} not.\n\n"
      "| cell | workloads | hosts | with encryption off: workloads | hosts | verdict |\n"
      "|---|---|---|---|---|---|\n",
      backend == "kernel" ? "On the kernel's WireGuard" : "On wireguard-go", kernel, results.size(),
      met, static_cast<std::ptrdiff_t>(results.size()) - met);
  for (const LeakResult& result : results)
    text += fmt::format("| {} | {} | {} | {} |\n", cell_text(result.name), numbers(result.required),
                        numbers(result.off), cell_text(verdict(result)));
  return text;
}

std::string with_leak_section(const std::string& document, const std::string& section) {
  return with_section(document, section, kIntroduction);
}

}  // namespace mesh::lab
