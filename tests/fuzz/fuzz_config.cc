// Any bytes as meshd.yaml: either a configuration that keeps its promises, or problems that each
// name a place in one line.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "meshd/daemon/config.h"

namespace mesh {
namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check(const Config& config) {
  require(!config.node.name.empty());
  require(config.wireguard.listen_port != 0 && config.wireguard.fwmark != 0);
  require(config.wireguard.mtu == 0 || config.wireguard.mtu >= 1280);
  require(!config.wireguard.interface.empty() && config.wireguard.interface.size() <= 15);
  require(config.wireguard.host_table() > config.wireguard.routing_table);
  require(config.wireguard.rule_priority + 2 < 32766);
  require(config.store.forget_after > Duration(0) &&
          config.encryption.fallback_after >= Duration(0));
  require(changed_but_needs_restart(config, config).empty());
}

void check(const ConfigProblems& problems, std::string_view text) {
  require(!problems.empty());
  const auto lines = std::count(text.begin(), text.end(), '\n') + 1;
  int last_line = 0;
  for (const ConfigProblem& problem : problems) {
    require(problem.line >= last_line && problem.line <= lines + 1 && problem.column >= 0);
    last_line = problem.line;
    const std::string line = describe(problem);
    require(line.find_first_of("\r\n\x1b") == std::string::npos);
  }
}

}  // namespace
}  // namespace mesh

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const mesh::ConfigResult result = mesh::parse_config(text, "f", "host");
  if (const auto* problems = std::get_if<mesh::ConfigProblems>(&result))
    mesh::check(*problems, text);
  else
    mesh::check(std::get<mesh::Config>(result));
  return 0;
}
