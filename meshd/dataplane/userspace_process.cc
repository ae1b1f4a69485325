#include "meshd/dataplane/userspace_process.h"

#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "meshd/dataplane/errors.h"
#include "meshd/dataplane/spawn.h"
#include "meshd/dataplane/uapi_client.h"
#include "meshd/dataplane/uapi_codec.h"

namespace mesh {
namespace {

using Steady = std::chrono::steady_clock;

constexpr std::string_view kSocketDirectory = "/var/run/wireguard";
constexpr off_t kOutputBytes = off_t{16} * 1024;

std::string socket_path_of(const std::string& name) {
  return fmt::format("{}/{}.sock", kSocketDirectory, name);
}

UniqueFd open_pidfd(pid_t pid) {
  return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));  // CLOEXEC by itself
}

// Network namespaces are equal when their files in /proc are.
bool in_our_network_namespace(pid_t pid) {
  struct stat theirs {};
  struct stat ours {};
  return stat(fmt::format("/proc/{}/ns/net", pid).c_str(), &theirs) == 0 &&
         stat("/proc/thread-self/ns/net", &ours) == 0 && theirs.st_dev == ours.st_dev &&
         theirs.st_ino == ours.st_ino;
}

std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

// "wireguard-go [-f] NAME", whatever path it was started by.
bool is_process_of(pid_t pid, const std::string& command, const std::string& name) {
  std::ifstream file(fmt::format("/proc/{}/cmdline", pid), std::ios::binary);
  std::vector<std::string> arguments;
  for (std::string argument; arguments.size() < 16 && std::getline(file, argument, '\0');)
    arguments.push_back(std::move(argument));
  return arguments.size() > 1 && base_name(arguments.front()) == base_name(command) &&
         arguments.back() == name;
}

std::vector<pid_t> all_processes() {
  std::vector<pid_t> pids;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string text = entry->path().filename();
    pid_t pid = 0;
    const auto [stop, parse_error] = std::from_chars(text.data(), text.data() + text.size(), pid);
    if (parse_error == std::errc() && stop == text.data() + text.size()) pids.push_back(pid);
  }
  return pids;
}

Result<void> check_tun() {
  const UniqueFd tun(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  if (tun) return {};
  const int error = errno;
  if (error == ENOENT || error == ENODEV || error == ENXIO)
    return Error{ErrorCode::kUnsupported,
                 "/dev/net/tun is missing (load the module: modprobe tun; in a container, give it "
                 "this device)",
                 error};
  return error_from_errno(error, "open /dev/net/tun");
}

// What the process wrote that helps a person: its last error, else its last line.
std::string last_words(int output) {
  std::array<char, kOutputBytes> bytes{};
  const ssize_t size = pread(output, bytes.data(), bytes.size(), 0);
  std::string_view text(bytes.data(), size < 0 ? 0 : static_cast<std::size_t>(size));
  text = text.substr(0, text.find('\0'));
  std::string_view last;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    const bool is_error = line.find("ERROR") != std::string_view::npos;
    if (!line.empty() && (is_error || last.find("ERROR") == std::string_view::npos)) last = line;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return std::string(last);
}

// Takes the process's output, as much as helps, and never blocks or breaks: it may run for months
// after we are gone. A sealed memory file has a fixed size; writes beyond it fail, which Go's
// logger ignores.
UniqueFd make_output() {
  UniqueFd output(memfd_create("wireguard-go output", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (output && ftruncate(output.get(), kOutputBytes) == 0 &&
      fcntl(output.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) == 0)
    return output;
  return UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC));
}

std::string describe(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return fmt::format("ended with status {}", info.si_status);
  return fmt::format("was killed by signal {}", info.si_status);
}

}  // namespace

