#include "faults/table.h"

#include <fmt/format.h>

#include <algorithm>

namespace mesh::lab {
namespace {

constexpr const char* kIntroduction = R"(# Faults

What a mesh of three nodes loses, shows, and needs until it is right again when something is done to it. This file is made by
a command, natively (wireguard-go) and in the virtual machine (the kernel's WireGuard):

```
b=build/release; $b/netns-harness/mesh-lab faults --output docs/faults.md
netns-harness/vm/run.sh --timeout 7200 --env MESHD_LAB_PATIENCE=4 --results /tmp/faults --with docs/faults.md \
  --with $b/meshd/daemon/meshd --with $b/meshd/ctl/meshctl --with $b/netns-harness/mesh-lab -- bash -c \
  "cp docs/faults.md /results/; $b/netns-harness/mesh-lab faults --append --output /results/faults.md"; cp /tmp/faults/faults.md docs/
```

It exits with 0 only if every row met its expectation: nothing lost or seen where nothing may be, and elsewhere no more, and for no longer,
than the ceiling that the row states in `netns-harness/faults`. `--rows REGEX` runs some. A row that did not is marked **NOT MET**, one
whose feature meshd answers not to have **NOT BUILT**.

- **lost →, lost ←**: of the probes that two workloads on node-a and node-b send each other 200 times a second in each family
  (IPv4 and IPv6 together; the number sent each way is beside it). A bystander pair, node-a and node-c, is probed too and
  must never lose one.
- **plaintext**: packets between the nodes that crossed the underlay unencrypted during the row, from a capture on the bridge.
- **right after**: from the act (for faults that last, from their end) until the kernel holds what it held before, both sides say
  encrypted and no probe is lost any more; it contains the time to look, some 20 ms natively and several times that in the
  (emulated) virtual machine.
- **shown meanwhile**: the states of the peer that node-a and node-b showed, sampled every 20 ms (80 ms in the virtual machine).
- **repairs**: how many node-b counted.
)";

std::string cell(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  for (std::size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2)
    text.replace(at, 1, "\\|");
  return text;
}

std::string duration(const std::optional<milliseconds>& time) {
  if (!time) return "never";
  if (time->count() < 1000) return fmt::format("{} ms", time->count());
  return fmt::format("{:.1f} s", static_cast<double>(time->count()) / 1000);
}

std::string states(const Measured& row) {
  const std::string a = fmt::format("{}", fmt::join(row.states_a, " → "));
  const std::string b = fmt::format("{}", fmt::join(row.states_b, " → "));
  if (row.group == Group::kNaive) return "no meshd";
  if (a == b) return a;
  return fmt::format("a: {}; b: {}", a.empty() ? "no answer" : a, b.empty() ? "no answer" : b);
}

std::string word(Verdicts verdict) {
  switch (verdict) {
    case Verdicts::kMet:
      return "met";
    case Verdicts::kNotMet:
      return "**NOT MET**";
    case Verdicts::kNotBuilt:
      return "**NOT BUILT**";
    case Verdicts::kImpossible:
      break;
  }
  return "not here";
}

bool was_measured(const Measured& row) {
  return row.verdict == Verdicts::kMet || row.verdict == Verdicts::kNotMet;
}

std::string notes(const Measured& row) {
  std::string text = row.remark;
  if (was_measured(row) && row.bystander_lost > 0 && text.find("bystander") == std::string::npos)
    text += fmt::format("{}the bystander lost {}", text.empty() ? "" : "; ", row.bystander_lost);
  const auto add = [&](bool is_so, const std::string& why) {
    if (was_measured(row) && is_so && !why.empty()) text += (text.empty() ? "" : ". ") + why;
  };
  add(row.lost_there + row.lost_back > 0, row.why);
  add(row.leaked > 0, row.why_plaintext);
  return text;
}

std::string table_line(const Measured& row) {
  if (!was_measured(row) || row.sent == 0)
    return fmt::format("| {} | | | | | | | {}: {} |\n", cell(row.name), word(row.verdict),
                       cell(row.remark));
  const std::string more = notes(row);
  return fmt::format("| {} | {} / {} | {} / {} | {} | {} | {} | {} | {}{}{} |\n", cell(row.name),
                     row.lost_there, row.sent, row.lost_back, row.sent, row.leaked,
                     duration(row.repair), cell(states(row)), row.repairs, word(row.verdict),
                     more.empty() ? "" : ": ", cell(more));
}

std::string heading_of(const std::string& section) { return section.substr(0, section.find('\n')); }

}  // namespace

std::string line_of(const Measured& row) {
  if (!was_measured(row) || row.sent == 0)
    return fmt::format("{:<58} {}: {}", row.name, word(row.verdict), row.remark);
  const std::string more = notes(row);
  return fmt::format("{:<58} lost {:>4}/{:<4} of {:<5} plain {:>4}  {:>7}  {}{}{}  [{}]", row.name,
                     row.lost_there, row.lost_back, row.sent, row.leaked, duration(row.repair),
                     word(row.verdict), more.empty() ? "" : ": ", more, states(row));
}

std::string section_of(const std::vector<Measured>& rows, const std::string& backend,
                       const std::string& kernel) {
  const auto count = [&](Verdicts verdict) {
    return std::count_if(rows.begin(), rows.end(),
                         [&](const Measured& row) { return row.verdict == verdict; });
  };
  std::string text = fmt::format(
      "## {}\n\nLinux {}. {} rows: {} met, {} not met, {} not built, {} not possible here.\n",
      backend == "kernel" ? "On the kernel's WireGuard" : "On wireguard-go", kernel, rows.size(),
      count(Verdicts::kMet), count(Verdicts::kNotMet), count(Verdicts::kNotBuilt),
      count(Verdicts::kImpossible));
  for (const Group group : kGroups) {
    if (std::none_of(rows.begin(), rows.end(),
                     [&](const Measured& row) { return row.group == group; }))
      continue;
    text += fmt::format(
        "\n### {}\n\n| fault | lost → | lost ← | plaintext | right after | shown meanwhile | "
        "repairs "
        "| expectation |\n|---|---|---|---|---|---|---|---|\n",
        title_of(group));
    for (const auto& row : rows)
      if (row.group == group) text += table_line(row);
  }
  return text;
}

std::string cell_text(std::string text) { return cell(std::move(text)); }

std::string with_section(const std::string& document, const std::string& section) {
  return with_section(document, section, kIntroduction);
}

std::string with_section(const std::string& document, const std::string& section,
                         const std::string& introduction) {
  std::string result = introduction;
  bool replaced = false;
  for (std::size_t from = document.find("\n## "); from != std::string::npos;) {
    const std::size_t next = document.find("\n## ", from + 1);
    std::string old = document.substr(from + 1, next == std::string::npos ? next : next - from);
    while (!old.empty() && old.back() == '\n') old.pop_back();
    old += '\n';
    const bool same = heading_of(old) == heading_of(section);
    replaced = replaced || same;
    result += "\n" + (same ? section : old);
    from = next;
  }
  return replaced ? result : result + "\n" + section;
}

}  // namespace mesh::lab
