// mesh-lab: meshes of network namespaces on one machine, to try meshd and to take it apart.
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <map>

#include "cli/chaos.h"
#include "cli/demo.h"
#include "cli/faults.h"
#include "cli/leaks.h"
#include "lab/error.h"
#include "lab/lab.h"
#include "lab/registry.h"

namespace mesh::lab {
namespace {

// The lab meant: the one named, or the only one that is kept.
std::string chosen(const std::string& id) {
  if (!id.empty()) return id;
  std::vector<std::string> kept;
  for (const auto& lab : list_labs())
    if (lab.kept) kept.push_back(lab.id);
  if (kept.empty()) fail("no lab is up; `mesh-lab up` makes one");
  if (kept.size() > 1) fail("several labs are up: {}; choose with --id", fmt::join(kept, ", "));
  return kept.front();
}

struct UpOptions {
  std::string id;
  int nodes = 4;
  Families families = Families::kDual;
  Families underlay = Families::kDual;
  std::vector<std::string> none;
  std::string backend = "auto";
};

int up(const UpOptions& options) {
  LabSpec spec;
  spec.id = options.id;
  spec.nodes = numbered_nodes(options.nodes);
  spec.backend = options.backend;
  spec.workloads = options.families;
  spec.underlay = options.underlay;
  spec.outside_client = true;
  for (const auto& name : options.none) {
    const auto node = std::find_if(spec.nodes.begin(), spec.nodes.end(),
                                   [&](const NodeSpec& each) { return each.name == name; });
    if (node == spec.nodes.end())
      fail("--none {}: there is no such node; they are {} to {}", name, spec.nodes.front().name,
           spec.nodes.back().name);
    node->backend = "none";
  }
  Lab lab(std::move(spec));
  lab.start_all();
  for (const auto& node : lab.nodes())
    if (!wait_until([&] { return node->try_status().has_value(); }, milliseconds(15'000)))
      fail("{}: meshd does not answer; its log:\n{}", node->name(), node->log());
  lab.keep();
  fmt::print("lab {}: {} nodes are up. Try: mesh-lab exec --id {} node-a -- meshctl status\n",
             lab.id(), lab.nodes().size(), lab.id());
  return 0;
}

// Replaces this program; the caller has no other thread.
int exec(const std::string& id, const std::string& where, std::vector<std::string> command) {
  if (command.front() == "--") command.erase(command.begin());  // CLI11 leaves it in
  if (command.empty()) fail("exec: no command after --");
  const OpenPlace open = open_place(chosen(id), where);
  const std::string folder = std::filesystem::path(find_binary("meshctl")).parent_path();
  const char* path = std::getenv("PATH");
  check(::setenv("PATH", fmt::format("{}:{}", path ? path : "/usr/bin", folder).c_str(), 1),
        "PATH");
  check(::setns(open.place().network, CLONE_NEWNET), "enter " + where);
  if (open.mounts) {
    const std::string directory = std::filesystem::current_path();
    check(::setns(open.place().mounts, CLONE_NEWNS), "enter " + where);
    (void)!::chdir(directory.c_str());  // a directory in /run is not there: stay at the root
  }
  std::vector<char*> argv;
  for (auto& word : command) argv.push_back(word.data());
  argv.push_back(nullptr);
  (void)::execvp(argv[0], argv.data());
  fail("cannot run {}: {}", command[0], std::strerror(errno));
}

int status(const std::string& id) {
  const auto labs = list_labs();
  if (id.empty() && labs.empty()) {
    fmt::print("no lab is up\n");
    return 0;
  }
  for (const auto& lab : labs) {
    if (!id.empty() && lab.id != id) continue;
    fmt::print("lab {}{}\n", lab.id, lab.kept ? "" : " (in use by a running program)");
    for (const auto& node : node_names(lab.id)) {
      const OpenPlace open = open_place(lab.id, node);
      const Outcome outcome =
          run({.argv = {find_binary("meshctl"), "status"}, .place = open.place()});
      fmt::print("\n{}:\n{}{}", node, outcome.output, outcome.errors);
    }
  }
  return 0;
}

int down(const std::string& id, bool all) {
  if (!all) {
    destroy_lab(chosen(id));
    return 0;
  }
  (void)sweep_labs();
  for (const auto& lab : list_labs())
    if (lab.kept) destroy_lab(lab.id);
  return 0;
}

int sweep() {
  for (const auto& id : sweep_labs()) fmt::print("removed lab {}\n", id);
  return 0;
}

const std::map<std::string, Families> kFamilies = {
    {"v4", Families::kIpv4}, {"v6", Families::kIpv6}, {"dual", Families::kDual}};

int run_command_line(int argc, char** argv) {
  CLI::App app{"Meshes of network namespaces on one machine, with a meshd on every node."};
  app.require_subcommand(1);
  std::string id;
  const auto with_id = [&id](CLI::App* command) {
    command->add_option("--id", id, "The lab's name");
    return command;
  };

  UpOptions up_options;
  CLI::App* up_command = with_id(app.add_subcommand("up", "Make a mesh and leave it standing"));
  up_command->add_option("--nodes", up_options.nodes, "How many")->check(CLI::Range(1, 200));
  up_command->add_option("--families", up_options.families, "Of the workloads: v4, v6 or dual")
      ->transform(CLI::CheckedTransformer(kFamilies));
  up_command->add_option("--underlay", up_options.underlay, "Of the underlay: v4, v6 or dual")
      ->transform(CLI::CheckedTransformer(kFamilies));
  up_command->add_option("--none", up_options.none, "A node without WireGuard (may be repeated)");
  up_command->add_option("--backend", up_options.backend, "Of all other nodes")
      ->check(CLI::IsMember({"auto", "kernel", "userspace"}));

  CLI::App* status_command =
      with_id(app.add_subcommand("status", "What every node says of its peers"));

  std::string where;
  std::vector<std::string> command;
  CLI::App* exec_command =
      with_id(app.add_subcommand("exec", "Run a command on a node, or in NODE/w1, its workload"));
  exec_command->add_option("node", where)->required();
  exec_command->add_option("command", command)->required();
  exec_command->positionals_at_end();

  bool all = false;
  CLI::App* down_command = with_id(app.add_subcommand("down", "Remove a mesh"));
  down_command->add_flag("--all", all, "Every kept one");

  DemoOptions demo_options;
  demo_options.backend = "auto";
  CLI::App* demo_command = with_id(
      app.add_subcommand("demo", "Show a mesh with a node that has no WireGuard, and prove it"));
  demo_command->add_flag("--keep", demo_options.keep, "Leave it standing");
  demo_command->add_option("--backend", demo_options.backend, "Of the three other nodes")
      ->check(CLI::IsMember({"auto", "kernel", "userspace"}));

  FaultsOptions faults_options;
  CLI::App* faults_command = app.add_subcommand(
      "faults", "Break things one by one; measure what is lost, seen, and how long it takes");
  faults_command->add_option("--rows", faults_options.rows,
                             "Only rows whose \"group: name\" matches this regular expression");
  faults_command->add_option("--output", faults_options.output, "Write the table here (Markdown)");
  faults_command->add_flag("--append", faults_options.append,
                           "Keep what the file says of the other kind of WireGuard");
  faults_command->add_flag("--list", faults_options.list, "Only say which rows there are");
  faults_command->add_option("--backend", faults_options.backend)
      ->check(CLI::IsMember({"auto", "kernel", "userspace"}));

  LeaksOptions leaks_options;
  CLI::App* leaks_command = app.add_subcommand(
      "leaks", "Break what must encrypt in every way, and count what leaves in plaintext");
  leaks_command->add_option("--cells", leaks_options.cells,
                            "Only cells whose name matches this regular expression");
  leaks_command->add_option("--output", leaks_options.output, "Write the table here (Markdown)");
  leaks_command->add_flag("--append", leaks_options.append,
                          "Keep what the file says of the other kind of WireGuard");
  leaks_command->add_flag("--list", leaks_options.list, "Only say which cells there are");
  leaks_command->add_option("--backend", leaks_options.backend)
      ->check(CLI::IsMember({"auto", "kernel", "userspace"}));

  ChaosCommand chaos_options;
  CLI::App* chaos_command = app.add_subcommand(
      "chaos", "Break a mesh again and again in an order made from a seed, and judge it");
  chaos_command->add_option("--seed", chaos_options.seed,
                            "The same seed is the same order of acts");
  chaos_command->add_option("--minutes", chaos_options.minutes)->check(CLI::Range(0.1, 10'000.0));
  chaos_command->add_option("--nodes", chaos_options.nodes)->check(CLI::Range(2, 50));
  chaos_command->add_flag("--steps", chaos_options.show_steps,
                          "Print every step, also when all is well");
  chaos_command->add_option("--backend", chaos_options.backend)
      ->check(CLI::IsMember({"auto", "kernel", "userspace"}));

  CLI::App* sweep_command =
      app.add_subcommand("sweep", "Remove what labs left whose program was killed");

  CLI11_PARSE(app, argc, argv);
  if (*exec_command) return exec(id, where, std::move(command));
  if (*status_command) return status(id);
  const SignalGuard guard;
  if (*down_command) return down(id, all);
  if (*sweep_command) return sweep();
  if (*faults_command) return run_faults(faults_options);
  if (*leaks_command) return run_leaks(leaks_options);
  if (*chaos_command) return run_chaos_command(chaos_options);
  if (*demo_command) {
    demo_options.id = id;
    return run_demo(demo_options);
  }
  up_options.id = id;
  return up(up_options);
}

}  // namespace
}  // namespace mesh::lab

int main(int argc, char** argv) {
  try {
    return mesh::lab::run_command_line(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "mesh-lab: {}\n", error.what());
    return 1;
  }
}
