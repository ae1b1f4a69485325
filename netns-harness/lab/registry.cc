#include "lab/registry.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "lab/error.h"
#include "lab/namespace.h"
#include "lab/process.h"
#include "mesh/unique_fd.h"

namespace mesh::lab {
namespace {

namespace fs = std::filesystem;

const std::string kRoot = "/run/mesh-lab";
constexpr std::size_t kMaxIdBytes = 24;  // leaves room for a Unix socket's path (108 bytes)

// Held while a lab's directory appears or an abandoned one is judged and removed, so that a sweep
// never meets a lab that has no owner file yet.
class RegistryLock {
 public:
  RegistryLock() {
    fs::create_directories(kRoot);
    const std::string path = kRoot + "/.lock";
    file_ = UniqueFd(check(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600), path));
    check(::flock(file_.get(), LOCK_EX), "lock " + path);
  }

 private:
  UniqueFd file_;
};

std::mutex own_labs_mutex;
std::set<std::string>& own_labs() {
  static std::set<std::string> labs;
  return labs;
}

std::string boot_id() { return read_file("/proc/sys/kernel/random/boot_id"); }

std::string pid_namespace() { return std::to_string(namespace_number("/proc/self/ns/pid")); }

// What is known of the process that made a lab.
struct Owner {
  std::string boot;
  std::string pids;  // the pid namespace its pid counts in
  int pid = 0;
  unsigned long long start = 0;

  static Owner self() {
    return {boot_id(), pid_namespace(), ::getpid(), start_time_of(::getpid()).value_or(0)};
  }
  static Owner read(const std::string& directory) {
    Owner owner;
    std::istringstream text(read_file(directory + "/owner"));
    text >> owner.boot >> owner.pids >> owner.pid >> owner.start;
    owner.boot += "\n";  // as the kernel writes it
    return owner;
  }
  void write(const std::string& directory) const {
    write_file(directory + "/owner", fmt::format("{}{} {} {}\n", boot, pids, pid, start));
  }
  [[nodiscard]] bool alive() const {
    if (boot != boot_id()) return false;
    if (pids != pid_namespace()) return true;  // a container's lab: not ours to judge
    return pid > 0 && start_time_of(pid) == start;
  }
};

void check_id(const std::string& id) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  if (id.empty() || id.size() > kMaxIdBytes || !std::all_of(id.begin(), id.end(), allowed))
    fail("lab id '{}': use 1 to {} of a-z, 0-9 and '-'", id, kMaxIdBytes);
}

std::string random_id() {
  std::random_device random;
  return fmt::format("{:08x}", random());
}

std::vector<std::string> entries_of(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> lab_ids() {
  std::vector<std::string> ids = entries_of(kRoot);
  std::erase_if(ids, [](const std::string& name) { return name.starts_with('.'); });
  return ids;
}

// The namespaces of a lab as /proc/PID/ns links name them: "net:[4026532]".
std::set<std::string> namespaces_of(const std::string& id) {
  std::set<std::string> result;
  const std::string directory = lab_directory(id) + "/ns";
  for (const auto& name : entries_of(directory)) {
    const unsigned long number = namespace_number(directory + "/" + name);
    if (number != 0) result.insert(fmt::format("{}:[{}]", name.substr(0, 3), number));
  }
  return result;
}

bool is_mount_point(const std::string& path) {
  std::istringstream mounts(read_file("/proc/self/mountinfo"));
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string skipped;
    std::string target;
    fields >> skipped >> skipped >> skipped >> skipped >> target;
    if (target == path) return true;
  }
  return false;
}

