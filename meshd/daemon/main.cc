// meshd: the daemon, one per node.
#include <sys/prctl.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "meshd/daemon/config.h"
#include "meshd/daemon/daemon.h"
#include "meshd/daemon/store_factory.h"
#include "meshd/daemon/version.h"

namespace {

enum ExitCode { kDone = 0, kFailed = 1, kUsage = 2 };

// The key must not end in a core file.
void forbid_core_dumps() {
  const rlimit none{0, 0};
  (void)setrlimit(RLIMIT_CORE, &none);
  (void)prctl(PR_SET_DUMPABLE, 0);
}

int fail(const mesh::Error& error) {
  fmt::print(stderr, "meshd: {}\n", error.message);
  return kFailed;
}

int run(int argc, char** argv) {
  CLI::App app("WireGuard mesh encryption manager: the daemon of one node.", "meshd");
  std::string config_file(mesh::kDefaultConfigFile);
  bool check_config = false;
  bool dry_run = false;
  bool cleanup = false;
  app.add_option("--config", config_file, "The configuration file")->capture_default_str();
  app.add_flag("--check-config", check_config,
               "Validate the configuration, print every error, exit 0 or 2");
  app.add_flag("--dry-run", dry_run,
               "Print the plan against the live kernel and store; change nothing");
  app.add_flag("--cleanup", cleanup,
               "Remove all that meshd ever made in this kernel, and nothing else; needs no store. "
               "Peers go on sending until this node's record says otherwise: `meshctl drain` first")
      ->excludes("--dry-run");
  app.set_version_flag("--version", std::string("meshd ") + std::string(mesh::kVersion));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kUsage;
  }
  auto loaded = mesh::load_config(config_file);
  if (const auto* problems = std::get_if<mesh::ConfigProblems>(&loaded)) {
    for (const mesh::ConfigProblem& problem : *problems)
      fmt::print(stderr, "{}\n", mesh::describe(problem));
    return kUsage;
  }
  auto& config = std::get<mesh::Config>(loaded);
  if (check_config) {
    // Connects to nothing: the files that the store's block names are there and make sense.
    if (auto store = mesh::make_store(config); !store) {
      fmt::print(stderr, "{}: {}\n", config_file, store.error().message);
      return kUsage;
    }
    fmt::print("{}: valid\n", config_file);
    return kDone;
  }
  if (cleanup) {
    auto removed = mesh::clean_up(config);
    if (!removed) return fail(removed.error());
    fmt::print("{}", *removed);
    return kDone;
  }
  if (dry_run) {
    auto plan = mesh::dry_run(config);
    if (!plan) return fail(plan.error());
    fmt::print("{}", *plan);
    return kDone;
  }
  auto daemon = mesh::Daemon::create(std::move(config), config_file);
  if (!daemon) return fail(daemon.error());
  auto ended = (*daemon)->run();
  return ended ? kDone : fail(ended.error());
}

}  // namespace

int main(int argc, char** argv) {
  forbid_core_dumps();
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "meshd: {}\n", error.what());
    return kFailed;
  }
}
