#include "meshd/daemon/api_server.h"

#include <array>
#include <mutex>
#include <nlohmann/json.hpp>
#include <span>

#include "core/policies.h"
#include "meshd/daemon/listen_socket.h"
#include "meshd/daemon/status_page.h"
#include "meshd/store/policy_codec.h"

namespace mesh {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kJsonType = "application/json";
constexpr const char* kPlainType = "text/plain; charset=utf-8";
constexpr const char* kHtmlType = "text/html; charset=utf-8";
constexpr const char* kMetricsType = "text/plain; version=0.0.4; charset=utf-8";
constexpr std::string_view kPeerPrefix = "/v1/peers/";
constexpr std::string_view kPolicyPrefix = "/v1/policies/";
constexpr std::string_view kExplainPrefix = "/v1/explain/";
constexpr std::string_view kNodePrefix = "/v1/nodes/";

std::string text_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

HttpReply failure(int status, std::string_view message) {
  return {status, kJsonType, text_of({{"error", message}}), ""};
}

std::string_view word_of(int status) {
  switch (status) {
    case 400:
      return "this is not a request of HTTP/1.1";
    case 413:
      return "the request is too large";
    case 414:
      return "the path is too long";
    case 415:
      return "a request must not be compressed";
    default:
      return "meshd could not answer";
  }
}

int status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return 400;
    case ErrorCode::kPermission:
      return 403;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kExists:
    case ErrorCode::kBusy:
      return 409;
    case ErrorCode::kUnsupported:
      return 501;
    case ErrorCode::kUnavailable:
    case ErrorCode::kInterrupted:
      return 503;
    case ErrorCode::kTimeout:
      return 504;
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      break;
  }
  return 500;
}

HttpReply failure(const Error& error) { return failure(status_of(error.code), error.message); }

// The routes: pure functions of the backend, so that a table can name them all.
class Routes {
 public:
  Routes(const ApiOptions& options, ApiBackend& backend) : options_(options), backend_(backend) {}

  // `local`: the request came by the Unix socket.
  HttpReply answer(const HttpRequest& request, bool local) {
    std::string methods;
    for (const Route& route : kRoutes) {
      if ((route.local && !local) || !matches(route, request.path)) continue;
      if (route.method == request.method) return (this->*route.handler)(request);
      methods.append(methods.empty() ? "" : ", ").append(route.method);
    }
    if (methods.empty()) return failure(404, fmt::format("meshd has no {} here", request.path));
    HttpReply reply = failure(405, fmt::format("{} answers {} only", request.path, methods));
    reply.allow = methods;
    return reply;
  }

 private:
  using Handler = HttpReply (Routes::*)(const HttpRequest&);
  struct Route {
    std::string_view method;
    std::string_view path;  // one that ends in '/', other than "/", stands for all below it
    bool local;
    Handler handler;
  };
  static const std::array<Route, 19> kRoutes;

  static bool matches(const Route& route, std::string_view path) {
    const bool below = route.path.size() > 1 && route.path.ends_with('/');
    return below ? path.starts_with(route.path) : route.path == path;
  }

  HttpReply with_status(const std::function<HttpReply(const Status&)>& use) {
    const std::shared_ptr<const Status> status = backend_.status();
    if (!status) return failure(503, "meshd is starting and has no status yet; try again");
    return use(*status);
  }

  HttpReply get_status(const HttpRequest&) {
    return with_status([](const Status& status) {
      return HttpReply{200, kJsonType, to_json_text(status) + "\n", ""};
    });
  }

  HttpReply get_peer(const HttpRequest& request) {
    return with_status([&](const Status& status) {
      const std::string_view name = std::string_view(request.path).substr(kPeerPrefix.size());
      if (const PeerStatus* peer = find_peer(status, name))
        return HttpReply{200, kJsonType, text_of(to_json(*peer)), ""};
      for (const RefusedRecord& record : status.refused_records)
        if (record.node == name)
          return failure(
              404, fmt::format("{} is no peer: its record is refused: {}", name, record.message));
      return failure(404, fmt::format("{} has no peer '{}'", status.node, name));
    });
  }

  HttpReply get_page(const HttpRequest&) {
    return with_status([](const Status& status) {
      return HttpReply{200, kHtmlType, render_page(status, std::chrono::system_clock::now()), ""};
    });
  }

