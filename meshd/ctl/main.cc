// meshctl: asks the local meshd, over its Unix socket, and shows the answer.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>

#include "meshd/ctl/commands.h"
#include "meshd/ctl/output.h"
#include "meshd/ctl/policies.h"
#include "meshd/ctl/store_commands.h"

namespace mesh::ctl {
namespace {

constexpr double kReadSeconds = 10;
constexpr double kActSeconds = 60;

using Seconds = std::chrono::duration<double>;

std::chrono::milliseconds milliseconds_of(double seconds) {
  return std::chrono::round<std::chrono::milliseconds>(Seconds(seconds));
}

// The command line as values, and the command it chose.
struct Arguments {
  std::string socket = "/run/meshd/meshd.sock";
  std::optional<double> timeout;
  double interval = 2;
  StatusOptions status;
  DrainOptions drain;
  double patience = 120;
  std::string node;
  std::string peer_output = "text";
  std::string nodes_output = "table";
  std::vector<std::string> files;
  std::string policy;
  std::string policies_output = "table";
  std::string other_node;
  std::string explain_output = "text";
  std::string shell;
  NodeDeletion deletion;
  StoreCopy copy;
  bool changes = false;  // the command makes meshd act, and waits for the outcome
  std::function<Result<ExitCode>(const Client&)> chosen;
};

void add_status(CLI::App& app, Arguments& arguments) {
  CLI::App* command = app.add_subcommand("status", "this node and its peers");
  StatusOptions& options = arguments.status;
  command->add_option("-o,--output", options.output, "table, wide, json or yaml")
      ->check(CLI::IsMember({"table", "wide", "json", "yaml"}));
  command->add_option("--color", options.color, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}));
  CLI::Option* check =
      command->add_flag("--check", options.check, "exit 0 only if every peer is encrypted, else 3");
  CLI::Option* watch = command->add_flag("--watch", options.watch, "redraw until interrupted");
  command->add_option("--interval", arguments.interval, "seconds between redraws")
      ->check(CLI::Range(0.1, 86400.0))
      ->needs(watch);
  watch->excludes(check);
  command->callback([&arguments] {
    if (arguments.status.watch && arguments.status.output != "table" &&
        arguments.status.output != "wide")
      throw CLI::ValidationError("--watch", "shows -o table or -o wide only");
    arguments.chosen = [&arguments](const Client& client) {
      StatusOptions chosen = arguments.status;
      chosen.interval = milliseconds_of(arguments.interval);
      return chosen.watch ? watch_status(client, chosen) : show_status(client, chosen);
    };
  });
}

void add_leaks(CLI::App& app, Arguments& arguments) {
  CLI::App* command =
      app.add_subcommand("leaks", "who sends how much unencrypted, highest rate first");
  StatusOptions& options = arguments.status;
  command->add_option("-o,--output", options.output, "table, wide, json or yaml")
      ->check(CLI::IsMember({"table", "wide", "json", "yaml"}));
  command->add_option("--color", options.color, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}));
  CLI::Option* check =
      command->add_flag("--check", options.check, "exit 3 if anything leaks between the samples");
  CLI::Option* watch = command->add_flag("--watch", options.watch, "redraw until interrupted");
  command
      ->add_option("--interval", arguments.interval, "seconds between the two samples (default: 2)")
      ->check(CLI::Range(0.1, 86400.0));
  watch->excludes(check);
  command->callback([&arguments] {
    arguments.chosen = [&arguments](const Client& client) {
      StatusOptions chosen = arguments.status;
      chosen.interval = milliseconds_of(arguments.interval);
      return chosen.watch ? watch_leaks(client, chosen) : show_leaks(client, chosen);
    };
  });
}

void add_peer(CLI::App& app, Arguments& arguments) {
  CLI::App* command = app.add_subcommand("peer", "all that is known of one peer");
  command->add_option("NODE", arguments.node, "the peer's name")->required();
  command->add_option("-o,--output", arguments.peer_output, "text, json or yaml")
      ->check(CLI::IsMember({"text", "json", "yaml"}));
  command->callback([&arguments] {
    arguments.chosen = [&arguments](const Client& client) {
      return show_peer(client, arguments.node, arguments.peer_output);
    };
  });
}

