#include "store/tcp_relay.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <memory>
#include <stdexcept>
#include <vector>

namespace mesh::testing {
namespace {

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

const sockaddr* generic(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

UniqueFd listen_on(std::uint16_t& port) {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int yes = 1;
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address = loopback(port);
  socklen_t size = sizeof address;
  if (::bind(socket.get(), generic(address), size) != 0 || ::listen(socket.get(), 64) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw std::runtime_error("a relay cannot listen");
  port = ntohs(address.sin_port);
  return socket;
}

// What one side says goes to the other, blocking: the peers of a test do read.
bool copy(int from, int to) {
  std::array<char, 65536> buffer;  // read into
  const ssize_t count = ::recv(from, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (count <= 0) return count < 0 && (errno == EAGAIN || errno == EINTR);
  for (ssize_t sent = 0; sent < count;) {
    const ssize_t now =
        ::send(to, buffer.data() + sent, static_cast<std::size_t>(count - sent), MSG_NOSIGNAL);
    if (now < 0) return false;
    sent += now;
  }
  return true;
}

}  // namespace

TcpRelay::TcpRelay(std::uint16_t target)
    : target_(target), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  { const UniqueFd probe = listen_on(port_); }
  thread_ = std::thread([this] { run(); });
  mend();
}

TcpRelay::~TcpRelay() {
  stopping_ = true;
  wake();
  thread_.join();
}

void TcpRelay::wake() {
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

void TcpRelay::cut() {
  listening_ = false;
  while (!is_cut_) {
    wake();
    std::this_thread::yield();
  }
}

void TcpRelay::mend() {
  listening_ = true;
  while (is_cut_) {
    wake();
    std::this_thread::yield();
  }
}

void TcpRelay::pass(bool passes) {
  passes_ = passes;
  wake();
}

void TcpRelay::run() {
  struct Pair {
    UniqueFd client;
    UniqueFd server;
  };
  UniqueFd listener;
  std::vector<Pair> pairs;
  while (!stopping_) {
    if (!listening_) {
      listener.reset();
      pairs.clear();
    } else if (!listener) {
      listener = listen_on(port_);
    }
    is_cut_ = !listener;
    std::vector<pollfd> fds{{wake_.get(), POLLIN, 0}, {listener.get(), POLLIN, 0}};
    for (const Pair& pair : pairs) {
      const short events = passes_ ? POLLIN : 0;
      fds.push_back({passes_ ? pair.client.get() : -1, events, 0});
      fds.push_back({passes_ ? pair.server.get() : -1, events, 0});
    }
    (void)::poll(fds.data(), fds.size(), -1);
    std::uint64_t count = 0;
    (void)!::read(wake_.get(), &count, sizeof count);
    std::vector<Pair> alive;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      bool open = true;
      if (fds[2 + 2 * i].revents != 0) open = copy(pairs[i].client.get(), pairs[i].server.get());
      if (open && fds[3 + 2 * i].revents != 0)
        open = copy(pairs[i].server.get(), pairs[i].client.get());
      if (open) alive.push_back(std::move(pairs[i]));
    }
    pairs = std::move(alive);
    if ((fds[1].revents & POLLIN) == 0 || !listening_) continue;
    UniqueFd client(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    UniqueFd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = loopback(target_);
    if (client && ::connect(server.get(), generic(address), sizeof address) == 0)
      pairs.push_back({std::move(client), std::move(server)});
  }
}

}  // namespace mesh::testing
