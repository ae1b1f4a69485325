#include "meshd/ctl/store_commands.h"

#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <variant>

#include "core/text.h"
#include "meshd/ctl/output.h"
#include "meshd/daemon/config.h"
#include "meshd/daemon/store_factory.h"

namespace mesh::ctl {
namespace {

Result<bool> confirmed(const NodeDeletion& deletion) {
  if (deletion.yes) return true;
  if (::isatty(STDIN_FILENO) == 0)
    return make_error(ErrorCode::kInvalid,
                      "deleting a record is asked for on a terminal: say --yes instead");
  auto asked =
      print(fmt::format("Delete the record of node {}? Every other node forgets it. [y/N] ",
                        escape_controls(deletion.node)));
  if (!asked) return asked.error();
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "yes";
}

Result<std::unique_ptr<StoreAdmin>> open_store(const std::string& file) {
  ConfigResult loaded = load_config(file);
  if (const auto* problems = std::get_if<ConfigProblems>(&loaded))
    return make_error(ErrorCode::kInvalid, "{}", describe(problems->front()));
  auto store = make_store_admin(std::get<Config>(loaded));
  if (!store) return store.error().at(file);
  return store;
}

struct Tally {
  int nodes = 0;
  int policies = 0;
  int left_out = 0;
};

void leave_out(const std::string& message, Tally& tally) {
  complain("left out: " + escape_controls(message));
  ++tally.left_out;
}

Result<Tally> copy_all(StoreAdmin& from, StoreAdmin& to) {
  const auto contents = from.read();
  if (!contents) return contents.error();
  Tally tally;
  // Policies first: no node may learn of a peer before it knows what is required of the pair.
  for (const PolicyChange& change : contents->policies) {
    if (const auto* bad = std::get_if<BadRecord>(change.entry.get())) {
      leave_out(bad->message, tally);
      continue;
    }
    if (auto put = to.put_policy(std::get<EncryptionPolicy>(*change.entry)); !put)
      return put.error();
    ++tally.policies;
  }
  for (const StoreChange& change : contents->nodes) {
    if (const auto* bad = std::get_if<BadRecord>(change.entry.get())) {
      leave_out(bad->message, tally);
      continue;
    }
    if (auto put = to.put_node(std::get<NodeRecord>(*change.entry)); !put) return put.error();
    ++tally.nodes;
  }
  return tally;
}

}  // namespace

Result<ExitCode> delete_node(const Client& client, const NodeDeletion& deletion) {
  const auto wanted = confirmed(deletion);
  if (!wanted) return wanted.error();
  if (!*wanted) {
    complain("nothing was deleted");
    return ExitCode::kFailed;
  }
  const auto answer =
      client.remove("/v1/nodes/" + escape_path(deletion.node) + (deletion.force ? "/force" : ""));
  if (!answer) return answer.error();
  if (auto printed =
          print(fmt::format("the record of node {} is deleted\n", escape_controls(deletion.node)));
      !printed)
    return printed.error();
  return ExitCode::kDone;
}

Result<ExitCode> copy_store(const StoreCopy& copy) {
  auto from = open_store(copy.from);
  if (!from) return from.error();
  auto to = open_store(copy.to);
  if (!to) return to.error();
  const auto tally = copy_all(**from, **to);
  if (!tally) return tally.error();
  if (auto printed =
          print(fmt::format("copied {} nodes and {} policies\n", tally->nodes, tally->policies));
      !printed)
    return printed.error();
  return tally->left_out == 0 ? ExitCode::kDone : ExitCode::kFailed;
}

}  // namespace mesh::ctl
