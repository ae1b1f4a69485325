#include "meshd/daemon/listen_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace mesh {
namespace {

constexpr int kBacklog = 64;

ErrorCode code_of(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
      return ErrorCode::kPermission;
    case EADDRINUSE:
      return ErrorCode::kBusy;
    case ENOENT:
      return ErrorCode::kNotFound;
    default:
      return ErrorCode::kIo;
  }
}

Error system_error(int error, std::string_view place, std::string_view remedy) {
  return {code_of(error), fmt::format("{}: {} ({})", place, std::strerror(error), remedy), error};
}

// The lock that serialises everybody who makes or removes a socket in this directory. On the
// directory itself, so that no lock file is left behind; released when the descriptor closes.
Result<UniqueFd> lock_directory(const std::string& directory) {
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return system_error(errno, directory, "the directory of api.socket");
  while (::flock(fd.get(), LOCK_EX) != 0)
    if (errno != EINTR) return system_error(errno, directory, "cannot lock it");
  return fd;
}

std::string directory_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return make_error(ErrorCode::kInvalid,
                      "api.socket '{}': the path must have 1 to {} bytes; choose a shorter one",
                      path, sizeof address.sun_path - 1);
  path.copy(address.sun_path, path.size());
  return address;
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

struct SocketAddress {
  sockaddr_storage address{};
  socklen_t size = 0;
};

SocketAddress socket_address(const Endpoint& endpoint) {
  SocketAddress result;
  const auto bytes = endpoint.address.bytes();
  if (endpoint.address.family() == Family::kIpv4) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&result.address);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(endpoint.port);
    std::memcpy(&v4->sin_addr, bytes.data(), bytes.size());
    result.size = sizeof *v4;
  } else {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&result.address);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(endpoint.port);
    std::memcpy(&v6->sin6_addr, bytes.data(), bytes.size());
    result.size = sizeof *v6;
  }
  return result;
}

// Whether somebody accepts connections there; errno says why not.
bool connects(const UniqueFd& probe, const sockaddr_un& address) {
  // EAGAIN: its backlog is full, so somebody lives there.
  return ::connect(probe.get(), generic(address), sizeof address) == 0 || errno == EAGAIN;
}

UniqueFd unix_socket() {
  return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

// Makes room for our socket at `path`, or says who holds it.
Result<void> remove_stale(const std::string& path, const sockaddr_un& address) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return {};
    return system_error(errno, path, "api.socket");
  }
  if (!S_ISSOCK(found.st_mode))
    return make_error(ErrorCode::kExists,
                      "{}: is there and is no socket; move it away or change api.socket", path);
  const UniqueFd probe = unix_socket();
  if (!probe) return system_error(errno, path, "cannot make a Unix socket");
  if (connects(probe, address))
    return make_error(ErrorCode::kBusy,
                      "{}: another meshd answers there; stop it, or give this one its own "
                      "api.socket",
                      path);
  if (errno != ECONNREFUSED) return system_error(errno, path, "api.socket");
  if (::unlink(path.c_str()) != 0) return system_error(errno, path, "cannot remove a stale socket");
  return {};
}

}  // namespace

Result<UnixListener> UnixListener::open(const std::string& path) {
  const auto address = unix_address(path);
  if (!address) return address.error();
  std::error_code failure;
  std::filesystem::create_directories(directory_of(path), failure);
  if (failure)
    return system_error(failure.value(), directory_of(path),
                        "cannot make the directory of api.socket");
  const auto lock = lock_directory(directory_of(path));
  if (!lock) return lock.error();
  if (auto cleared = remove_stale(path, *address); !cleared) return std::move(cleared).error();

  UnixListener listener;
  listener.fd_ = unix_socket();
  if (!listener.fd_) return system_error(errno, path, "cannot make a Unix socket");
  // Before bind, because the file takes its mode from the socket: there is no moment at which
  // others can open it.
  if (::fchmod(listener.fd(), 0600) != 0 ||
      ::bind(listener.fd(), generic(*address), sizeof *address) != 0 ||
      ::listen(listener.fd(), kBacklog) != 0)
    return system_error(errno, path, "cannot listen there: check api.socket");
  struct stat made {};
  if (::lstat(path.c_str(), &made) != 0) return system_error(errno, path, "api.socket");
  listener.path_ = path;
  listener.device_ = made.st_dev;
  listener.inode_ = made.st_ino;
  return listener;
}

bool somebody_listens(const std::string& path) {
  const auto address = unix_address(path);
  const UniqueFd probe = unix_socket();
  return address && probe && connects(probe, *address);
}

UnixListener& UnixListener::operator=(UnixListener&& other) noexcept {
  if (this == &other) return *this;
  close();
  fd_ = std::move(other.fd_);
  path_ = std::move(other.path_);
  device_ = other.device_;
  inode_ = other.inode_;
  return *this;
}

void UnixListener::close() {
  if (!fd_) return;
  // The file goes before the descriptor: while we hold the inode, its number cannot be another's.
  if (const auto lock = lock_directory(directory_of(path_)); lock && !path_.empty()) {
    struct stat found {};
    if (::lstat(path_.c_str(), &found) == 0 && found.st_dev == device_ && found.st_ino == inode_)
      (void)::unlink(path_.c_str());
  }
  fd_.reset();
}

Result<void> udp_port_is_free(std::uint16_t port) {
  for (const IpAddress& any : {*IpAddress::parse("0.0.0.0"), *IpAddress::parse("::")}) {
    const auto [address, size] = socket_address({any, port});
    const UniqueFd fd(::socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!fd) continue;  // this host has no such family
    const int on = 1;
    if (any.family() == Family::kIpv6)
      (void)::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 &&
        errno == EADDRINUSE)
      return make_error(
          ErrorCode::kBusy,
          "another program uses UDP port {} (`ss -lunp` names it): stop it, or choose "
          "another port",
          port);
  }
  return {};
}

Result<UniqueFd> listen_tcp(const Endpoint& endpoint) {
  const auto refuse = [&](int error) {
    return system_error(error, fmt::format("api.listen {}", endpoint.to_string()),
                        error == EADDRINUSE
                            ? "another program has this port; change api.listen, or set it to \"\" "
                              "for none"
                            : "api.listen must be an address of this host, or \"\" for none");
  };
  const auto [address, size] = socket_address(endpoint);
  UniqueFd fd(::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return refuse(errno);
  // So that a restart is not refused by connections of the last run that linger in TIME_WAIT.
  const int on = 1;
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      ::listen(fd.get(), kBacklog) != 0)
    return refuse(errno);
  return fd;
}

std::uint16_t port_of(int tcp_socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(tcp_socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(address.ss_family == AF_INET ? reinterpret_cast<sockaddr_in*>(&address)->sin_port
                                            : reinterpret_cast<sockaddr_in6*>(&address)->sin6_port);
}

}  // namespace mesh
