#include "cli/leaks.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <regex>

#include "lab/error.h"
#include "leaks/leaks.h"

namespace mesh::lab {
namespace {

std::vector<LeakCell> chosen(const std::string& cells) {
  std::vector<LeakCell> all = leak_cells();
  std::regex pattern;
  try {
    pattern = std::regex(cells, std::regex::icase);
  } catch (const std::regex_error& error) {
    fail("--cells {}: {}", cells, error.what());
  }
  std::erase_if(all, [&](const LeakCell& cell) { return !std::regex_search(cell.name, pattern); });
  if (all.empty()) fail("--cells {}: no cell matches; --list shows them", cells);
  return all;
}

void say(const std::string& line) {
  fmt::print("{}\n", line);
  (void)std::fflush(stdout);
}

}  // namespace

int run_leaks(const LeaksOptions& options) {
  const std::vector<LeakCell> cells = chosen(options.cells);
  if (options.list) {
    for (const LeakCell& cell : cells) say(cell.name);
    return 0;
  }
  for (const char* needed : {"meshd", "meshctl"}) (void)find_binary(needed);
  const bool kernel =
      options.backend == "kernel" || (options.backend == "auto" && Lab::kernel_has_wireguard());
  utsname name{};
  check(::uname(&name), "uname");
  const std::string document = options.append ? read_file(options.output) : "";
  std::vector<LeakResult> results;
  for (const LeakCell& cell : cells) {
    results.push_back(measure(cell, options.backend));
    say(line_of(results.back()));
    if (!options.output.empty())  // what was measured stays, whatever happens to the rest
      write_file(options.output,
                 with_leak_section(document, leak_section(results, kernel ? "kernel" : "userspace",
                                                          name.release)));
  }
  const auto met = std::count_if(results.begin(), results.end(),
                                 [](const LeakResult& result) { return result.met(); });
  say(fmt::format("{} cells: {} met, {} not", results.size(), met,
                  static_cast<std::ptrdiff_t>(results.size()) - met));
  return met == static_cast<std::ptrdiff_t>(results.size()) ? 0 : 1;
}

}  // namespace mesh::lab
