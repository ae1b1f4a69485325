#include "lab/process.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "lab/error.h"

extern char** environ;

namespace mesh::lab {
namespace {

UniqueFd memory_file(const char* name) {
  return UniqueFd(check(::memfd_create(name, MFD_CLOEXEC), name));
}

std::string content_of(int fd) {
  std::string text;
  char buffer[16384];
  off_t offset = 0;
  for (;;) {
    const ssize_t got = ::pread(fd, buffer, sizeof buffer, offset);
    if (got <= 0) return text;
    text.append(buffer, static_cast<std::size_t>(got));
    offset += got;
  }
}

void write_all(int fd, const std::string& text) {
  std::size_t done = 0;
  while (done < text.size())
    done += static_cast<std::size_t>(
        check(::write(fd, text.data() + done, text.size() - done), "write"));
}

std::vector<std::string> merged_environment(const std::map<std::string, std::string>& added) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!added.contains(text.substr(0, text.find('=')))) result.push_back(text);
  }
  for (const auto& [name, value] : added) result.push_back(name + "=" + value);
  return result;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (auto& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

// Everything between fork and exec: system calls only, for another thread may hold the allocator.
struct Child {
  Place place;
  int input = -1;
  int output = -1;
  int errors = -1;
  int report = -1;
  bool drop_net_admin = false;
  const char* program = nullptr;
  char** argv = nullptr;
  char** env = nullptr;

  [[noreturn]] void become() const {
    sigset_t none;
    sigemptyset(&none);
    (void)::sigprocmask(SIG_SETMASK, &none, nullptr);
    (void)::setsid();  // a Ctrl-C at the terminal is for the harness; it stops its children itself
    const bool ready = (place.network < 0 || ::setns(place.network, CLONE_NEWNET) == 0) &&
                       (place.mounts < 0 || ::setns(place.mounts, CLONE_NEWNS) == 0) &&
                       ::chdir("/") == 0 && ::dup2(input, 0) >= 0 && ::dup2(output, 1) >= 0 &&
                       ::dup2(errors, 2) >= 0 &&
                       (!drop_net_admin || ::prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0) == 0);
    if (ready) (void)::execve(program, argv, env);
    const int error = errno;
    (void)!::write(report, &error, sizeof error);
    ::_exit(127);
  }
};

}  // namespace

