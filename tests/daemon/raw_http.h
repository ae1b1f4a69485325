// The smallest HTTP client there is: what it sends is the test's own bytes, so that tests can be as
// wrong as the network.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdlib>
#include <string>

#include "meshd/dataplane/unique_fd.h"

namespace mesh::test {

inline UniqueFd connect_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return {};
  return fd;
}

inline UniqueFd connect_tcp(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return {};
  return fd;
}

inline bool send_all(const UniqueFd& fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = ::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

// Everything until the other side ends, or an error does.
inline std::string read_all(const UniqueFd& fd) {
  std::string all;
  char buffer[65536];
  ssize_t got = 0;
  while ((got = ::recv(fd.get(), buffer, sizeof buffer, 0)) > 0)
    all.append(buffer, static_cast<std::size_t>(got));
  return all;
}

struct HttpAnswer {
  int status = 0;  // 0: no answer of HTTP
  std::string head;
  std::string body;
};

inline HttpAnswer exchange(const UniqueFd& fd, std::string_view request) {
  (void)send_all(fd, request);
  const std::string all = read_all(fd);
  HttpAnswer answer;
  const std::size_t end = all.find("\r\n\r\n");
  if (!all.starts_with("HTTP/1.1 ") || end == std::string::npos) return answer;
  answer.status = std::atoi(all.c_str() + 9);
  answer.head = all.substr(0, end);
  answer.body = all.substr(end + 4);
  return answer;
}

inline std::string request_text(std::string_view method, std::string_view path,
                                std::string_view body = "") {
  std::string text = std::string(method) + " " + std::string(path) + " HTTP/1.1\r\nHost: meshd\r\n";
  if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  return text + "\r\n" + std::string(body);
}

}  // namespace mesh::test
