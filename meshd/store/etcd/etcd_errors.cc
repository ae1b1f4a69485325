#include "meshd/store/etcd/etcd_errors.h"

#include "meshd/store/utf8.h"

namespace mesh {
namespace {

constexpr std::size_t kQuoted = 300;  // bytes of the server's text

bool says(const std::string& message, std::string_view what) {
  return message.find(what) != std::string::npos;
}

// gRPC wraps the cause into "failed to connect to all addresses; last error: UNKNOWN: ".
std::string_view without_wrapping(std::string_view message) {
  constexpr std::string_view kLast = "last error: ";
  if (const auto at = message.rfind(kLast); at != std::string_view::npos)
    message.remove_prefix(at + kLast.size());
  for (const std::string_view word : {"UNKNOWN: ", "UNAVAILABLE: ", "INTERNAL: "})
    if (message.starts_with(word)) message.remove_prefix(word.size());
  return message;
}

std::string wants_user(const EtcdOptions& options) {
  return options.username.empty()
             ? std::string("etcd wants a user: set store.etcd.username and passwordFile")
             : fmt::format(
                   "etcd refuses user {} or its password: look at store.etcd.username and "
                   "passwordFile ({})",
                   printable(options.username, 64), options.password_file.string());
}

std::string no_permission(const EtcdOptions& options) {
  const std::string user = options.username.empty() ? "without a user" : options.username;
  return fmt::format(
      "permission denied (user: {}): meshd reads and writes below {}/: grant it readwrite with "
      "--prefix on that",
      printable(user, 64), options.prefix);
}

// The other side took the connection and ended it; gRPC has several words for that.
bool was_cut_off(const std::string& message) {
  return says(message, "Socket closed") || says(message, "Connection reset") ||
         says(message, "Endpoint read failed") || says(message, "Broken pipe");
}

// Where the cause is known, what to do about it; else "".
std::string_view hint(const std::string& message, const std::string& endpoint,
                      const EtcdOptions& options) {
  const bool tls = endpoint.starts_with("https://");
  if (says(message, "certificate verify failed") || says(message, "CERTIFICATE_VERIFY_FAILED"))
    return ": the server's certificate is not signed by store.etcd.caFile";
  if (says(message, "Hostname Verification Check failed") || says(message, "Peer name"))
    return ": the server's certificate is for another name than that of store.etcd.endpoints";
  if (tls && (says(message, "WRONG_VERSION_NUMBER") || says(message, "wrong version number")))
    return ": that port speaks no TLS: write http:// in store.etcd.endpoints";
  // TLS 1.3 lets the client finish before the server refuses it: all we see is the end.
  if (tls && options.cert_file.empty() && (was_cut_off(message) || says(message, "handshake")))
    return ": it may want a client certificate: store.etcd.certFile and keyFile";
  if (!tls && (was_cut_off(message) || says(message, "Failed parsing HTTP/2") ||
               says(message, "Expected SETTINGS")))
    return ": it may want TLS (https://), or be no etcd";
  return "";
}

}  // namespace

bool is_stale_token(const grpc::Status& status) {
  const std::string message = status.error_message();
  return says(message, "invalid auth token") || says(message, "revision of auth store is old") ||
         says(message, "auth: revision in header is old");
}

bool is_without_authentication(const grpc::Status& status) {
  return says(status.error_message(), "authentication is not enabled");
}

Error to_etcd_error(const grpc::Status& status, const std::string& endpoint,
                    const EtcdOptions& options) {
  const std::string& message = status.error_message();
  const auto error = [&](ErrorCode code, const std::string& text) {
    return make_error(code, "{}: {}", endpoint, text);
  };
  if (says(message, "user name is empty") || says(message, "authentication failed") ||
      says(message, "invalid auth token"))
    return error(ErrorCode::kPermission, wants_user(options));
  if (says(message, "permission denied"))
    return error(ErrorCode::kPermission, no_permission(options));
  if (says(message, "database space exceeded"))
    return error(ErrorCode::kBusy,
                 "etcd has no space left and takes no writes: compact and defragment it, then "
                 "disarm the alarm");
  // By its size, or because the quota for what is on its way was used up.
  if (says(message, "larger than max") || says(message, "Buffers full"))
    return error(ErrorCode::kInvalid,
                 fmt::format("an answer is larger than the {} MiB that are read: something below "
                             "{}/ is far too large",
                             16, options.prefix));
  switch (status.error_code()) {
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return error(ErrorCode::kTimeout, "no answer in time: it hangs, or has no leader");
    case grpc::StatusCode::CANCELLED:
      return error(ErrorCode::kUnavailable, "the call was cancelled");
    case grpc::StatusCode::UNIMPLEMENTED:
      return error(ErrorCode::kIo,
                   "it does not speak etcd's protocol (v3, gRPC): look at store.etcd.endpoints");
    default:
      break;
  }
  const bool unavailable = status.error_code() == grpc::StatusCode::UNAVAILABLE;
  return error(unavailable ? ErrorCode::kUnavailable : ErrorCode::kIo,
               printable(without_wrapping(message), kQuoted) +
                   std::string(hint(message, endpoint, options)));
}

Error to_watch_error(const std::string& reason, const std::string& endpoint,
                     const EtcdOptions& options) {
  if (says(reason, "permission denied"))
    return to_etcd_error({grpc::StatusCode::PERMISSION_DENIED, reason}, endpoint, options);
  if (says(reason, "invalid auth token"))
    return to_etcd_error({grpc::StatusCode::UNAUTHENTICATED, reason}, endpoint, options);
  return make_error(ErrorCode::kUnavailable, "{}: the watch ended: {}", endpoint,
                    reason.empty() ? "no reason given" : printable(reason, kQuoted));
}

}  // namespace mesh
