#include "meshd/ctl/commands.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/status_render.h"
#include "core/text.h"
#include "meshd/ctl/completion.h"
#include "meshd/ctl/output.h"
#include "meshd/ctl/show.h"

namespace mesh::ctl {
namespace {

constexpr std::chrono::milliseconds kDrainPoll(200);

// Only after a reader of the schema has accepted the text.
std::string text_as_document(const std::string& text, const std::string& output) {
  return as_document(Json::parse(text), output);
}

bool is_document(const std::string& output) { return output == "json" || output == "yaml"; }

// A field of an answer {"name": "text"}.
Result<std::string> field_of(const std::string& body, const char* name) {
  const Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (json.is_object() && json.contains(name) && json[name].is_string())
    return json[name].get<std::string>();
  return make_error(ErrorCode::kInvalid,
                    "meshd's answer has no \"{}\": use a meshctl of the same version", name);
}

// Why it cannot be said that every peer is encrypted, although none is shown that is not.
std::string why_unsure(const Status& status) {
  if (!status.error.empty()) return status.error;
  if (status.peers.empty() && !status.store.in_sync)
    return "the store does not answer: whether there are peers is not known";
  return "";
}

bool check_met(const Status& status) {
  return why_unsure(status).empty() &&
         summarize(status).of(State::kEncrypted) == status.peers.size();
}

std::string check_report(const Status& status, WallTime now) {
  std::string out = render_summary(status, now) + "\n";
  if (const std::string unsure = why_unsure(status); !unsure.empty())
    out += status.node + ": " + escape_controls(unsure) + "\n";
  for (const PeerStatus& peer : status.peers) {
    if (peer.state == State::kEncrypted) continue;
    const std::string words = reason_in_words(peer);
    fmt::format_to(std::back_inserter(out), "{}: {}{}{}\n", escape_controls(peer.node),
                   to_string(peer.state), words.empty() ? "" : ": ", escape_controls(words));
  }
  return out;
}

struct NodeLine {
  std::string node;
  std::string_view record;  // "own", "ok", "stale", "gone", "refused"
  std::vector<IpAddress> addresses;
  std::vector<Cidr> cidrs;
  std::string message;
  std::optional<bool> alive = {};  // as the store says; empty: it does not
  std::optional<WallTime> silent_since = {};
};

std::string_view record_of(const PeerStatus& peer) {
  if (peer.reason == Reason::kNoRecord) return "gone";
  if (peer.reason == Reason::kInvalidRecord) return "stale";  // the last good version is in force
  return "ok";
}

std::vector<NodeLine> node_lines(const Status& status) {
  std::vector<NodeLine> lines{
      {status.node, "own", status.addresses, status.cidrs, status.store.error}};
  for (const PeerStatus& peer : status.peers) {
    const std::string_view record = record_of(peer);
    lines.push_back({peer.node, record, peer.addresses, peer.cidrs,
                     record == "ok" ? "" : reason_in_words(peer), peer.alive, peer.silent_since});
  }
  for (const RefusedRecord& refused : status.refused_records)
    lines.push_back({refused.node, "refused", {}, {}, refused.message});
  std::ranges::sort(lines, {}, &NodeLine::node);
  return lines;
}

template <class T>
std::vector<std::string> texts_of(const std::vector<T>& values) {
  std::vector<std::string> texts;
  texts.reserve(values.size());
  for (const T& value : values) texts.push_back(value.to_string());
  return texts;
}

std::string alive_in_words(const NodeLine& line, WallTime now) {
  if (!line.alive) return "-";
  if (*line.alive) return "yes";
  // A mark of the future is one whose time nobody can read.
  const bool known = line.silent_since && *line.silent_since <= now;
  return known ? "until " + format_age(line.silent_since, now) : "no";
}

std::string nodes_table(const std::vector<NodeLine>& lines, WallTime now) {
  std::vector<std::vector<std::string>> rows{
      {"NODE", "RECORD", "ALIVE", "ADDRESSES", "CIDRS", "MESSAGE"}};
  const auto dash = [](const std::string& text) { return text.empty() ? "-" : text; };
  for (const NodeLine& line : lines)
    rows.push_back({escape_controls(line.node), std::string(line.record), alive_in_words(line, now),
                    dash(fmt::format("{}", fmt::join(texts_of(line.addresses), ","))),
                    dash(fmt::format("{}", fmt::join(texts_of(line.cidrs), ","))),
                    dash(escape_controls(line.message))});
  return table(rows);
}

Json nodes_document(const std::vector<NodeLine>& lines) {
  Json nodes = Json::array();
  for (const NodeLine& line : lines)
    nodes.push_back(
        {{"node", line.node},
         {"record", line.record},
         {"alive", line.alive ? Json(*line.alive) : Json()},
         {"silentSince", line.silent_since ? Json(format_time(*line.silent_since)) : Json()},
         {"addresses", texts_of(line.addresses)},
         {"cidrs", texts_of(line.cidrs)},
         {"message", line.message}});
  return nodes;
}

struct Fetched {
  std::string text;
  Status status;
};

Result<Fetched> fetch_status(const Client& client) {
  auto text = client.get("/v1/status");
  if (!text) return std::move(text).error();
  auto status = status_from_json(*text);
  if (!status) return std::move(status).error().at("meshd's answer");
  return Fetched{*std::move(text), *std::move(status)};
}

Result<ExitCode> post_command(const Client& client, const std::string& name,
                              const std::string& arguments) {
  const auto body = client.post("/v1/" + name, arguments);
  if (!body) return body.error();
  const auto outcome = field_of(*body, "result");
  if (!outcome) return outcome.error();
  return finish(outcome->empty() ? name + ": done\n" : escape_lines(*outcome));
}

}  // namespace

Result<ExitCode> show_status(const Client& client, const StatusOptions& options) {
  const auto fetched = fetch_status(client);
  if (!fetched) return fetched.error();
  const Status& status = fetched->status;
  const WallTime now = std::chrono::system_clock::now();
  const bool met = check_met(status);
  const ExitCode code = options.check && !met ? ExitCode::kCheckNotMet : ExitCode::kDone;
  if (is_document(options.output))
    return finish(text_as_document(fetched->text, options.output), code);
  if (options.check) return finish(check_report(status, now), code);
  return finish(render_table(status, {.wide = options.output == "wide",
                                      .color = use_color(options.color),
                                      .now = now,
                                      .width = terminal_width()}),
                code);
}

Result<ExitCode> show_peer(const Client& client, const std::string& node,
                           const std::string& output) {
  const auto text = client.get("/v1/peers/" + escape_path(node));
  if (!text) return text.error();
  const auto peer = peer_from_json(*text);
  if (!peer) return peer.error().at("meshd's answer");
  if (is_document(output)) return finish(text_as_document(*text, output));
  return finish(render_peer(*peer, std::chrono::system_clock::now()));
}

Result<ExitCode> show_nodes(const Client& client, const std::string& output) {
  const auto fetched = fetch_status(client);
  if (!fetched) return fetched.error();
  const std::vector<NodeLine> lines = node_lines(fetched->status);
  if (is_document(output)) return finish(as_document(nodes_document(lines), output));
  if (output == "table") return finish(nodes_table(lines, std::chrono::system_clock::now()));
  std::string names;
  for (const NodeLine& line : lines) names += escape_controls(line.node) + "\n";
  return finish(names);
}

Result<ExitCode> show_graph(const Client& client) {
  const auto fetched = fetch_status(client);
  if (!fetched) return fetched.error();
  return finish(render_graph(fetched->status));
}

Result<ExitCode> show_plan(const Client& client) {
  const auto body = client.get("/v1/plan");
  if (!body) return body.error();
  const auto plan = field_of(*body, "result");
  if (!plan) return plan.error();
  return finish(plan->empty() ? "nothing to change\n" : escape_lines(*plan));
}

Result<ExitCode> run_command(const Client& client, const std::string& name) {
  return post_command(client, name, "");
}

Result<ExitCode> allow_plaintext(const Client& client, const std::string& node) {
  return post_command(client, "allow-plaintext",
                      Json{{"node", node}}.dump(-1, ' ', false, Json::error_handler_t::replace));
}

Result<ExitCode> forget_node(const Client& client, const std::string& node) {
  const auto body =
      client.post("/v1/forget", nlohmann::json{{"node", node}}.dump(
                                    -1, ' ', false, nlohmann::json::error_handler_t::replace));
  if (!body) return body.error();
  const auto outcome = field_of(*body, "result");
  if (!outcome) return outcome.error();
  return finish(escape_lines(*outcome));
}

Result<ExitCode> drain(const Client& client, const DrainOptions& options) {
  if (const auto begun = client.post("/v1/drain"); !begun) return begun.error();
  const auto deadline = std::chrono::steady_clock::now() + options.timeout;
  for (;;) {
    const auto fetched = fetch_status(client);
    if (!fetched) return fetched.error();
    const DrainStatus& now = fetched->status.drain;
    if (now.phase == DrainPhase::kLeft) return finish("left the mesh\n");
    if (now.phase == DrainPhase::kNo)
      return make_error(ErrorCode::kBusy, "somebody resumed the node before it had left the mesh");
    if (!options.wait) return finish("leaving the mesh\n");
    if (std::chrono::steady_clock::now() >= deadline)
      return make_error(ErrorCode::kTimeout,
                        "the node goes on leaving the mesh, but has not left it after {} s; it "
                        "waits for {} (`meshctl resume` takes it back)",
                        options.timeout.count(), escape_controls(now.waits_for));
    std::this_thread::sleep_for(kDrainPoll);
  }
}

Result<ExitCode> show_version(const Client& client) {
  if (auto printed = print("meshctl " MESHD_VERSION "\n"); !printed)
    return std::move(printed).error();
  const auto body = client.get("/v1/version");
  if (!body) return body.error();
  const auto version = field_of(*body, "version");
  if (!version) return version.error();
  return finish(fmt::format("meshd {}\n", escape_controls(*version)));
}

Result<ExitCode> show_completion(const std::string& shell) {
  return finish(completion_script(shell));
}

}  // namespace mesh::ctl
