#include "meshd/store/kubernetes/kubernetes_admin.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "meshd/store/kubernetes/api_codec.h"
#include "meshd/store/kubernetes/policy_object.h"
#include "meshd/store/policy_codec.h"
#include "meshd/store/utf8.h"

namespace mesh {
namespace {

constexpr Duration kTotal = std::chrono::seconds(10);
constexpr std::size_t kMaxPageBytes = std::size_t{32} << 20;
constexpr int kAttempts = 3;

std::string path_of(const std::string& policy) {
  return fmt::format("{}/{}", kPoliciesPath, policy);
}

Error no_definition(const ApiFailure& failure) {
  return make_error(ErrorCode::kNotFound,
                    "{}: the cluster may not know EncryptionPolicies yet: `kubectl apply -k "
                    "packaging/kubernetes`",
                    failure.error.message);
}

}  // namespace

KubernetesAdmin::KubernetesAdmin(std::filesystem::path kubeconfig)
    : api_(http_, [path = std::move(kubeconfig)] {
        return path.empty() ? in_cluster_access() : load_kubeconfig(path);
      }) {}

Result<ApiReply> KubernetesAdmin::ask(ApiRequest request) {
  request.total = kTotal;
  request.max_answer = kMaxPageBytes;
  std::optional<Result<ApiReply>> result;
  HttpClient::Callbacks callbacks;
  callbacks.on_done = [&result](Result<ApiReply> answer) { result = std::move(answer); };
  const auto started = api_.start(std::move(request), std::move(callbacks));
  if (!started) return started.error();
  while (!result) http_.run(kTotal);  // the request itself has a limit
  return std::move(*result);
}

template <class Change, class Read>
Result<std::vector<Change>> KubernetesAdmin::list(const std::string& path, const std::string& what,
                                                  Read entry_of) {
  std::vector<Change> changes;
  std::string continue_token;
  do {
    ApiRequest request;
    request.path = path + "?limit=250";
    if (!continue_token.empty()) request.path += "&continue=" + url_encoded(continue_token);
    const auto answer = ask(std::move(request));
    if (!answer) return answer.error();
    if (answer->status != 200) {
      auto failure = api_.refusal(*answer, "list " + what);
      if (answer->status == 404 && path == kPoliciesPath) return changes;  // there are none
      return failure.error;
    }
    auto page = parse_api_list(answer->body);
    if (!page) return page.error().at(api_.server());
    for (const nlohmann::json& object : page->items) {
      using Entry = decltype(entry_of(object));
      changes.push_back({name_of(object), std::make_shared<const Entry>(entry_of(object))});
    }
    continue_token = page->continue_token;
  } while (!continue_token.empty());
  return changes;
}

Result<StoreAdmin::Contents> KubernetesAdmin::read() {
  auto nodes = list<StoreChange>("/api/v1/nodes", "Nodes", entry_of_node);
  if (!nodes) return nodes.error();
  auto policies = list<PolicyChange>(kPoliciesPath, "EncryptionPolicies", entry_of_policy);
  if (!policies) return policies.error();
  return Contents{std::move(*nodes), std::move(*policies)};
}

Result<void> KubernetesAdmin::put_node(const NodeRecord& record) {
  return make_error(
      ErrorCode::kUnsupported,
      "{}: in Kubernetes a node's record is its Node, which its kubelet makes: let the "
      "machine join the cluster",
      printable(record.name, 253));
}

Result<void> KubernetesAdmin::delete_node(const std::string& name) {
  return make_error(
      ErrorCode::kUnsupported,
      "in Kubernetes a node's record is its Node: remove it with `kubectl delete node "
      "{}`",
      printable(name, 253));
}

// Read, then written at the version that was read, so that nobody's change in between is lost.
Result<void> KubernetesAdmin::put_policy(const EncryptionPolicy& policy) {
  if (auto checked = check_node_name(policy.name); !checked) return checked;
  for (int attempt = 1;; ++attempt) {
    ApiRequest get;
    get.path = path_of(policy.name);
    const auto present = ask(std::move(get));
    if (!present) return present.error();
    nlohmann::json object = nlohmann::json::parse(format_policy_json(policy));
    ApiRequest put;
    put.content_type = "application/json";
    if (present->status == 200) {
      const auto found = parse_api_object(present->body);
      if (!found) return found.error().at(api_.server());
      if (entry_of_policy(*found) == PolicyEntry(policy)) return {};
      auto metadata = (*found)["metadata"];  // labels and annotations of others stay
      object["metadata"] = std::move(metadata);
      put.method = "PUT";
      put.path = path_of(policy.name);
    } else if (present->status == 404) {
      put.method = "POST";
      put.path = kPoliciesPath;
    } else {
      return api_.refusal(*present, "get EncryptionPolicy " + policy.name).error;
    }
    put.body = object.dump();
    const auto done = ask(std::move(put));
    if (!done) return done.error();
    if (done->status == 200 || done->status == 201) return {};
    if (done->status == 409 && attempt < kAttempts) continue;  // somebody else was quicker
    auto failure = api_.refusal(*done, "write EncryptionPolicy " + policy.name);
    if (done->status == 404) return no_definition(failure);
    return failure.error;
  }
}

Result<void> KubernetesAdmin::delete_policy(const std::string& name) {
  if (auto checked = check_node_name(name); !checked) return checked;
  ApiRequest request;
  request.method = "DELETE";
  request.path = path_of(name);
  const auto done = ask(std::move(request));
  if (!done) return done.error();
  if (done->status == 200 || done->status == 202) return {};
  if (done->status == 404)
    return make_error(ErrorCode::kNotFound, "{}: there is no EncryptionPolicy '{}'", api_.server(),
                      name);
  return api_.refusal(*done, "delete EncryptionPolicy " + name).error;
}

}  // namespace mesh