Result<UserspaceProcess> UserspaceProcess::start(const std::string& command,
                                                 const std::string& name) {
  if (auto tun = check_tun(); !tun) return tun.error();
  if (if_nametoindex(name.c_str()) != 0)
    return make_error(ErrorCode::kExists,
                      "a link named {} exists already and is not ours (remove it, or set "
                      "wireguard.interface)",
                      name);
  const Result<std::string> program = find_program(command);
  if (!program)
    return program.error().at("install the package wireguard-go or set wireguard.userspaceCommand");
  const UniqueFd output = make_output();
  if (!output) return error_from_errno(errno, "open /dev/null");

  const Result<pid_t> pid = spawn_detached(*program, {command, "-f", name}, output.get());
  if (!pid) return pid.error().at(*program);
  UserspaceProcess process(*pid, open_pidfd(*pid), socket_path_of(name));
  if (!process.pidfd_) {
    const Error error = error_from_errno(errno, "watch wireguard-go");
    (void)kill(*pid, SIGKILL);  // our child, not waited for: the pid is still its own
    (void)waitpid(*pid, nullptr, 0);
    return error;
  }

  const Steady::time_point deadline = Steady::now() + kStartTimeout;
  const UapiClient client(process.socket_path_);
  for (;;) {
    if (process.wait_for_exit(std::chrono::milliseconds(5))) {
      const std::string how = process.reap();
      return make_error(ErrorCode::kUnavailable, "{} {}: {}", *program, how,
                        last_words(output.get()));
    }
    if (const auto server = client.server(); server && *server == *pid)
      if (client.exchange(kUapiGet)) return process;
    if (Steady::now() < deadline) continue;
    const std::string words = last_words(output.get());
    (void)process.stop();
    return make_error(ErrorCode::kTimeout, "{} did not open {} within {} s: {}", *program,
                      process.socket_path_, kStartTimeout.count(), words);
  }
}

Result<std::optional<UserspaceProcess>> UserspaceProcess::adopt(pid_t pid,
                                                                std::string socket_path) {
  UniqueFd pidfd = open_pidfd(pid);
  if (!pidfd && errno == ESRCH) return std::optional<UserspaceProcess>();
  if (!pidfd) return error_from_errno(errno, fmt::format("watch process {}", pid));
  // The pid may have passed to another process before the pidfd was open; the socket tells.
  const Result<pid_t> server = UapiClient(socket_path).server();
  if (!server || *server != pid) return std::optional<UserspaceProcess>();
  return std::optional(UserspaceProcess(pid, std::move(pidfd), std::move(socket_path)));
}

Result<std::optional<UserspaceProcess>> UserspaceProcess::find_running(const std::string& command,
                                                                       const std::string& name) {
  const std::string path = socket_path_of(name);
  const Result<pid_t> server = UapiClient(path).server();
  const bool ours = server && *server > 0 && in_our_network_namespace(*server);
  if (ours) return adopt(*server, path);
  auto found = find_by_scan(command, name);
  if (!found || *found || !server) return found;
  return make_error(ErrorCode::kBusy,
                    "{} is served by process {} of another network namespace (set another "
                    "wireguard.interface, or give meshd its own /run)",
                    path, *server);
}

Result<std::optional<UserspaceProcess>> UserspaceProcess::find_by_scan(const std::string& command,
                                                                       const std::string& name) {
  for (const pid_t pid : all_processes()) {
    if (!is_process_of(pid, command, name) || !in_our_network_namespace(pid)) continue;
    // Both, because an absolute symbolic link /var/run leads out of the process's root into ours;
    // adopt() refuses a socket that is not the process's own.
    for (const std::string_view directory : {"run/wireguard", "var/run/wireguard"}) {
      auto adopted = adopt(pid, fmt::format("/proc/{}/root/{}/{}.sock", pid, directory, name));
      if (!adopted || *adopted) return adopted;
    }
  }
  return std::optional<UserspaceProcess>();
}

bool UserspaceProcess::wait_for_exit(std::chrono::milliseconds timeout) const {
  const Steady::time_point deadline = Steady::now() + timeout;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Steady::now());
    pollfd poll_fd{pidfd_.get(), POLLIN, 0};
    const int ready = poll(&poll_fd, 1, std::max(0, static_cast<int>(left.count())));
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

bool UserspaceProcess::running() const { return !wait_for_exit(std::chrono::milliseconds(0)); }

std::string UserspaceProcess::reap() {
  siginfo_t info{};
  const auto id = static_cast<id_t>(pidfd_.get());
  // ECHILD: it was another's child, or was reaped before.
  if (waitid(P_PIDFD, id, &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0) return "ended";
  return describe(info);
}

Result<void> UserspaceProcess::stop() {
  for (const int signal : {SIGTERM, SIGKILL}) {
    if (syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0) != 0 && errno != ESRCH)
      return error_from_errno(errno, fmt::format("stop process {}", pid_));
    if (wait_for_exit(kStopTimeout)) {
      (void)reap();
      return {};
    }
  }
  return make_error(ErrorCode::kTimeout, "process {} does not end", pid_);
}

}  // namespace mesh
