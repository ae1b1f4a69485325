#include "meshd/dataplane/spawn.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>

#include "meshd/dataplane/errors.h"

namespace mesh {
namespace {

constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin";

bool is_program(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         access(path.c_str(), X_OK) == 0;
}

// posix_spawn's two parameter blocks, freed together.
struct SpawnPlan {
  SpawnPlan() {
    ready = posix_spawn_file_actions_init(&actions) == 0 && posix_spawnattr_init(&attributes) == 0;
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan(SpawnPlan&&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  SpawnPlan& operator=(SpawnPlan&&) = delete;
  ~SpawnPlan() {
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attributes);
  }

  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
  bool ready = false;
};

int fill(SpawnPlan& plan, int output) {
  sigset_t all;
  sigset_t none;
  (void)sigfillset(&all);
  (void)sigemptyset(&none);
  const int errors[] = {
      // The daemon's loop blocks signals and ignores SIGPIPE; both would be inherited.
      posix_spawnattr_setsigdefault(&plan.attributes, &all),
      posix_spawnattr_setsigmask(&plan.attributes, &none),
      posix_spawnattr_setflags(&plan.attributes,
                               POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK),
      posix_spawn_file_actions_addopen(&plan.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0),
      posix_spawn_file_actions_adddup2(&plan.actions, output, STDOUT_FILENO),
      posix_spawn_file_actions_adddup2(&plan.actions, output, STDERR_FILENO),
      // All of ours are CLOEXEC; this is for what some library forgot.
      posix_spawn_file_actions_addclosefrom_np(&plan.actions, STDERR_FILENO + 1),
      posix_spawn_file_actions_addchdir_np(&plan.actions, "/"),
  };
  for (const int error : errors)
    if (error != 0) return error;
  return 0;
}

}  // namespace

Result<std::string> find_program(const std::string& command) {
  if (command.find('/') != std::string::npos) {
    if (is_program(command)) return command;
    return make_error(ErrorCode::kUnsupported, "'{}' is not a program that can be run", command);
  }
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr && *path != '\0' ? path : kDefaultPath;
  while (!command.empty() && !rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    std::string candidate = fmt::format("{}/{}", rest.substr(0, end), command);
    if (candidate.front() == '/' && is_program(candidate)) return candidate;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return make_error(ErrorCode::kUnsupported, "there is no program '{}'", command);
}

Result<pid_t> spawn_detached(const std::string& program, const std::vector<std::string>& arguments,
                             int output) {
  SpawnPlan plan;
  if (!plan.ready) return error_from_errno(ENOMEM, "start a program");
  if (const int error = fill(plan, output); error != 0)
    return error_from_errno(error, "start a program");

  std::vector<std::string> words = arguments;  // argv is char* const[], though nobody writes to it
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::string level = "LOG_LEVEL=error";
  char* environment[] = {level.data(), nullptr};

  pid_t pid = 0;
  const int error =
      posix_spawn(&pid, program.c_str(), &plan.actions, &plan.attributes, argv.data(), environment);
  if (error != 0) return error_from_errno(error, "start a program");
  return pid;
}

}  // namespace mesh
