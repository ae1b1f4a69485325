#include "meshd/daemon/http_server.h"

#include <httplib.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

#include "meshd/dataplane/unique_fd.h"

namespace mesh {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;
using std::chrono::milliseconds;

constexpr std::size_t kMaxPathBytes = 1024;  // a route and a node's name are far below
constexpr milliseconds kLinger{500};
constexpr std::size_t kLingerBytes = std::size_t{64} << 10;
constexpr milliseconds kNoDescriptorsPause{100};
constexpr milliseconds kLongestPoll = std::chrono::hours(1);  // poll counts in int

// Waits until `fd` is ready; false at the deadline, when `stop` is signalled, or on error.
bool wait_ready(int fd, short events, int stop, SteadyTime deadline) {
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    std::array<pollfd, 2> wanted{{{fd, events, 0}, {stop, POLLIN, 0}}};
    const auto patience = static_cast<int>(std::min(left, kLongestPoll).count());
    const int ready = ::poll(wanted.data(), wanted.size(), patience);
    if (ready < 0 && errno != EINTR) return false;
    if (wanted[1].revents != 0) return false;
    if (ready > 0) return true;
  }
}

// One connection as the library wants it, with deadlines over the whole and a limit of bytes.
class Connection : public httplib::Stream {
 public:
  Connection(UniqueFd fd, int stop, const HttpLimits& limits)
      : fd_(std::move(fd)),
        stop_(stop),
        read_left_(limits.request_bytes),
        write_time_(limits.write),
        read_deadline_(std::chrono::steady_clock::now() + limits.read) {}

  bool is_readable() const override { return true; }  // read() waits
  bool is_writable() const override { return true; }

  ssize_t read(char* out, std::size_t size) override {
    if (taken_ == filled_ && !fill()) return at_end_ ? 0 : -1;
    const std::size_t count = std::min(size, filled_ - taken_);
    std::memcpy(out, buffer_.data() + taken_, count);
    taken_ += count;
    return static_cast<ssize_t>(count);
  }

  ssize_t write(const char* data, std::size_t size) override {
    if (write_deadline_ == SteadyTime{})
      write_deadline_ = std::chrono::steady_clock::now() + write_time_;
    while (true) {
      const ssize_t sent = ::send(fd_.get(), data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent >= 0) return sent;
      if (errno == EINTR) continue;
      if (errno != EAGAIN || !wait_ready(fd_.get(), POLLOUT, stop_, write_deadline_)) return -1;
    }
  }

  void get_remote_ip_and_port(std::string& ip, int& port) const override { unknown(ip, port); }
  void get_local_ip_and_port(std::string& ip, int& port) const override { unknown(ip, port); }
  socket_t socket() const override { return fd_.get(); }

  // Closing with unread bytes would reset the connection, and the client might lose the answer: end
  // our side, then swallow for a moment what is still on its way.
  void close_gracefully() {
    if (::shutdown(fd_.get(), SHUT_WR) != 0) return;
    read_deadline_ = std::chrono::steady_clock::now() + kLinger;
    read_left_ = kLingerBytes;
    while (fill()) {
    }
  }

 private:
  static void unknown(std::string& ip, int& port) {
    ip.clear();
    port = 0;
  }

  bool fill() {
    taken_ = filled_ = 0;
    const std::size_t wanted = std::min(buffer_.size(), read_left_);
    while (wanted > 0) {
      const ssize_t got = ::recv(fd_.get(), buffer_.data(), wanted, MSG_DONTWAIT);
      if (got > 0) {
        filled_ = static_cast<std::size_t>(got);
        read_left_ -= filled_;
        return true;
      }
      if (got == 0) {
        at_end_ = true;
        return false;
      }
      if (errno == EINTR) continue;
      if (errno != EAGAIN || !wait_ready(fd_.get(), POLLIN, stop_, read_deadline_)) return false;
    }
    return false;
  }

  UniqueFd fd_;
  int stop_;
  std::array<char, 4096> buffer_{};
  std::size_t taken_ = 0;
  std::size_t filled_ = 0;
  std::size_t read_left_;
  bool at_end_ = false;
  milliseconds write_time_;
  SteadyTime read_deadline_;
  SteadyTime write_deadline_{};
};

