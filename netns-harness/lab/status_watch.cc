#include "lab/status_watch.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>

#include "lab/error.h"
#include "lab/socket_address.h"

namespace mesh::lab {
namespace {

constexpr std::uint16_t kApiPort = 9586;

bool wait_for(int socket, short events, Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
  pollfd waiting{socket, events, 0};
  return left.count() > 0 && ::poll(&waiting, 1, static_cast<int>(left.count())) > 0;
}

std::optional<std::string> http_get(int socket, const std::string& path,
                                    Clock::time_point deadline) {
  const std::string request =
      fmt::format("GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", path);
  if (::send(socket, request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size()))
    return std::nullopt;
  std::string answer;
  std::array<char, 16384> buffer;
  while (wait_for(socket, POLLIN, deadline)) {
    const ssize_t got = ::recv(socket, buffer.data(), buffer.size(), 0);
    if (got < 0) return std::nullopt;
    if (got > 0) {
      answer.append(buffer.data(), static_cast<std::size_t>(got));
      continue;
    }
    const auto body = answer.find("\r\n\r\n");
    if (body == std::string::npos || answer.compare(0, 12, "HTTP/1.1 200") != 0)
      return std::nullopt;
    return answer.substr(body + 4);
  }
  return std::nullopt;
}

StatusSample sample_of(const nlohmann::json& status) {
  StatusSample sample{Clock::now(), {}, status.value("repairs", std::uint64_t{0}), false};
  if (const auto store = status.find("store"); store != status.end())
    sample.in_sync = store->value("inSync", false);
  for (const auto& peer : status.value("peers", nlohmann::json::array()))
    sample.peers[peer.value("node", "")] = {peer.value("state", ""), peer.value("reason", ""),
                                            peer.value("path", "")};
  return sample;
}

// The body of an answer with code 200.
std::optional<std::string> get(const NetworkNamespace& network, const std::string& path,
                               milliseconds timeout) {
  const auto deadline = Clock::now() + timeout * patience();
  const UniqueFd socket = network.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const SocketAddress api(*IpAddress::parse("127.0.0.1"), kApiPort);
  if (::connect(socket.get(), api.raw(), api.size()) != 0 && errno != EINPROGRESS)
    return std::nullopt;
  int error = 0;
  socklen_t size = sizeof error;
  if (!wait_for(socket.get(), POLLOUT, deadline) ||
      ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)
    return std::nullopt;
  return http_get(socket.get(), path, deadline);
}

}  // namespace

std::optional<nlohmann::json> fetch_status(const NetworkNamespace& network, milliseconds timeout) {
  const auto body = get(network, "/v1/status", timeout);
  if (!body) return std::nullopt;
  nlohmann::json status = nlohmann::json::parse(*body, nullptr, false);
  if (status.is_discarded()) return std::nullopt;
  return status;
}

bool is_ready(const NetworkNamespace& network, milliseconds timeout) {
  return get(network, "/readyz", timeout).has_value();
}

StatusWatch::StatusWatch(Lab& lab, milliseconds interval, Listener listener)
    : lab_(lab), interval_(interval), listener_(std::move(listener)), thread_([this] { work(); }) {}

StatusWatch::~StatusWatch() {
  ending_ = true;
  thread_.join();
}

void StatusWatch::work() {
  while (!ending_) {
    const auto next = Clock::now() + interval_;
    for (const auto& node : lab_.nodes()) {
      if (ending_) return;
      take(node->name(), fetch_status(node->network()));
    }
    std::this_thread::sleep_until(next);
  }
}

void StatusWatch::take(const std::string& node, const std::optional<nlohmann::json>& status) {
  std::optional<StatusSample> sample;
  if (status) sample = sample_of(*status);
  {
    const std::lock_guard guard(mutex_);
    latest_[node] = sample;
    for (const auto& peer : lab_.nodes()) {
      if (!sample || peer->name() == node) continue;
      const auto found = sample->peers.find(peer->name());
      std::string words = "-";
      if (found != sample->peers.end()) {
        words = found->second.state;
        if (!found->second.reason.empty()) words += " (" + found->second.reason + ")";
      }
      auto& seen = seen_[{node, peer->name()}];
      if (seen.empty() || seen.back() != words) seen.push_back(std::move(words));
    }
  }
  if (sample && listener_) listener_(node, *sample);
}

void StatusWatch::forget() {
  const std::lock_guard guard(mutex_);
  seen_.clear();
}

std::vector<std::string> StatusWatch::seen(const std::string& node, const std::string& peer) const {
  const std::lock_guard guard(mutex_);
  const auto found = seen_.find({node, peer});
  return found == seen_.end() ? std::vector<std::string>{} : found->second;
}

std::optional<StatusSample> StatusWatch::latest(const std::string& node) const {
  const std::lock_guard guard(mutex_);
  const auto found = latest_.find(node);
  return found == latest_.end() ? std::nullopt : found->second;
}

}  // namespace mesh::lab
