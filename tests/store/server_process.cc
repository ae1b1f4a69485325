#include "store/server_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <stdexcept>

#include "mesh/unique_fd.h"

namespace mesh::testing {

ServerProcess::ServerProcess(const std::vector<std::string>& argv, const std::string& log) {
  std::vector<char*> arguments;
  for (const std::string& argument : argv)
    arguments.push_back(const_cast<char*>(argument.c_str()));  // execvp takes it so
  arguments.push_back(nullptr);
  const UniqueFd out(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!out) throw std::runtime_error("open " + log + ": " + std::strerror(errno));
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error(std::string("fork: ") + std::strerror(errno));
  if (pid_ > 0) return;
  // Async-signal-safe calls only: other threads may hold locks.
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  (void)::dup2(out.get(), STDOUT_FILENO);
  (void)::dup2(out.get(), STDERR_FILENO);
  ::execvp(arguments[0], arguments.data());
  ::_exit(127);
}

bool ServerProcess::running() {
  if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = -1;
  return pid_ > 0;
}

void ServerProcess::end(int signal) {
  if (pid_ <= 0) return;
  (void)::kill(pid_, signal);
  (void)::kill(pid_, SIGCONT);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
  pid_ = -1;
}

void ServerProcess::kill() { end(SIGKILL); }
void ServerProcess::stop() { end(SIGTERM); }

void ServerProcess::suspend() {
  if (pid_ > 0) (void)::kill(pid_, SIGSTOP);
}

void ServerProcess::resume() {
  if (pid_ > 0) (void)::kill(pid_, SIGCONT);
}

std::uint16_t free_port() {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (!socket || ::bind(socket.get(), generic, size) != 0 ||
      ::getsockname(socket.get(), generic, &size) != 0)
    throw std::runtime_error("no free port");
  return ntohs(address.sin_port);
}

}  // namespace mesh::testing