// The library's parser, router and writer. Its own sockets are never opened.
class Protocol : public httplib::Server {
 public:
  Protocol(HttpServer::Handler handler, HttpServer::ErrorBody error_body, std::size_t max_body)
      : handler_(std::move(handler)), error_body_(std::move(error_body)) {
    set_payload_max_length(max_body);
    set_default_headers(
        {{"Cache-Control", "no-store"},
         {"X-Content-Type-Options", "nosniff"},
         {"Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"}});
    set_pre_routing_handler([this](const auto& request, auto& response) {
      const int refusal = refuse(request);
      if (refusal == 0) return HandlerResponse::Unhandled;
      response.status = refusal;
      fill(response, error_body_(refusal));
      return HandlerResponse::Handled;
    });
    set_error_handler([this](const httplib::Request&, httplib::Response& response) {
      if (response.body.empty()) fill(response, error_body_(response.status));
    });
    set_exception_handler([this](const httplib::Request&, httplib::Response& response,
                                 const std::exception_ptr&) { fill(response, error_body_(500)); });
    const auto answer = [this](const httplib::Request& request, httplib::Response& response) {
      const std::string method = request.method == "HEAD" ? "GET" : request.method;
      fill(response, handler_({method, request.path, request.body}));
    };
    constexpr const char* kAny = ".*";
    Get(kAny, answer);
    Post(kAny, answer);
    Put(kAny, answer);
    Patch(kAny, answer);
    Delete(kAny, answer);
    Options(kAny, answer);
  }

  void serve(Connection& connection) {
    bool closed = false;
    // RFC 9112, section 6.3: a request that gives no length has no body. The library would read on
    // until the client ends.
    const auto without_length = [](httplib::Request& request) {
      if (!request.has_header("Content-Length") && !request.has_header("Transfer-Encoding"))
        request.set_header("Content-Length", "0");
    };
    (void)process_request(connection, /*close_connection=*/true, closed, without_length);
  }

 private:
  // Before the body is read. A compressed body could be larger than any limit, and the library's
  // pattern matcher recurses over the path.
  static int refuse(const httplib::Request& request) {
    if (request.path.size() > kMaxPathBytes) return 414;
    if (request.has_header("Content-Encoding")) return 415;
    return 0;
  }

  static void fill(httplib::Response& response, const HttpReply& reply) {
    response.status = reply.status;
    response.set_content(reply.body, reply.content_type);
    if (!reply.allow.empty()) response.set_header("Allow", reply.allow);
  }

  HttpServer::Handler handler_;
  HttpServer::ErrorBody error_body_;
};

class ThreadedServer final : public HttpServer {
 public:
  ThreadedServer(int listener, Handler handler, ErrorBody error_body, const HttpLimits& limits)
      : listener_(listener),
        limits_(limits),
        stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        protocol_(std::move(handler), std::move(error_body), limits.request_bytes) {
    if (!stop_) throw std::system_error(errno, std::generic_category(), "eventfd");
    // Signals belong to the daemon's loop: threads inherit the mask of the moment they start.
    sigset_t all{};
    sigset_t before{};
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      for (int i = 0; i < limits_.threads; ++i) threads_.emplace_back([this] { run(); });
    } catch (...) {
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      ThreadedServer::stop();
      throw;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  ThreadedServer(const ThreadedServer&) = delete;
  ThreadedServer(ThreadedServer&&) = delete;
  ThreadedServer& operator=(const ThreadedServer&) = delete;
  ThreadedServer& operator=(ThreadedServer&&) = delete;
  ~ThreadedServer() override { ThreadedServer::stop(); }

  void stop() override {
    (void)::eventfd_write(stop_.get(), 1);  // never read again: it stays signalled for all threads
    for (std::thread& thread : threads_)
      if (thread.joinable()) thread.join();
  }

 private:
  void run() {
    (void)pthread_setname_np(pthread_self(), "meshd-api");
    while (wait_ready(listener_, POLLIN, stop_.get(), SteadyTime::max())) {
      UniqueFd fd(::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (fd) {
        serve(std::move(fd));
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        // The connection stays in the backlog and poll would say so at once, for ever.
        (void)wait_ready(stop_.get(), POLLIN, stop_.get(),
                         std::chrono::steady_clock::now() + kNoDescriptorsPause);
      }
    }
  }

  void serve(UniqueFd fd) {
    try {
      Connection connection(std::move(fd), stop_.get(), limits_);
      protocol_.serve(connection);
      connection.close_gracefully();
    } catch (const std::exception&) {
      // Out of memory, at worst: this connection ends, the server goes on.
    }
  }

  int listener_;
  HttpLimits limits_;
  UniqueFd stop_;
  Protocol protocol_;
  std::vector<std::thread> threads_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::start(int listener, Handler handler,
                                                      ErrorBody error_body,
                                                      const HttpLimits& limits) {
  try {
    return std::unique_ptr<HttpServer>(std::make_unique<ThreadedServer>(
        listener, std::move(handler), std::move(error_body), limits));
  } catch (const std::system_error& error) {
    return Error{ErrorCode::kIo, fmt::format("cannot start the API's threads: {}", error.what()),
                 error.code().value()};
  }
}

}  // namespace mesh
