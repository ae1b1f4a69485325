// ApiServer: the local API of one meshd, over a Unix socket (0600) and over TCP.
//
// On both: GET /v1/status, /healthz, /readyz, /metrics and / (a page for people). On the Unix
// socket only, because they act or tell more: POST /v1/count, /v1/reload, /v1/drain, /v1/resume,
// /v1/forget and /v1/allow-plaintext ({"node": NAME}), GET /v1/plan, /v1/peers/NAME, /v1/version,
// /v1/explain/NODE and /v1/explain/NODE/NODE, and what an operator does to the store: PUT and
// DELETE /v1/policies/NAME, GET /v1/policies, DELETE /v1/nodes/NAME (and …/force: though it lives).
// Answers of commands are {"result": "…"}, errors {"error": "…"}. Each listener has threads of its
// own, so nobody on the network can keep meshctl out. Nothing secret is ever served: all that is
// served is Status, and Status holds no secret. Thread rules: start() and stop() on one thread.
// ApiBackend is called on the API's threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "core/status.h"
#include "mesh/store_admin.h"
#include "meshd/daemon/http_server.h"

namespace mesh {

struct ServiceHealth {
  bool live = true;    // false: only a restart helps
  bool ready = false;  // the first pass is done and the data path is as decided
  std::string reason;  // why not live or not ready; "" when both
};

// What the API asks of the daemon. Every function is called from any of the API's threads.
class ApiBackend {
 public:
  virtual ~ApiBackend() = default;
  // The last pass's; null before the first. Never blocks.
  virtual std::shared_ptr<const Status> status() = 0;
  virtual ServiceHealth health() = 0;  // never blocks
  // Runs "reload", "plan", "drain", "resume", "forget", "allow-plaintext", "may-delete" (of the
  // argument "node"; kBusy: it lives) or "explain" (of `node` and, if given, `other`, with an
  // answer in JSON) on the loop and waits, for a bounded time (kTimeout), for its outcome in words.
  // kUnsupported: this meshd cannot do it.
  virtual Result<std::string> command(std::string_view name, const nlohmann::json& arguments) = 0;
};

struct ApiOptions {
  std::string socket;              // path of the Unix socket
  std::optional<Endpoint> listen;  // empty: no TCP. Port 0: any free one
  std::string version;
  std::function<std::string()> metrics;  // the text of /metrics; called on the API's threads
  // Called on the API's threads, one call at a time; outlives the server. Null: there is none.
  StoreAdmin* store = nullptr;
  HttpLimits limits;
};

class ApiServer {
 public:
  // `backend` outlives the server. Errors say which of api.socket and api.listen and what to do;
  // then nothing listens and no file is left.
  static Result<std::unique_ptr<ApiServer>> start(ApiOptions options, ApiBackend& backend);
  virtual ~ApiServer() = default;  // stops first
  // Ends both listeners and removes the socket's file if it is still ours. Waits for a command that
  // runs: on the loop's thread, make command() fail before. Idempotent.
  virtual void stop() = 0;
  virtual std::uint16_t tcp_port() const = 0;  // 0: no TCP
};

}  // namespace mesh
