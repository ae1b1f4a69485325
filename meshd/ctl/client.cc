#include "meshd/ctl/client.h"

#include <httplib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "meshd/dataplane/unique_fd.h"

namespace mesh::ctl {
namespace {

using Clock = std::chrono::steady_clock;

// 10,000 peers are some 8 MB.
constexpr std::size_t kMaxAnswerBytes = std::size_t{256} << 20;

std::string_view remedy_of(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
      return "run meshctl as root, or as the user meshd runs as";
    case EAGAIN:
      return "meshd is busy; try again";
    case ENOTSOCK:
    case EPROTOTYPE:
      return "this is not meshd's socket; see --socket";
    default:
      return "is meshd running? (systemctl status meshd)";
  }
}

ErrorCode code_of(int http_status) {
  switch (http_status) {
    case 404:
      return ErrorCode::kNotFound;
    case 501:
      return ErrorCode::kUnsupported;
    default:
      return ErrorCode::kUnavailable;
  }
}

// What meshd says is wrong, or the number when it says nothing of use.
Error refusal(int status, const std::string& body) {
  const auto json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (json.is_object() && json.contains("error") && json["error"].is_string())
    return {code_of(status), json["error"].get<std::string>(), 0};
  return make_error(code_of(status), "meshd answered with HTTP status {}", status);
}

}  // namespace

// The library tells that a connection failed, not why. So connect once ourselves first.
Result<void> Client::probe() const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_.empty() || socket_.size() >= sizeof address.sun_path)
    return make_error(ErrorCode::kInvalid, "--socket '{}': a path has 1 to {} bytes", socket_,
                      sizeof address.sun_path - 1);
  socket_.copy(address.sun_path, socket_.size());
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd && ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return {};
  const int error = errno;
  return Error{error == EACCES ? ErrorCode::kPermission : ErrorCode::kUnavailable,
               fmt::format("cannot reach meshd at {}: {}; {}", socket_, std::strerror(error),
                           remedy_of(error)),
               error};
}

Result<std::string> Client::request(const std::string& method, const std::string& path,
                                    const std::string& json) const {
  if (auto reachable = probe(); !reachable) return std::move(reachable).error();
  httplib::Client client(socket_, 80);  // the port is of no meaning
  client.set_address_family(AF_UNIX);
  client.set_url_encode(false);
  client.set_connection_timeout(timeout_);
  client.set_read_timeout(timeout_);
  client.set_write_timeout(timeout_);

  const Clock::time_point deadline = Clock::now() + timeout_;
  std::string body;
  bool too_large = false;
  bool too_late = false;
  httplib::Request request;
  request.method = method;
  request.path = path;
  request.headers = {{"Host", "meshd"}, {"Connection", "close"}};
  if (!json.empty()) request.headers.emplace("Content-Type", "application/json");
  request.body = json;
  request.content_receiver = [&](const char* data, std::size_t size, std::uint64_t, std::uint64_t) {
    too_large = body.size() + size > kMaxAnswerBytes;
    too_late = Clock::now() > deadline;
    if (!too_large && !too_late) body.append(data, size);
    return !too_large && !too_late;
  };
  httplib::Response response;
  httplib::Error error = httplib::Error::Success;
  const bool answered = client.send(request, response, error);
  if (too_large)
    return make_error(ErrorCode::kInvalid, "meshd at {} answers without end; stopped at {} bytes",
                      socket_, body.size());
  if (!answered) {
    if (too_late || Clock::now() >= deadline)
      return make_error(ErrorCode::kTimeout,
                        "meshd at {} did not answer within {} s; see its log (journalctl -u meshd)",
                        socket_, static_cast<double>(timeout_.count()) / 1000.0);
    return make_error(ErrorCode::kUnavailable,
                      "meshd at {} broke off its answer; was it restarted? see its log (journalctl "
                      "-u meshd)",
                      socket_);
  }
  if (response.status != 200) return refusal(response.status, body);
  return body;
}

std::string escape_path(std::string_view segment) {
  constexpr std::string_view kUnreserved =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  std::string out;
  for (const char c : segment) {
    if (kUnreserved.find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    }
  }
  return out;
}

}  // namespace mesh::ctl
