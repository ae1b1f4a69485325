#include "cli/faults.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <regex>

#include "faults/bench.h"
#include "faults/table.h"

namespace mesh::lab {
namespace {

std::vector<Fault> chosen(const std::string& rows) {
  std::vector<Fault> all = all_faults();
  std::regex pattern;
  try {
    pattern = std::regex(rows, std::regex::icase);
  } catch (const std::regex_error& error) {
    fail("--rows {}: {}", rows, error.what());
  }
  std::erase_if(all, [&](const Fault& fault) {
    return !std::regex_search(to_string(fault.group) + ": " + fault.name, pattern);
  });
  if (all.empty()) fail("--rows {}: no row matches; --list shows them", rows);
  return all;
}

std::string kernel_release() {
  utsname name{};
  check(::uname(&name), "uname");
  return name.release;
}

bool stands(const Measured& row) {
  return row.verdict == Verdicts::kMet || row.verdict == Verdicts::kImpossible;
}

void say(const std::string& line) {
  fmt::print("{}\n", line);
  (void)std::fflush(stdout);
}

}  // namespace

int run_faults(const FaultsOptions& options) {
  const std::vector<Fault> faults = chosen(options.rows);
  if (options.list) {
    for (const auto& fault : faults) say(fmt::format("{}: {}", to_string(fault.group), fault.name));
    return 0;
  }
  for (const char* needed : {"meshd", "meshctl"}) (void)find_binary(needed);
  const auto started = Clock::now();
  Bench bench(options.backend);
  const std::string backend = bench.on_kernel() ? "kernel" : "userspace";
  const std::string document = options.append ? read_file(options.output) : "";
  std::vector<Measured> rows;
  const auto write = [&] {
    if (options.output.empty()) return;
    write_file(options.output, with_section(document, section_of(rows, backend, kernel_release())));
  };
  for (const auto& fault : faults) {
    rows.push_back(bench.run(fault));
    say(line_of(rows.back()));
    write();  // what was measured stays, whatever happens to the rest
  }
  const auto bad =
      std::count_if(rows.begin(), rows.end(), [](const Measured& row) { return !stands(row); });
  const auto met = std::count_if(rows.begin(), rows.end(),
                                 [](const Measured& row) { return row.verdict == Verdicts::kMet; });
  say(fmt::format(
      "{} rows: {} met, {} not, {} not possible here; {} s", rows.size(), met, bad,
      static_cast<std::ptrdiff_t>(rows.size()) - met - bad,
      std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - started).count()));
  return bad == 0 && met > 0 ? 0 : 1;
}

}  // namespace mesh::lab