void add_nodes(CLI::App& app, Arguments& arguments) {
  CLI::App* command =
      app.add_subcommand("nodes", "the records of the store, and which are refused and why");
  command->add_option("-o,--output", arguments.nodes_output, "table, json, yaml or name")
      ->check(CLI::IsMember({"table", "json", "yaml", "name"}));
  command->callback([&arguments] {
    arguments.chosen = [&arguments](const Client& client) {
      return show_nodes(client, arguments.nodes_output);
    };
  });
}

void add_policies(CLI::App& app, Arguments& arguments) {
  CLI::App* apply = app.add_subcommand("apply", "put encryption policies into the store");
  apply->add_option("-f,--file", arguments.files, "a file of policies, YAML or JSON; - is stdin")
      ->required();
  apply->callback([&arguments] {
    arguments.changes = true;
    arguments.chosen = [&arguments](const Client& client) {
      return apply_policies(client, arguments.files);
    };
  });
  CLI::App* get = app.add_subcommand("get", "what the store holds")->require_subcommand(1);
  CLI::App* policies = get->add_subcommand("policies", "the encryption policies, first come first");
  policies->add_option("-o,--output", arguments.policies_output, "table, json or yaml")
      ->check(CLI::IsMember({"table", "json", "yaml"}));
  policies->callback([&arguments] {
    arguments.chosen = [&arguments](const Client& client) {
      return show_policies(client, arguments.policies_output);
    };
  });
  CLI::App* remove = app.add_subcommand("delete", "remove from the store")->require_subcommand(1);
  CLI::App* policy = remove->add_subcommand("policy", "an encryption policy");
  policy->add_option("NAME", arguments.policy, "its name")->required();
  policy->callback([&arguments] {
    arguments.changes = true;
    arguments.chosen = [&arguments](const Client& client) {
      return delete_policy(client, arguments.policy);
    };
  });
}

void add_explain(CLI::App& app, Arguments& arguments) {
  CLI::App* command =
      app.add_subcommand("explain", "which policy decides for a pair of nodes, and why");
  command->add_option("NODE", arguments.node, "one of the pair")->required();
  command->add_option("OTHER", arguments.other_node, "the other (default: this node)");
  command->add_option("-o,--output", arguments.explain_output, "text, json or yaml")
      ->check(CLI::IsMember({"text", "json", "yaml"}));
  command->callback([&arguments] {
    arguments.chosen = [&arguments](const Client& client) {
      return explain_pair(client, arguments.node, arguments.other_node, arguments.explain_output);
    };
  });
}

void add_simple(CLI::App& app, Arguments& arguments) {
  const auto add = [&](const char* name, const char* help, auto function) {
    app.add_subcommand(name, help)->callback([&arguments, function] {
      arguments.chosen = function;
    });
  };
  add("plan", "what meshd would change now", show_plan);
  add("graph", "this node's view of the mesh in DOT, plaintext edges red", show_graph);
  add("version", "the versions of meshctl and meshd", show_version);
  const auto add_command = [&](const std::string& name, const char* help) {
    app.add_subcommand(name, help)->callback([&arguments, name] {
      arguments.changes = true;
      arguments.chosen = [name](const Client& client) { return run_command(client, name); };
    });
  };
  add_command("reload", "read the configuration again");
  add_command("resume", "come back after a drain");
}

void add_allow_plaintext(CLI::App& app, Arguments& arguments) {
  CLI::App* command = app.add_subcommand(
      "allow-plaintext", "accept that a peer that was encrypted is so no more, and lift its block");
  command->add_option("NODE", arguments.node, "the peer's name")->required();
  command->callback([&arguments] {
    arguments.changes = true;
    arguments.chosen = [&arguments](const Client& client) {
      return allow_plaintext(client, arguments.node);
    };
  });
}

void add_drain(CLI::App& app, Arguments& arguments) {
  CLI::App* command = app.add_subcommand("drain", "leave the mesh without losing a packet");
  command->add_flag("!--no-wait", arguments.drain.wait,
                    "begin only; `meshctl status` tells the end");
  command
      ->add_option("--patience", arguments.patience,
                   "seconds to wait until no peer sends through the tunnel any more")
      ->check(CLI::Range(1.0, 86400.0))
      ->capture_default_str();
  command->callback([&arguments] {
    arguments.changes = true;
    arguments.chosen = [&arguments](const Client& client) {
      DrainOptions chosen = arguments.drain;
      chosen.timeout = std::chrono::round<std::chrono::seconds>(Seconds(arguments.patience));
      return drain(client, chosen);
    };
  });
}

