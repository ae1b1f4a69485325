#include "cli/chaos.h"

#include <fmt/format.h>
#include <unistd.h>

#include "chaos/chaos.h"

namespace mesh::lab {
namespace {

constexpr milliseconds kLineInterval(10'000);  // where nobody watches a terminal

// One line that is written over on a terminal, and now and then a new one elsewhere.
class ProgressLine {
 public:
  void show(const std::string& line) {
    if (terminal_) {
      fmt::print("\r\033[K{}", line);
    } else if (Clock::now() - shown_ >= kLineInterval) {
      fmt::print("{}\n", line);
      shown_ = Clock::now();
    }
    (void)std::fflush(stdout);
  }
  void say(const std::string& line) {
    fmt::print("{}{}\n", terminal_ ? "\r\033[K" : "", line);
    (void)std::fflush(stdout);
  }

 private:
  bool terminal_ = ::isatty(STDOUT_FILENO) == 1;
  Clock::time_point shown_;
};

}  // namespace

int run_chaos_command(const ChaosCommand& command) {
  for (const char* needed : {"meshd", "meshctl"}) (void)find_binary(needed);
  ProgressLine progress;
  std::vector<std::string> steps;
  ChaosOptions options;
  options.seed = command.seed;
  options.duration = milliseconds(static_cast<long>(command.minutes * 60'000));
  options.nodes = command.nodes;
  options.backend = command.backend;
  options.on_step = [&](const std::string& line) {
    steps.push_back(line);
    if (command.show_steps) progress.say(line);
  };
  options.on_progress = [&](const std::string& line) { progress.show(line); };
  const ChaosReport report = run_chaos(options);
  if (!report.ok()) {
    progress.say(report.diagnosis);
    progress.say("The steps:");
    if (!command.show_steps)
      for (const auto& step : steps) progress.say(step);
  }
  progress.say(report.to_string());
  if (!report.ok())
    progress.say(
        fmt::format("The same order again: mesh-lab chaos --seed {} --minutes {} --nodes {} "
                    "--backend {}",
                    command.seed, command.minutes, command.nodes, command.backend));
  return report.ok() ? 0 : 1;
}

}  // namespace mesh::lab
