#include "meshd/dataplane/kernel_module.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

namespace mesh {
namespace {

// The file actions and attributes of one child: quiet, with the signals as a program expects them.
class QuietChild {
 public:
  QuietChild() {
    posix_spawn_file_actions_init(&actions_);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
      posix_spawn_file_actions_addopen(&actions_, fd, "/dev/null", O_RDWR, 0);
    posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK);
  }
  QuietChild(const QuietChild&) = delete;
  QuietChild& operator=(const QuietChild&) = delete;
  QuietChild(QuietChild&&) = delete;
  QuietChild& operator=(QuietChild&&) = delete;
  ~QuietChild() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }

  // The exit status; -1 when it could not be started or did not exit by itself.
  int run(const char* path, char* const* arguments) {
    std::array<char*, 1> environment{nullptr};
    pid_t pid = 0;
    if (posix_spawn(&pid, path, &actions_, &attributes_, arguments, environment.data()) != 0)
      return -1;
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
      if (errno != EINTR) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

}  // namespace

bool load_kernel_module(const std::string& name) {
  for (const char* path : {"/sbin/modprobe", "/usr/sbin/modprobe"}) {
    if (access(path, X_OK) != 0) continue;
    std::string program = "modprobe";
    std::string quiet = "-q";
    std::string module = name;
    std::array<char*, 4> arguments{program.data(), quiet.data(), module.data(), nullptr};
    return QuietChild().run(path, arguments.data()) == 0;
  }
  return false;
}

}  // namespace mesh
