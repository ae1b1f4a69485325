// CannedServer: a Unix socket that says the same bytes to everybody, or nothing for ever.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "meshd/dataplane/unique_fd.h"

namespace mesh::test {

class CannedServer {
 public:
  // Without an answer it takes connections and stays silent.
  CannedServer(const std::string& path, std::optional<std::string> answer)
      : answer_(std::move(answer)),
        listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)),
        stop_(::eventfd(0, EFD_CLOEXEC)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_.get(), 16) != 0)
      throw std::runtime_error("cannot listen at " + path);
    thread_ = std::thread([this] { run(); });
  }
  CannedServer(const CannedServer&) = delete;
  CannedServer& operator=(const CannedServer&) = delete;
  ~CannedServer() {
    (void)::eventfd_write(stop_.get(), 1);
    thread_.join();
  }

 private:
  void run() {
    std::vector<UniqueFd> silent;
    while (true) {
      pollfd wanted[2] = {{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
      if (::poll(wanted, 2, -1) < 0 || wanted[1].revents != 0) return;
      UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) continue;
      if (!answer_) {
        silent.push_back(std::move(client));
        continue;
      }
      // A connection that was only a probe ends before it asks.
      char request[4096];
      if (::recv(client.get(), request, sizeof request, 0) <= 0) continue;
      (void)::send(client.get(), answer_->data(), answer_->size(), MSG_NOSIGNAL);
    }
  }

  std::optional<std::string> answer_;
  UniqueFd listener_;
  UniqueFd stop_;
  std::thread thread_;
};

}  // namespace mesh::test
