// The life of wireguard-go: started, found again after our restart, watched, and never confused
// with somebody else's.
#include "meshd/dataplane/userspace_process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "meshd/dataplane/uapi_client.h"
#include "meshd/dataplane/wireguard_userspace.h"
#include "tests/dataplane/sandbox.h"
#include "tests/eventually.h"

namespace mesh {
namespace {

using testing::HasSubstr;

const std::string kCommand = "wireguard-go";

class UserspaceProcessTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!sandbox::available()) GTEST_SKIP() << sandbox::why_not();
    sandbox::NetworkNamespace fresh;
  }
  // A program of the test's own, for what wireguard-go does not do.
  std::string make_script(const std::string& text) {
    const std::string path = "/run/program";
    std::ofstream(path) << "#!/bin/sh\n" << text << "\n";
    EXPECT_EQ(chmod(path.c_str(), 0755), 0);
    return path;
  }
};

UserspaceProcess start(const std::string& name) {
  auto process = UserspaceProcess::start(kCommand, name);
  if (!process) throw std::runtime_error(process.error().message);
  return std::move(*process);
}

std::optional<UserspaceProcess> find(const std::string& name) {
  auto found = UserspaceProcess::find_running(kCommand, name);
  if (!found) throw std::runtime_error(found.error().message);
  return std::move(*found);
}

// Runs `body` in a child; true when it returned true.
bool in_child(const std::function<bool()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    bool ok = false;
    try {
      ok = body();
    } catch (const std::exception& error) {
      (void)fprintf(stderr, "in the child: %s\n", error.what());
    }
    _exit(ok ? 0 : 1);
  }
  int status = 0;
  (void)waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool answers(const UserspaceProcess& process) {
  return WireguardUserspace("wga", process.socket_path()).read().has_value();
}

TEST_F(UserspaceProcessTest, StartsAnsweringAndStops) {
  UserspaceProcess process = start("wga");
  EXPECT_TRUE(process.running());
  EXPECT_TRUE(answers(process));
  EXPECT_NE(if_nametoindex("wga"), 0U);
  ASSERT_TRUE(process.stop());
  EXPECT_FALSE(process.running());
  EXPECT_EQ(if_nametoindex("wga"), 0U) << "the device is gone with it";
}

TEST_F(UserspaceProcessTest, DependsOnNothingOfOurs) {
  const int leaked = open("/dev/null", O_RDONLY);  // deliberately not CLOEXEC
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &blocked, nullptr), 0);
  UserspaceProcess process = start("wga");
  ASSERT_EQ(pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr), 0);
  const std::string proc = fmt::format("/proc/{}", process.pid());
  EXPECT_EQ(getsid(process.pid()), process.pid());
  EXPECT_EQ(std::filesystem::read_symlink(proc + "/cwd"), "/");
  EXPECT_EQ(std::filesystem::read_symlink(proc + "/fd/0"), "/dev/null");
  for (const auto& entry : std::filesystem::directory_iterator(proc + "/fd"))
    EXPECT_FALSE(std::filesystem::read_symlink(entry.path()).string().starts_with("pipe:") &&
                 entry.path().filename().string().size() == 1 &&
                 entry.path().filename().string() < "3")
        << "no pipe to us on its standard streams";
  std::ifstream environment(proc + "/environ");
  std::string text((std::istreambuf_iterator<char>(environment)), {});
  EXPECT_EQ(text, std::string("LOG_LEVEL=error\0", 16));
  close(leaked);
  ASSERT_TRUE(process.stop()) << "SIGTERM is not blocked in it";
}