void kill_processes(const std::string& id) {
  const bool ended = wait_until(
      [&] {
        const auto pids = processes_of(id);
        for (const int pid : pids) (void)::kill(pid, SIGKILL);
        return pids.empty();
      },
      milliseconds(10'000), milliseconds(5));
  if (!ended) fail("lab {}: processes in its namespaces do not end", id);
}

void destroy_locked(const std::string& id) {
  const std::string directory = lab_directory(id);
  kill_processes(id);
  const std::string held = directory + "/ns";
  while (is_mount_point(held)) unmount_lazily(held);
  std::error_code error;
  fs::remove_all(directory, error);
  if (error) fail("cannot remove {}: {}", directory, error.message());
}

}  // namespace

std::string lab_directory(const std::string& id) { return kRoot + "/" + id; }

std::string create_lab_directory(std::string id) {
  if (::geteuid() != 0) fail("a lab needs root: it makes network namespaces");
  if (id.empty()) id = random_id();
  check_id(id);
  const RegistryLock lock;
  const std::string directory = lab_directory(id);
  if (fs::exists(directory))
    fail("lab {} exists already; `mesh-lab down --id {}` removes it", id, id);
  fs::create_directory(directory);
  Owner::self().write(directory);
  const std::string held = directory + "/ns";
  fs::create_directory(held);
  mount_at("mesh-lab", held, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700");
  mount_at("none", held, nullptr, MS_PRIVATE);  // mount namespaces can only be held in private
  const std::lock_guard guard(own_labs_mutex);
  own_labs().insert(id);
  return id;
}

void keep_lab(const std::string& id) {
  write_file(lab_directory(id) + "/keep", "");
  const std::lock_guard guard(own_labs_mutex);
  own_labs().erase(id);
}

void destroy_lab(const std::string& id) {
  check_id(id);
  {
    const RegistryLock lock;
    if (fs::exists(lab_directory(id))) destroy_locked(id);
  }
  const std::lock_guard guard(own_labs_mutex);
  own_labs().erase(id);
}

std::vector<std::string> sweep_labs() {
  std::vector<std::string> swept;
  const RegistryLock lock;
  for (const auto& id : lab_ids()) {
    const std::string directory = lab_directory(id);
    const Owner owner = Owner::read(directory);
    const bool rebooted = owner.boot != boot_id();
    if (owner.alive() || (fs::exists(directory + "/keep") && !rebooted)) continue;
    destroy_locked(id);
    swept.push_back(id);
  }
  return swept;
}

std::vector<LabSummary> list_labs() {
  std::vector<LabSummary> labs;
  for (const auto& id : lab_ids())
    labs.push_back(
        {id, fs::exists(lab_directory(id) + "/keep"), Owner::read(lab_directory(id)).alive()});
  return labs;
}

std::vector<int> processes_of(const std::string& id) {
  const std::set<std::string> namespaces = namespaces_of(id);
  std::vector<int> pids;
  if (namespaces.empty()) return pids;
  for (const auto& name : entries_of("/proc")) {
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const int pid = std::atoi(name.c_str());
    if (pid == ::getpid() || !start_time_of(pid)) continue;
    for (const char* kind : {"net", "mnt"}) {
      std::error_code error;
      const auto link = fs::read_symlink(fmt::format("/proc/{}/ns/{}", pid, kind), error);
      if (error || !namespaces.contains(link.string())) continue;
      pids.push_back(pid);
      break;
    }
  }
  return pids;
}

SignalGuard::SignalGuard() {
  sigset_t ending;
  sigemptyset(&ending);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ending, number);
  check(-::pthread_sigmask(SIG_BLOCK, &ending, nullptr), "pthread_sigmask");
  std::thread([ending] {
    int number = 0;
    (void)::sigwait(&ending, &number);
    std::set<std::string> labs;
    {
      const std::lock_guard guard(own_labs_mutex);
      labs = own_labs();
    }
    for (const auto& id : labs) {
      try {
        destroy_lab(id);
      } catch (const std::exception& error) {
        fmt::print(stderr, "clean-up of lab {}: {}\n", id, error.what());
      }
    }
    ::_exit(128 + number);
  }).detach();
}

}  // namespace mesh::lab
