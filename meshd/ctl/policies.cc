#include "meshd/ctl/policies.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>

#include "core/policies.h"
#include "core/text.h"
#include "mesh/node_record.h"
#include "mesh/unique_fd.h"
#include "meshd/ctl/output.h"
#include "meshd/ctl/show.h"
#include "meshd/store/policy_codec.h"

namespace mesh::ctl {
namespace {

Result<std::string> read_file(const std::string& file) {
  const bool standard = file == "-";
  const UniqueFd opened(standard ? -1 : ::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  const auto failed = [&] {
    return make_error(ErrorCode::kIo, "{}: cannot be read: {}", file,
                      std::generic_category().message(errno));
  };
  if (!standard && !opened) return failed();
  std::string text;
  std::array<char, 16384> buffer{};
  while (text.size() <= kMaxRecordBytes) {
    const ssize_t count =
        ::read(standard ? STDIN_FILENO : opened.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed();
    if (count == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  return make_error(ErrorCode::kInvalid, "{}: larger than {} bytes: split it", file,
                    kMaxRecordBytes);
}

// The column of a selector's mistake in the file, where the selector stands there as it is: on one
// line, without escapes.
std::string place_in(std::string_view text, const TextPlace& place, const std::string& selector,
                     std::size_t column) {
  std::string_view rest = text;
  for (int line = 1; line < place.line && !rest.empty(); ++line)
    rest.remove_prefix(std::min(rest.find('\n'), rest.size() - 1) + 1);
  rest.remove_prefix(
      std::min(static_cast<std::size_t>(std::max(place.column - 1, 0)), rest.size()));
  const std::size_t quote = rest.starts_with('"') || rest.starts_with('\'') ? 1 : 0;
  if (rest.substr(quote).starts_with(selector))
    return fmt::format("{}:{}", place.line,
                       static_cast<std::size_t>(place.column) + quote + column - 1);
  return fmt::format("{}:{}", place.line, place.column);
}

// What is wrong with one selector, led by its place in the file; "" when nothing is.
std::string check_selector(std::string_view file, std::string_view text, std::string_view key,
                           const std::string& selector, const TextPlace& place) {
  const auto read = Selector::parse(selector);
  if (read) return "";
  // "column N: …"
  const std::string& message = read.error().message;
  const std::size_t column = std::stoul(message.substr(message.find(' ') + 1));
  return fmt::format("{}:{}: spec.{}: {}", file, place_in(text, place, selector, column), key,
                     message);
}

// All policies of the files; what is wrong goes to `mistakes`.
std::vector<EncryptionPolicy> read_policies(const std::vector<std::string>& files,
                                            std::vector<std::string>& mistakes) {
  std::vector<EncryptionPolicy> policies;
  std::map<std::string, std::string> places;
  for (const std::string& file : files) {
    const auto text = read_file(file);
    if (!text) {
      mistakes.push_back(text.error().message);
      continue;
    }
    const std::string shown = file == "-" ? "(standard input)" : file;
    for (const auto& read : parse_policy_documents(*text, shown)) {
      if (!read) {
        mistakes.push_back(read.error().message);
        continue;
      }
      const EncryptionPolicy& policy = read->policy;
      const std::string place = fmt::format("{}:{}:{}", shown, read->name.line, read->name.column);
      const auto [other, is_new] = places.emplace(policy.name, place);
      if (!is_new)
        mistakes.push_back(fmt::format("{}: a second policy '{}': the other stands at {}", place,
                                       policy.name, other->second));
      for (std::string mistake :
           {check_selector(shown, *text, "selector", policy.selector, read->selector),
            check_selector(shown, *text, "peerSelector", policy.peer_selector,
                           read->peer_selector)})
        if (!mistake.empty()) mistakes.push_back(std::move(mistake));
      policies.push_back(policy);
    }
  }
  return policies;
}

struct Listed {
  std::vector<EncryptionPolicy> policies;  // in the order in which they count
  std::vector<std::pair<std::string, std::string>> refused;
};

Result<Listed> fetch(const Client& client) {
  const auto body = client.get("/v1/policies");
  if (!body) return body.error();
  const Json json = Json::parse(*body, nullptr, /*allow_exceptions=*/false);
  const auto not_understood = [] {
    return make_error(ErrorCode::kInvalid,
                      "meshd's answer is not understood: use a meshctl of the same version");
  };
  if (!json.is_object() || !json.contains("policies") || !json["policies"].is_array())
    return not_understood();
  Listed listed;
  for (const auto& read : parse_policy_documents(
           Json{{"kind", "List"}, {"items", json["policies"]}}.dump(), "meshd's answer")) {
    if (!read) return read.error();
    listed.policies.push_back(read->policy);
  }
  for (const Json& refused : json.value("refused", Json::array())) {
    if (!refused.is_object()) return not_understood();
    listed.refused.emplace_back(refused.value("policy", ""), refused.value("message", ""));
  }
  return listed;
}

std::string policies_table(const Listed& listed) {
  std::vector<std::vector<std::string>> rows{
      {"NAME", "ORDER", "ACTION", "SELECTOR", "PEER-SELECTOR", "MESSAGE"}};
  for (const EncryptionPolicy& policy : listed.policies)
    rows.push_back({policy.name,
                    std::isfinite(policy.order) ? fmt::format("{}", policy.order) : "-",
                    std::string(to_string(policy.action)), escape_controls(policy.selector),
                    escape_controls(policy.peer_selector), "-"});
  for (const auto& [name, message] : listed.refused)
    rows.push_back({escape_controls(name), "-", "refused", "-", "-", escape_controls(message)});
  return table(rows);
}

}  // namespace

Result<ExitCode> apply_policies(const Client& client, const std::vector<std::string>& files) {
  std::vector<std::string> mistakes;
  const std::vector<EncryptionPolicy> policies = read_policies(files, mistakes);
  if (mistakes.empty() && policies.empty()) mistakes.emplace_back("there is no policy in it");
  if (!mistakes.empty()) {
    for (const std::string& mistake : mistakes) complain(mistake);
    complain("nothing was written");
    return ExitCode::kFailed;
  }
  for (std::size_t i = 0; i < policies.size(); ++i) {
    const auto put = client.put("/v1/policies/" + escape_path(policies[i].name),
                                format_policy_json(policies[i]));
    if (!put)
      return make_error(put.error().code, "policy {}: {}{}", policies[i].name, put.error().message,
                        i == 0 ? "" : fmt::format(" ({} before it were written)", i));
    if (auto printed = print(fmt::format("policy {} stored\n", policies[i].name)); !printed)
      return std::move(printed).error();
  }
  return ExitCode::kDone;
}

Result<ExitCode> show_policies(const Client& client, const std::string& output) {
  const auto listed = fetch(client);
  if (!listed) return listed.error();
  if (output == "table") return finish(policies_table(*listed));
  for (const auto& [name, message] : listed->refused)
    complain(fmt::format("policy {} is refused: {}", name, message));
  if (output == "json") return finish(format_policy_list_json(listed->policies) + "\n");
  std::string text;
  for (const EncryptionPolicy& policy : listed->policies)
    text += (text.empty() ? "" : "---\n") + format_policy_yaml(policy);
  return finish(text);
}

Result<ExitCode> delete_policy(const Client& client, const std::string& name) {
  const auto body = client.remove("/v1/policies/" + escape_path(name));
  if (!body) return body.error();
  return finish(fmt::format("policy {} deleted\n", escape_controls(name)));
}

Result<ExitCode> explain_pair(const Client& client, const std::string& node,
                              const std::string& other, const std::string& output) {
  std::string path = "/v1/explain/" + escape_path(node);
  if (!other.empty()) path += "/" + escape_path(other);
  const auto body = client.get(path);
  if (!body) return body.error();
  Json json = Json::parse(*body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("text") || !json["text"].is_string())
    return make_error(ErrorCode::kInvalid,
                      "meshd's answer is not understood: use a meshctl of the same version");
  const std::string text = json["text"].get<std::string>();
  if (output == "text") return finish(escape_lines(text));
  json.erase("text");
  return finish(as_document(json, output));
}

}  // namespace mesh::ctl