  HttpReply get_live(const HttpRequest&) {
    const ServiceHealth health = backend_.health();
    return health.live ? HttpReply{200, kPlainType, "ok\n", ""} : failure(503, health.reason);
  }

  HttpReply get_ready(const HttpRequest&) {
    const ServiceHealth health = backend_.health();
    return health.live && health.ready ? HttpReply{200, kPlainType, "ok\n", ""}
                                       : failure(503, health.reason);
  }

  HttpReply get_metrics(const HttpRequest&) {
    if (!options_.metrics) return failure(501, "this meshd has no metrics");
    return {200, kMetricsType, options_.metrics(), ""};
  }

  HttpReply get_version(const HttpRequest&) {
    const std::shared_ptr<const Status> status = backend_.status();
    return {200, kJsonType,
            text_of({{"version", options_.version}, {"node", status ? status->node : ""}}), ""};
  }

  // The last part of the path is the command's name.
  HttpReply run_command(const HttpRequest& request) {
    nlohmann::json arguments = nlohmann::json::object();
    if (!request.body.empty()) {
      arguments = nlohmann::json::parse(request.body, nullptr, /*allow_exceptions=*/false);
      if (!arguments.is_object())
        return failure(400, "the body must be a JSON object of arguments, or empty");
    }
    const std::string_view name =
        std::string_view(request.path).substr(request.path.rfind('/') + 1);
    const Result<std::string> outcome = backend_.command(name, arguments);
    if (!outcome) return failure(outcome.error());
    return {200, kJsonType, text_of({{"result", *outcome}}), ""};
  }

  HttpReply get_explanation(const HttpRequest& request) {
    const std::string_view nodes = name_in(request, kExplainPrefix);
    const std::size_t end = nodes.find('/');
    nlohmann::json arguments = {{"node", nodes.substr(0, end)}};
    if (end != std::string_view::npos) arguments["other"] = nodes.substr(end + 1);
    const Result<std::string> outcome = backend_.command("explain", arguments);
    if (!outcome) return failure(outcome.error());
    return {200, kJsonType, *outcome + "\n", ""};
  }

  // ---- the store ----

  static std::string_view name_in(const HttpRequest& request, std::string_view prefix) {
    return std::string_view(request.path).substr(prefix.size());
  }

  HttpReply get_policies(const HttpRequest&) {
    return with_store([](StoreAdmin& store) -> Result<Json> {
      const auto contents = store.read();
      if (!contents) return contents.error();
      StoreUpdate update;
      update.policies = contents->policies;
      Policies read;
      (void)read.apply(update);
      Json policies = Json::array();
      for (const Policy* policy : read.ordered())
        policies.push_back(Json::parse(format_policy_json(policy->document)));
      Json refused = Json::array();
      for (const auto& [name, policy] : read.refused())
        refused.push_back({{"policy", name}, {"message", policy.message}});
      return Json{{"policies", std::move(policies)}, {"refused", std::move(refused)}};
    });
  }

  HttpReply put_policy(const HttpRequest& request) {
    const auto policy =
        parse_policy_json(request.body, "the policy", name_in(request, kPolicyPrefix));
    if (!policy) return failure(policy.error());
    if (auto compiled = Policy::compile(*policy); !compiled) return failure(compiled.error());
    return with_store([&](StoreAdmin& store) -> Result<Json> {
      if (auto put = store.put_policy(*policy); !put) return put.error();
      return Json{{"result", "policy " + policy->name + " stored"}};
    });
  }

  HttpReply delete_policy(const HttpRequest& request) {
    const std::string name(name_in(request, kPolicyPrefix));
    return with_store([&](StoreAdmin& store) -> Result<Json> {
      if (auto deleted = store.delete_policy(name); !deleted) return deleted.error();
      return Json{{"result", "policy " + name + " deleted"}};
    });
  }

  HttpReply delete_node(const HttpRequest& request) {
    constexpr std::string_view kForce = "/force";
    std::string name(name_in(request, kNodePrefix));
    if (name.ends_with(kForce)) {
      name.resize(name.size() - kForce.size());
    } else if (auto may = backend_.command("may-delete", {{"node", name}}); !may) {
      return failure(may.error());
    }
    return with_store([&](StoreAdmin& store) -> Result<Json> {
      if (auto deleted = store.delete_node(name); !deleted) return deleted.error();
      return Json{{"result", "record of node " + name + " deleted"}};
    });
  }

