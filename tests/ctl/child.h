// Child: runs a program with its own stdin, stdout and stderr, and collects what it says. Killed by
// its own id when the test ends first.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include "meshd/dataplane/unique_fd.h"

namespace mesh::test {

struct ChildOptions {
  std::vector<std::string> environment;  // "NAME=value", besides PATH
  int stdout_fd = -1;                    // instead of a pipe
  bool terminal = false;                 // stdout is a terminal, 120 columns wide
  bool as_nobody = false;                // gives up root before the program starts
};

class Child {
 public:
  explicit Child(const std::vector<std::string>& command, const ChildOptions& options = {}) {
    std::array<int, 2> out{-1, -1};
    std::array<int, 2> err{-1, -1};
    if (::pipe2(err.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    if (options.terminal) {
      winsize size{40, 120, 0, 0};
      if (::openpty(&out[0], &out[1], nullptr, nullptr, &size) != 0)
        throw std::runtime_error("openpty");
      (void)::fcntl(out[0], F_SETFD, FD_CLOEXEC);
      (void)::fcntl(out[1], F_SETFD, FD_CLOEXEC);
    } else if (options.stdout_fd < 0 && ::pipe2(out.data(), O_CLOEXEC) != 0) {
      throw std::runtime_error("pipe2");
    }
    const int stdout_fd = options.stdout_fd >= 0 ? options.stdout_fd : out[1];
    // Opened before root is given up: nobody may not search the build's directories.
    const UniqueFd program(::open(command[0].c_str(), O_RDONLY | O_CLOEXEC));
    std::vector<std::string> environment = options.environment;
    environment.emplace_back("PATH=/usr/bin:/bin");
    std::vector<char*> argv = pointers(command);
    std::vector<char*> envp = pointers(environment);
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork");
    if (pid_ == 0) {
      (void)::dup2(stdout_fd, STDOUT_FILENO);
      (void)::dup2(err[1], STDERR_FILENO);
      if (options.as_nobody &&
          (::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0))
        ::_exit(126);
      ::fexecve(program.get(), argv.data(), envp.data());
      ::_exit(127);
    }
    out_.reset(out[0]);
    err_.reset(err[0]);
    UniqueFd(out[1]).reset();
    UniqueFd(err[1]).reset();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    (void)::kill(pid_, SIGKILL);
    (void)::waitpid(pid_, nullptr, 0);
  }

  // Reads until stdout holds `text`; false when the program ended before.
  bool wait_for(const std::string& text) {
    while (output_.find(text, seen_) == std::string::npos)
      if (!read_some()) return false;
    seen_ = output_.find(text, seen_) + text.size();
    return true;
  }
  void send(int signal) const { (void)::kill(pid_, signal); }
  // The exit code, or 128 + the signal that killed it.
  int wait() {
    while (read_some()) {
    }
    int status = 0;
    (void)::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  const std::string& output() const { return output_; }
  const std::string& errors() const { return errors_; }

 private:
  static std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (const std::string& text : texts) result.push_back(const_cast<char*>(text.c_str()));
    result.push_back(nullptr);
    return result;
  }
  static bool take(UniqueFd& fd, std::string& text) {
    std::array<char, 65536> buffer{};
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got > 0) text.append(buffer.data(), static_cast<std::size_t>(got));
    if (got <= 0) fd.reset();  // a terminal ends with EIO
    return got > 0;
  }
  bool read_some() {
    if (!out_ && !err_) return false;
    std::array<pollfd, 2> wanted{{{out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}}};
    if (::poll(wanted.data(), wanted.size(), -1) < 0) return false;
    if (wanted[0].revents != 0) (void)take(out_, output_);
    if (wanted[1].revents != 0) (void)take(err_, errors_);
    return true;
  }

  pid_t pid_ = -1;
  UniqueFd out_;
  UniqueFd err_;
  std::string output_;
  std::string errors_;
  std::size_t seen_ = 0;
};

}  // namespace mesh::test