void add_node(CLI::App& app, Arguments& arguments) {
  CLI::App* group = app.add_subcommand("node", "acts on one node's record in the store");
  group->require_subcommand(1);
  CLI::App* command = group->add_subcommand(
      "delete", "delete the record of a node that is gone for good; asks before");
  command->add_option("NODE", arguments.deletion.node, "its name")->required();
  command->add_flag("-y,--yes", arguments.deletion.yes, "do not ask");
  command->add_flag("--force", arguments.deletion.force, "though it seems to live");
  command->callback([&arguments] {
    arguments.changes = true;
    arguments.chosen = [&arguments](const Client& client) {
      return delete_node(client, arguments.deletion);
    };
  });
  CLI::App* forget = group->add_subcommand(
      "forget", "free the prefixes of a node whose record is gone and that must encrypt, here");
  forget->add_option("NODE", arguments.node, "its name")->required();
  forget->callback([&arguments] {
    arguments.changes = true;
    arguments.chosen = [&arguments](const Client& client) {
      return forget_node(client, arguments.node);
    };
  });
}

void add_store(CLI::App& app, Arguments& arguments) {
  CLI::App* group = app.add_subcommand("store", "acts on whole stores");
  group->require_subcommand(1);
  CLI::App* command = group->add_subcommand(
      "copy", "copy nodes and policies from one store to another; asks no meshd");
  command->add_option("--from", arguments.copy.from, "a meshd.yaml that names the store to read")
      ->required();
  command->add_option("--to", arguments.copy.to, "a meshd.yaml that names the store to write")
      ->required();
  command->callback([&arguments] {
    arguments.chosen = [&arguments](const Client&) { return copy_store(arguments.copy); };
  });
}

void add_completion(CLI::App& app, Arguments& arguments) {
  CLI::App* command = app.add_subcommand("completion", "print the completion script for a shell");
  command->add_option("SHELL", arguments.shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([&arguments] {
    arguments.chosen = [&arguments](const Client&) { return show_completion(arguments.shell); };
  });
}

void describe(CLI::App& app, Arguments& arguments) {
  app.description("Shows and steers the meshd of this machine.");
  app.footer("Exit codes: 0 done, 1 failed (stderr says why), 2 wrong usage, 3 check not met.");
  app.set_version_flag("--version", "meshctl " MESHD_VERSION);
  app.require_subcommand(1);
  app.fallthrough();  // --socket may stand after the command, too
  app.add_option("--socket", arguments.socket, "the Unix socket of meshd")
      ->envname("MESHD_SOCKET")
      ->capture_default_str();
  app.add_option("--timeout", arguments.timeout,
                 "seconds to wait for meshd (default: 10; 60 for what changes something)")
      ->check(CLI::Range(0.1, 86400.0));
  add_status(app, arguments);
  add_leaks(app, arguments);
  add_peer(app, arguments);
  add_nodes(app, arguments);
  add_policies(app, arguments);
  add_explain(app, arguments);
  add_simple(app, arguments);
  add_drain(app, arguments);
  add_allow_plaintext(app, arguments);
  add_node(app, arguments);
  add_store(app, arguments);
  add_completion(app, arguments);
}

int run(int argc, char** argv) {
  (void)::signal(SIGPIPE, SIG_IGN);  // a reader that left is a failed write, not a silent death
  Arguments arguments;
  CLI::App app("", "meshctl");
  describe(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool asked_for_help = error.get_exit_code() == 0;
    (void)app.exit(error);
    return static_cast<int>(asked_for_help ? ExitCode::kDone : ExitCode::kUsage);
  }
  const double timeout = arguments.timeout.value_or(arguments.changes ? kActSeconds : kReadSeconds);
  const Client client(arguments.socket, milliseconds_of(timeout));
  const Result<ExitCode> code = arguments.chosen(client);
  if (code) return static_cast<int>(*code);
  complain(code.error().message);
  return static_cast<int>(ExitCode::kFailed);
}

}  // namespace
}  // namespace mesh::ctl

int main(int argc, char** argv) {
  try {
    return mesh::ctl::run(argc, argv);
  } catch (const std::exception& error) {
    mesh::ctl::complain(error.what());
    return static_cast<int>(mesh::ctl::ExitCode::kFailed);
  }
}
