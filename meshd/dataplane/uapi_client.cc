#include "meshd/dataplane/uapi_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "meshd/dataplane/errors.h"
#include "meshd/dataplane/uapi_codec.h"

namespace mesh {
namespace {

using Steady = std::chrono::steady_clock;

constexpr std::size_t kReadBuffer = std::size_t{64} * 1024;  // also the longest line

Error timed_out() {
  return {ErrorCode::kTimeout, "the userspace WireGuard does not answer", ETIMEDOUT};
}

// Waits until `fd` is ready or the deadline has passed.
Result<void> wait_for(int fd, short events, Steady::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Steady::now());
    if (left.count() <= 0) return timed_out();
    pollfd poll_fd{fd, events, 0};
    const int ready = poll(&poll_fd, 1, static_cast<int>(left.count()));
    if (ready > 0) return {};
    if (ready == 0) return timed_out();
    if (errno != EINTR) return error_from_errno(errno, "wait for the userspace WireGuard");
  }
}

Result<void> send_all(int fd, std::string_view text, Steady::time_point deadline) {
  while (!text.empty()) {
    const ssize_t size = send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (size >= 0) {
      text.remove_prefix(static_cast<std::size_t>(size));
      continue;
    }
    if (errno == EINTR) continue;
    // It refused something and hung up without reading the rest: its answer says why.
    if (errno == EPIPE || errno == ECONNRESET) return {};
    if (errno != EAGAIN) return error_from_errno(errno, "write to the userspace WireGuard");
    if (auto ready = wait_for(fd, POLLOUT, deadline); !ready) return ready;
  }
  return {};
}

// The read buffer holds the private key for a moment.
class WipedBuffer {
 public:
  WipedBuffer() : bytes_(kReadBuffer) {}
  WipedBuffer(const WipedBuffer&) = delete;
  WipedBuffer(WipedBuffer&&) = delete;
  WipedBuffer& operator=(const WipedBuffer&) = delete;
  WipedBuffer& operator=(WipedBuffer&&) = delete;
  ~WipedBuffer() { explicit_bzero(bytes_.data(), bytes_.size()); }
  char* data() { return bytes_.data(); }
  std::size_t size() const { return bytes_.size(); }

 private:
  std::vector<char> bytes_;
};

Result<WgDevice> read_answer(int fd, Steady::time_point deadline) {
  WipedBuffer buffer;
  UapiDecoder decoder;
  std::size_t filled = 0;
  std::size_t total = 0;
  while (!decoder.done()) {
    if (auto ready = wait_for(fd, POLLIN, deadline); !ready) return ready.error();
    const ssize_t size = recv(fd, buffer.data() + filled, buffer.size() - filled, MSG_DONTWAIT);
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (size < 0) return error_from_errno(errno, "read from the userspace WireGuard");
    if (size == 0)
      return Error{ErrorCode::kUnavailable, "the userspace WireGuard hung up", ECONNRESET};
    filled += static_cast<std::size_t>(size);
    total += static_cast<std::size_t>(size);
    if (total > UapiClient::kMaxAnswer)
      return make_error(ErrorCode::kInvalid, "the userspace WireGuard's answer is too long");

    std::string_view rest(buffer.data(), filled);
    for (std::size_t end = rest.find('\n'); end != std::string_view::npos && !decoder.done();
         end = rest.find('\n')) {
      if (auto added = decoder.add(rest.substr(0, end)); !added) return added.error();
      rest.remove_prefix(end + 1);
    }
    if (rest.size() == buffer.size())
      return make_error(ErrorCode::kInvalid, "the userspace WireGuard's answer has no lines");
    std::memmove(buffer.data(), rest.data(), rest.size());
    filled = rest.size();
  }
  return std::move(decoder).finish();
}

}  // namespace

Result<UniqueFd> UapiClient::connect() const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof address.sun_path)
    return make_error(ErrorCode::kInvalid, "{}: the socket's path is too long", path_);
  std::copy(path_.begin(), path_.end(), address.sun_path);

  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return error_from_errno(errno, "open a Unix socket");
  // For connect, which waits while the listener's queue is full; all else waits in poll.
  const auto seconds = std::chrono::floor<std::chrono::seconds>(timeout_);
  const timeval timeout{.tv_sec = seconds.count(),
                        .tv_usec = std::chrono::microseconds(timeout_ - seconds).count()};
  if (setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) != 0)
    return error_from_errno(errno, "set a Unix socket's timeout");
  while (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EINTR) continue;
    const int error = errno;
    Error failure = error_from_errno(error, path_);
    if (error == ECONNREFUSED || error == ENOENT) {
      failure.code = ErrorCode::kNotFound;
      failure.message += " (no userspace WireGuard serves this socket)";
    }
    return failure;
  }
  return fd;
}

Result<WgDevice> UapiClient::exchange(std::string_view request) const {
  const Steady::time_point deadline = Steady::now() + timeout_;
  const Result<UniqueFd> fd = connect();
  if (!fd) return fd.error();
  if (auto sent = send_all(fd->get(), request, deadline); !sent) return sent.error().at(path_);
  Result<WgDevice> answer = read_answer(fd->get(), deadline);
  if (!answer) return answer.error().at(path_);
  return answer;
}

Result<pid_t> UapiClient::server() const {
  const Result<UniqueFd> fd = connect();
  if (!fd) return fd.error();
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (getsockopt(fd->get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return error_from_errno(errno, path_);
  return credentials.pid;
}

}  // namespace mesh
