// ApiClient: requests to one API server as one identity, and what its refusals mean.
//
// One thread (that of its HttpClient). The identity is read afresh for every request, so that
// rotated tokens and certificates count.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "meshd/store/kubernetes/http_client.h"

namespace mesh {

// Why something did not work, and how long the server wants to be left alone.
struct ApiFailure {
  Error error;
  std::optional<std::chrono::seconds> retry_after = std::nullopt;
};

class ApiClient {
 public:
  using LoadAccess = std::function<Result<KubernetesAccess>()>;
  ApiClient(HttpClient& http, LoadAccess load) : http_(http), load_(std::move(load)) {}

  // An error: the identity cannot be read, and nothing was sent.
  Result<HttpClient::Id> start(ApiRequest request, HttpClient::Callbacks callbacks);
  void cancel(HttpClient::Id id) { http_.cancel(id); }

  // `doing` as in "list Nodes". The answer's status is not 200.
  ApiFailure refusal(const ApiReply& answer, std::string_view doing) const;
  const std::string& server() const { return server_; }

 private:
  HttpClient& http_;
  LoadAccess load_;
  std::string server_;  // of the last request
  std::string source_;
};

}  // namespace mesh