TEST_F(UserspaceProcessTest, ItsDeathIsSeenAndExplained) {
  UserspaceProcess process = start("wga");
  pollfd exit{process.exit_fd(), POLLIN, 0};
  EXPECT_EQ(poll(&exit, 1, 0), 0);
  ASSERT_EQ(kill(process.pid(), SIGKILL), 0);
  EXPECT_EQ(poll(&exit, 1, 10'000), 1);
  EXPECT_FALSE(process.running());
  EXPECT_EQ(process.reap(), "was killed by signal 9");
  EXPECT_EQ(process.reap(), "ended") << "asked again, nothing more is known";
}

TEST_F(UserspaceProcessTest, StaleSocketOfADeadProcessIsNoProcess) {
  UserspaceProcess process = start("wga");
  ASSERT_EQ(kill(process.pid(), SIGKILL), 0);
  ASSERT_TRUE(sandbox::eventually([&] { return !process.running(); }));
  (void)process.reap();
  ASSERT_TRUE(std::filesystem::exists("/run/wireguard/wga.sock"));
  EXPECT_FALSE(find("wga"));
  UserspaceProcess again = start("wga");
  EXPECT_TRUE(answers(again));
  ASSERT_TRUE(again.stop());
}

TEST_F(UserspaceProcessTest, OurOtherChildrenAreNotReaped) {
  const pid_t other = fork();
  if (other == 0) _exit(42);
  UserspaceProcess process = start("wga");
  ASSERT_TRUE(process.stop());
  int status = 0;
  ASSERT_EQ(waitpid(other, &status, 0), other);
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST_F(UserspaceProcessTest, SurvivesUsAndIsAdoptedByOurSuccessor) {
  ASSERT_TRUE(in_child([] { return start("wga").running(); }));  // that daemon is gone
  auto found = find("wga");
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->running());
  EXPECT_TRUE(answers(*found));
  EXPECT_EQ(found->socket_path(), "/var/run/wireguard/wga.sock");
  ASSERT_EQ(kill(found->pid(), SIGKILL), 0);
  EXPECT_TRUE(sandbox::eventually([&] { return !found->running(); })) << "watched all the same";
}

TEST_F(UserspaceProcessTest, IsAdoptedFromAnotherMountNamespace) {
  UserspaceProcess process = start("wga");
  EXPECT_TRUE(in_child([&] {
    if (unshare(CLONE_NEWNS) != 0 || mount("tmpfs", "/run", "tmpfs", 0, "") != 0) return false;
    const auto found = find("wga");
    return found && found->pid() == process.pid() && answers(*found) &&
           found->socket_path().starts_with("/proc/");
  }));
  ASSERT_TRUE(process.stop());
}

TEST_F(UserspaceProcessTest, NothingIsFoundWhereNothingRuns) {
  EXPECT_FALSE(find("wga"));
  UserspaceProcess other = start("wgb");
  EXPECT_FALSE(find("wga"));
  ASSERT_TRUE(other.stop());
}

TEST_F(UserspaceProcessTest, OneOfAnotherNetworkNamespaceIsNotOurs) {
  UserspaceProcess process = start("wga");
  sandbox::NetworkNamespace other;
  const auto found = UserspaceProcess::find_running(kCommand, "wga");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kBusy);
  EXPECT_THAT(found.error().message, HasSubstr("another network namespace"));
  EXPECT_TRUE(process.running());
  ASSERT_TRUE(process.stop());
}

TEST_F(UserspaceProcessTest, LinkOfThatNameIsNotTouched) {
  sandbox::make_link("wga", "bridge");
  const unsigned index = if_nametoindex("wga");
  const auto process = UserspaceProcess::start(kCommand, "wga");
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().code, ErrorCode::kExists);
  EXPECT_THAT(process.error().message, HasSubstr("wireguard.interface"));
  EXPECT_EQ(if_nametoindex("wga"), index);
}

TEST_F(UserspaceProcessTest, MissingProgramSaysWhatToInstall) {
  for (const char* command : {"wireguard-go-of-nobody", "/nowhere/wireguard-go", "/run", ""}) {
    const auto process = UserspaceProcess::start(command, "wga");
    ASSERT_FALSE(process) << command;
    EXPECT_EQ(process.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(process.error().message, HasSubstr("install the package wireguard-go"));
    EXPECT_THAT(process.error().message, HasSubstr("wireguard.userspaceCommand"));
  }
}

TEST_F(UserspaceProcessTest, MissingTunDeviceSaysSo) {
  EXPECT_TRUE(in_child([] {
    if (unshare(CLONE_NEWNS) != 0 || mount("tmpfs", "/dev/net", "tmpfs", 0, "") != 0) return false;
    const auto process = UserspaceProcess::start(kCommand, "wga");
    return !process && process.error().code == ErrorCode::kUnsupported &&
           process.error().message.find("modprobe tun") != std::string::npos;
  }));
}

TEST_F(UserspaceProcessTest, ProgramThatEndsAtOnceIsQuoted) {
  const auto process =
      UserspaceProcess::start(make_script("echo 'ERROR: no luck today' >&2; exit 3"), "wga");
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(process.error().message, HasSubstr("ended with status 3"));
  EXPECT_THAT(process.error().message, HasSubstr("no luck today"));
}

TEST_F(UserspaceProcessTest, ProgramThatTalksForEverIsBoundedAndEnded) {
  const std::string program = make_script("while :; do echo chatter; done");
  const auto process = UserspaceProcess::start(program, "wga");
  ASSERT_FALSE(process);
  EXPECT_THAT(process.error().code, testing::AnyOf(ErrorCode::kTimeout, ErrorCode::kUnavailable));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "no child is left";
}

// A signal takes its time: until then a thread on another processor may still answer.
bool all_threads_stopped(pid_t pid) {
  for (const auto& thread :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    std::ifstream file(thread.path() / "stat");
    const std::string stat((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
    const auto end_of_name = stat.rfind(") ");
    if (end_of_name == std::string::npos || stat[end_of_name + 2] != 'T') return false;
  }
  return true;
}

TEST_F(UserspaceProcessTest, StoppedProcessTimesOutAndAnswersAgainLater) {
  UserspaceProcess process = start("wga");
  WireguardUserspace device("wga", process.socket_path());
  ASSERT_EQ(kill(process.pid(), SIGSTOP), 0);
  ASSERT_TRUE(test::eventually([&] { return all_threads_stopped(process.pid()); }));
  const auto hung = device.read();
  ASSERT_FALSE(hung);
  EXPECT_EQ(hung.error().code, ErrorCode::kTimeout);
  ASSERT_EQ(kill(process.pid(), SIGCONT), 0);
  EXPECT_TRUE(device.read());
  ASSERT_TRUE(process.stop());
}

}  // namespace
}  // namespace mesh
