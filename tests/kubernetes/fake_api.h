// FakeApi: an HTTP server that answers as a script says, for what no real API server can be made to
// do. A thread of its own and one a connection; plain HTTP/1.1, one request a connection.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "mesh/unique_fd.h"

namespace mesh::testing {

struct FakeReply {
  std::string bytes;        // as they go over the wire
  bool stays_open = false;  // until the server ends: a watch, or a server that hangs
};

inline FakeReply answer(const std::string& body, const std::string& head = "200 OK") {
  return {"HTTP/1.1 " + head + "\r\nContent-Type: application/json\r\nContent-Length: " +
          std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body};
}
// A stream that ends, or stays open.
inline FakeReply stream(const std::string& body, bool stays_open) {
  return {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + body,
          stays_open};
}

class FakeApi {
 public:
  // `script`: from the target of a request ("/api/v1/nodes?limit=250") to the reply; any thread.
  using Script = std::function<FakeReply(const std::string& target)>;
  explicit FakeApi(Script script) : script_(std::move(script)) {
    listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    (void)::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size);
    (void)::listen(listener_.get(), 64);
    (void)::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~FakeApi() {
    ending_ = true;
    acceptor_.join();
    for (std::thread& thread : threads_) thread.join();
  }
  FakeApi(const FakeApi&) = delete;
  FakeApi& operator=(const FakeApi&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<std::string> targets() {
    const std::lock_guard lock(mutex_);
    return targets_;
  }

 private:
  static bool readable(int fd) {
    pollfd waits{fd, POLLIN, 0};
    return ::poll(&waits, 1, 20) > 0;
  }
  void accept_all() {
    while (!ending_) {
      if (!readable(listener_.get())) continue;
      const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) threads_.emplace_back([this, fd] { serve(UniqueFd(fd)); });
    }
  }
  void serve(const UniqueFd& fd) {
    std::string request;
    while (!ending_ && request.find("\r\n\r\n") == std::string::npos) {
      if (!readable(fd.get())) continue;
      char buffer[4096];
      const ssize_t count = ::recv(fd.get(), buffer, sizeof buffer, 0);
      if (count <= 0) return;
      request.append(buffer, static_cast<std::size_t>(count));
    }
    const std::size_t start = request.find(' ') + 1;
    const std::string target = request.substr(start, request.find(' ', start) - start);
    {
      const std::lock_guard lock(mutex_);
      targets_.push_back(target);
    }
    const FakeReply reply = script_(target);
    for (std::size_t sent = 0; sent < reply.bytes.size();) {
      const ssize_t count =
          ::send(fd.get(), reply.bytes.data() + sent, reply.bytes.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return;
      sent += static_cast<std::size_t>(count);
    }
    while (reply.stays_open && !ending_) {
      char byte = 0;
      if (readable(fd.get()) && ::recv(fd.get(), &byte, 1, 0) <= 0) return;
    }
  }

  Script script_;
  UniqueFd listener_;
  int port_ = 0;
  std::atomic<bool> ending_ = false;
  std::mutex mutex_;
  std::vector<std::string> targets_;
  std::thread acceptor_;
  std::vector<std::thread> threads_;  // the acceptor's
};

}  // namespace mesh::testing