std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return ::access(name.c_str(), X_OK) == 0 ? name : "";
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? std::string(path) + ":/usr/sbin:/sbin" : "/usr/sbin:/usr/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    std::string candidate = folder + "/" + name;
    if (!folder.empty() && ::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

Process::Process(const Command& command) {
  const std::string program = find_program(command.argv.at(0));
  if (program.empty()) fail("{}: no such program in PATH; install it", command.argv[0]);
  std::vector<std::string> arguments = command.argv;
  std::vector<std::string> environment = merged_environment(command.environment);
  const std::vector<char*> argv = pointers_to(arguments);
  const std::vector<char*> env = pointers_to(environment);

  const UniqueFd input = memory_file("input");
  write_all(input.get(), command.input);
  check(::lseek(input.get(), 0, SEEK_SET), "lseek");
  if (command.log_path.empty()) {
    output_ = memory_file("output");
    errors_ = memory_file("errors");
  } else {
    const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    output_ = UniqueFd(check(::open(command.log_path.c_str(), flags, 0644), command.log_path));
    errors_ = UniqueFd(check(::fcntl(output_.get(), F_DUPFD_CLOEXEC, 0), "dup"));
  }
  int ends[2];
  check(::pipe2(ends, O_CLOEXEC), "pipe2");  // closes without a byte when exec succeeds
  const UniqueFd report_in(ends[0]);
  UniqueFd report_out(ends[1]);

  const Child child{command.place,
                    input.get(),
                    output_.get(),
                    errors_.get(),
                    ends[1],
                    command.drop_net_admin,
                    program.c_str(),
                    const_cast<char**>(argv.data()),
                    const_cast<char**>(env.data())};
  pid_ = check(::fork(), "fork");
  if (pid_ == 0) child.become();
  report_out.reset();
  int error = 0;
  if (::read(report_in.get(), &error, sizeof error) == static_cast<ssize_t>(sizeof error)) {
    (void)::waitpid(pid_, nullptr, 0);
    pid_ = -1;
    fail("cannot start {}: {}", program, std::strerror(error));
  }
  // glibc 2.36 declares pidfd_open without C linkage.
  pidfd_ = UniqueFd(static_cast<int>(check(::syscall(SYS_pidfd_open, pid_, 0), "pidfd_open")));
}

Process& Process::operator=(Process&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  std::swap(output_, other.output_);
  std::swap(errors_, other.errors_);
  std::swap(exit_code_, other.exit_code_);
  return *this;
}

Process::~Process() {
  if (pid_ <= 0 || !pidfd_ || exit_code_) return;
  (void)::kill(pid_, SIGKILL);
  (void)::waitpid(pid_, nullptr, 0);
}

bool Process::running() { return pid_ > 0 && !wait(milliseconds(0)); }

void Process::signal(int number) {
  if (pid_ > 0 && !exit_code_) (void)::kill(pid_, number);  // not reaped yet: the pid is ours
}

std::optional<int> Process::wait(milliseconds timeout) {
  if (exit_code_ || pid_ <= 0) return exit_code_;
  pollfd waiting{pidfd_.get(), POLLIN, 0};
  const auto deadline = Clock::now() + timeout;
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
    const int ready = ::poll(&waiting, 1, left.count() > 0 ? static_cast<int>(left.count()) : 0);
    if (ready > 0) break;
    if (ready == 0) return std::nullopt;
    if (errno != EINTR) check(-1, "poll");
  }
  int status = 0;
  check(::waitpid(pid_, &status, 0), "waitpid");
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return exit_code_;
}

int Process::stop(milliseconds grace) {
  signal(SIGTERM);
  if (const auto code = wait(grace * patience())) return *code;
  signal(SIGKILL);
  return wait(milliseconds(60'000)).value_or(-1);
}

std::string Process::output() const { return content_of(output_.get()); }
std::string Process::errors() const { return content_of(errors_.get()); }

Outcome run(const Command& command, milliseconds timeout) {
  Process process(command);
  Outcome outcome;
  const auto code = process.wait(timeout * patience());
  if (!code) process.signal(SIGKILL);
  outcome.timed_out = !code;
  outcome.exit_code = code ? *code : process.wait(milliseconds(60'000)).value_or(-1);
  outcome.output = process.output();
  outcome.errors = process.errors();
  return outcome;
}

std::string run_or_throw(const Command& command, milliseconds timeout) {
  Outcome outcome = run(command, timeout);
  if (outcome.ok()) return std::move(outcome.output);
  std::string line;
  for (const auto& word : command.argv) line += (line.empty() ? "" : " ") + word;
  fail("{} {}: {}{}{}", line,
       outcome.timed_out ? "did not end" : fmt::format("exited {}", outcome.exit_code),
       outcome.errors, outcome.output, command.input.empty() ? "" : "input was:\n" + command.input);
}

std::optional<unsigned long long> start_time_of(pid_t pid) {
  const std::string stat = read_file(fmt::format("/proc/{}/stat", pid));
  const auto end_of_name = stat.rfind(')');  // the name itself may hold spaces and brackets
  if (end_of_name == std::string::npos) return std::nullopt;
  std::istringstream fields(stat.substr(end_of_name + 1));
  std::string state;
  fields >> state;
  if (state == "Z" || state == "X") return std::nullopt;  // ended; only its parent has not looked
  std::string skipped;
  for (int field = 4; field < 22; ++field) fields >> skipped;
  unsigned long long ticks = 0;
  if (!(fields >> ticks)) return std::nullopt;
  return ticks;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void write_file(const std::string& path, const std::string& text) {
  const UniqueFd file(
      check(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), path));
  write_all(file.get(), text);
}

}  // namespace mesh::lab
