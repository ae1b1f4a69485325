// main() of the data plane's system tests: see sandbox.h.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/dataplane/sandbox.h"

namespace mesh::sandbox {
namespace {

std::string trouble = "the test program did not start as root";

bool fail(const char* what) {
  trouble = std::string(what) + ": " + std::strerror(errno);
  return false;
}

// In the child: the init of a new PID namespace, in a mount namespace of its own.
bool enter_mounts() {
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return fail("private mounts");
  if (mount("proc", "/proc", "proc", 0, nullptr) != 0) return fail("mount /proc");
  (void)mkdir("/run", 0755);  // a minimal VM may have neither
  (void)mkdir("/var", 0755);
  (void)!symlink("/run", "/var/run");  // what stat() below finds decides
  if (mount("tmpfs", "/run", "tmpfs", 0, "size=16m") != 0) return fail("mount /run");
  struct stat run {};
  struct stat var_run {};
  if (stat("/run", &run) != 0 || stat("/var/run", &var_run) != 0) return fail("stat /run");
  if (run.st_dev != var_run.st_dev && mount("tmpfs", "/var/run", "tmpfs", 0, "size=16m") != 0)
    return fail("mount /var/run");
  trouble.clear();
  return true;
}

// The tests run as an ordinary process below init: sanitizers do not work as PID 1, and orphans of
// the tests are init's to reap. When init ends, the kernel kills all that is left.
[[noreturn]] void be_init() {
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  (void)enter_mounts();
  const pid_t tests = fork();
  if (tests == 0) std::exit(RUN_ALL_TESTS());  // not _exit: the leak checker reports at exit
  for (;;) {
    int status = 0;
    const pid_t ended = waitpid(-1, &status, 0);
    if (ended < 0 && errno != EINTR) _exit(1);
    if (ended != tests) continue;
    if (WIFEXITED(status)) _exit(WEXITSTATUS(status));
    (void)std::fprintf(stderr, "the tests were killed by signal %d\n", WTERMSIG(status));
    _exit(1);
  }
}

}  // namespace

bool available() { return trouble.empty(); }
std::string why_not() {
  return "NOT TESTED: needs root and namespaces of its own (" + trouble + ")";
}

int main_in_sandbox() {
  if (geteuid() != 0 || unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) return RUN_ALL_TESTS();
  (void)std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) return 1;
  if (child == 0) be_init();
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  // Without its init this process can start nothing any more, not even the leak checker.
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

}  // namespace mesh::sandbox

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (testing::GTEST_FLAG(list_tests)) return RUN_ALL_TESTS();
  return mesh::sandbox::main_in_sandbox();
}