  // Here, on the API's thread, which may block: the loop goes on meanwhile.
  HttpReply with_store(const std::function<Result<Json>(StoreAdmin&)>& act) {
    if (options_.store == nullptr) return failure(501, "this meshd cannot write to its store");
    const std::lock_guard alone(store_mutex_);
    const Result<Json> outcome = act(*options_.store);
    if (!outcome) return failure(outcome.error());
    return {200, kJsonType, text_of(*outcome), ""};
  }

  const ApiOptions& options_;
  ApiBackend& backend_;
  std::mutex store_mutex_;
};

const std::array<Routes::Route, 19> Routes::kRoutes{{
    {"GET", "/", false, &Routes::get_page},
    {"GET", "/healthz", false, &Routes::get_live},
    {"GET", "/readyz", false, &Routes::get_ready},
    {"GET", "/metrics", false, &Routes::get_metrics},
    {"GET", "/v1/status", false, &Routes::get_status},
    {"GET", kPeerPrefix, true, &Routes::get_peer},
    {"GET", "/v1/version", true, &Routes::get_version},
    {"GET", "/v1/plan", true, &Routes::run_command},
    {"GET", kExplainPrefix, true, &Routes::get_explanation},
    {"POST", "/v1/count", true, &Routes::run_command},
    {"POST", "/v1/reload", true, &Routes::run_command},
    {"POST", "/v1/drain", true, &Routes::run_command},
    {"POST", "/v1/resume", true, &Routes::run_command},
    {"POST", "/v1/allow-plaintext", true, &Routes::run_command},
    {"POST", "/v1/forget", true, &Routes::run_command},
    {"GET", "/v1/policies", true, &Routes::get_policies},
    {"PUT", kPolicyPrefix, true, &Routes::put_policy},
    {"DELETE", kPolicyPrefix, true, &Routes::delete_policy},
    {"DELETE", kNodePrefix, true, &Routes::delete_node},
}};

class TwoListenerServer final : public ApiServer {
 public:
  TwoListenerServer(ApiOptions options, ApiBackend& backend)
      : options_(std::move(options)), routes_(options_, backend) {}
  TwoListenerServer(const TwoListenerServer&) = delete;
  TwoListenerServer(TwoListenerServer&&) = delete;
  TwoListenerServer& operator=(const TwoListenerServer&) = delete;
  TwoListenerServer& operator=(TwoListenerServer&&) = delete;
  ~TwoListenerServer() override { TwoListenerServer::stop(); }

  Result<void> open() {
    auto unix_listener = UnixListener::open(options_.socket);
    if (!unix_listener) return std::move(unix_listener).error();
    unix_ = *std::move(unix_listener);
    if (auto served = serve(unix_.fd(), /*local=*/true, unix_server_); !served) return served;
    if (!options_.listen) return {};
    auto tcp = listen_tcp(*options_.listen);
    if (!tcp) return std::move(tcp).error();
    tcp_ = *std::move(tcp);
    port_ = port_of(tcp_.get());
    return serve(tcp_.get(), /*local=*/false, tcp_server_);
  }

  void stop() override {
    tcp_server_.reset();
    tcp_.reset();
    unix_server_.reset();
    unix_.close();
  }

  std::uint16_t tcp_port() const override { return port_; }

 private:
  Result<void> serve(int listener, bool local, std::unique_ptr<HttpServer>& server) {
    auto started = HttpServer::start(
        listener,
        [this, local](const HttpRequest& request) { return routes_.answer(request, local); },
        [](int status) { return failure(status, word_of(status)); }, options_.limits);
    if (!started) return std::move(started).error();
    server = *std::move(started);
    return {};
  }

  ApiOptions options_;
  Routes routes_;
  UnixListener unix_;
  UniqueFd tcp_;
  std::uint16_t port_ = 0;
  std::unique_ptr<HttpServer> unix_server_;  // after the sockets they serve: they die first
  std::unique_ptr<HttpServer> tcp_server_;
};

}  // namespace

Result<std::unique_ptr<ApiServer>> ApiServer::start(ApiOptions options, ApiBackend& backend) {
  auto server = std::make_unique<TwoListenerServer>(std::move(options), backend);
  if (auto opened = server->open(); !opened) return std::move(opened).error();
  return std::unique_ptr<ApiServer>(std::move(server));
}

}  // namespace mesh
