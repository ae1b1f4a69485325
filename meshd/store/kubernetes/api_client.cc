#include "meshd/store/kubernetes/api_client.h"

#include <fmt/format.h>

#include "meshd/store/kubernetes/api_codec.h"
#include "meshd/store/utf8.h"

namespace mesh {

Result<HttpClient::Id> ApiClient::start(ApiRequest request, HttpClient::Callbacks callbacks) {
  const auto access = load_();
  if (!access) return access.error();
  const auto token = current_token(*access);
  if (!token) return token.error();
  server_ = access->server;
  source_ = access->source;
  return http_.start(*access, *token, std::move(request), std::move(callbacks));
}

ApiFailure ApiClient::refusal(const ApiReply& answer, std::string_view doing) const {
  const ApiStatus status = parse_api_status(answer.body);
  const std::string why = status.message.empty() ? "" : ": " + status.message;
  ApiFailure failure;
  failure.retry_after = answer.retry_after ? answer.retry_after : status.retry_after;
  const auto say = [&](ErrorCode code, const std::string& what) {
    failure.error = make_error(code, "{}: {} ({}){}", server_, what, answer.status, why);
    return failure;
  };
  if (answer.status == 401)
    return say(
        ErrorCode::kPermission,
        fmt::format("does not know who we are: renew the token or certificate of {}", source_));
  if (answer.status == 403)
    return say(ErrorCode::kPermission,
               fmt::format("does not let us {}: give the identity of {} the rights in "
                           "packaging/kubernetes/rbac.yaml",
                           doing, source_));
  if (answer.status >= 300 && answer.status < 400)
    return say(
        ErrorCode::kInvalid,
        fmt::format("sends us elsewhere, to '{}', and is no API server: correct the server's "
                    "address in {}",
                    answer.location, source_));
  if (answer.status == 404)
    return say(ErrorCode::kNotFound, fmt::format("cannot {}: there is no such thing", doing));
  if (answer.status == 429)
    return say(ErrorCode::kUnavailable, fmt::format("is overloaded, and cannot {} now", doing));
  return say(ErrorCode::kUnavailable, fmt::format("cannot {}", doing));
}

}  // namespace mesh
