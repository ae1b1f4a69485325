#include "chaos/growth.h"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "lab/error.h"
#include "lab/registry.h"

namespace mesh::lab {
namespace {

namespace fs = std::filesystem;

constexpr int kLooks = 5;
constexpr int kDescriptorsAllowed = 2;

int count_entries(const std::string& directory) {
  std::error_code error;
  int count = 0;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    (void)entry;
    ++count;
  }
  return count;
}

int parent_of(const std::string& pid) {
  const std::string stat = read_file("/proc/" + pid + "/stat");
  const auto end_of_name = stat.rfind(')');
  if (end_of_name == std::string::npos) return 0;
  std::istringstream fields(stat.substr(end_of_name + 1));
  std::string state;
  int parent = 0;
  fields >> state >> parent;
  return parent;
}

int children_of(pid_t pid) {
  int count = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") == std::string::npos && parent_of(name) == pid)
      ++count;
  }
  return count;
}

long rss_of(pid_t pid) {
  std::istringstream lines(read_file(fmt::format("/proc/{}/status", pid)));
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("VmRSS:")) return std::atol(line.c_str() + 6);
  return 0;
}

Footprint look(const Lab& lab, Node& node) {
  const pid_t pid = node.process().pid();
  const unsigned long own = namespace_number(node.network().path());
  Footprint now{count_entries(fmt::format("/proc/{}/fd", pid)), children_of(pid), 0, rss_of(pid),
                pid};
  for (const int each : processes_of(lab.id()))
    if (namespace_number(fmt::format("/proc/{}/ns/net", each)) == own) ++now.processes;
  return now;
}

}  // namespace

Footprint footprint_of(const Lab& lab, Node& node) {
  Footprint least = look(lab, node);
  for (int i = 1; i < kLooks; ++i) {
    const Footprint now = look(lab, node);
    least.descriptors = std::min(least.descriptors, now.descriptors);
    least.children = std::min(least.children, now.children);
    least.processes = std::min(least.processes, now.processes);
    least.rss_kib = std::min(least.rss_kib, now.rss_kib);
  }
  return least;
}

std::string growth(const Footprint& begin, const Footprint& end) {
  std::string text;
  const auto add = [&](const char* what, auto from, auto to) {
    text += fmt::format("{}{} grew from {} to {}", text.empty() ? "" : ", ", what, from, to);
  };
  if (end.descriptors > begin.descriptors + kDescriptorsAllowed)
    add("descriptors", begin.descriptors, end.descriptors);
  // A daemon that adopted a running wireguard-go is not its parent, one that started it is.
  if (end.children > std::max(begin.children, 1)) add("children", begin.children, end.children);
  if (end.processes > begin.processes) add("processes", begin.processes, end.processes);
  if (end.rss_kib > begin.rss_kib + begin.rss_kib / 4 + 8 * 1024)
    add("RSS in KiB", begin.rss_kib, end.rss_kib);
  return text;
}

std::string to_string(const Footprint& footprint) {
  return fmt::format("{} descriptors, {} children, {} processes, {:.1f} MiB", footprint.descriptors,
                     footprint.children, footprint.processes,
                     static_cast<double>(footprint.rss_kib) / 1024);
}

}  // namespace mesh::lab
