#include "lab/namespace.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include <algorithm>
#include <exception>
#include <future>
#include <thread>

#include "lab/error.h"
#include "lab/process.h"

namespace mesh::lab {
namespace {

UniqueFd open_namespace(const std::string& path) {
  if (namespace_number(path) == 0) fail("{}: not a namespace; is the lab still up?", path);
  return UniqueFd(check(::open(path.c_str(), O_RDONLY | O_CLOEXEC), path));
}

void make_empty_file(const std::string& path) {
  const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
  const UniqueFd file(check(::open(path.c_str(), flags, 0444), path));
}

// Runs `work` on a new thread and rethrows here what it threw.
void on_a_thread(const std::function<void()>& work) {
  std::exception_ptr failure;
  std::thread([&] {
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
  }).join();
  if (failure) std::rethrow_exception(failure);
}

std::string sysctl_path(std::string key) {
  std::replace(key.begin(), key.end(), '.', '/');
  return "/proc/sys/" + key;
}

}  // namespace

void mount_at(const std::string& source, const std::string& target, const char* type,
              unsigned long flags, const char* data) {
  check(::mount(source.c_str(), target.c_str(), type, flags, data), "mount at " + target);
}

void unmount_lazily(const std::string& target) {
  check(::umount2(target.c_str(), MNT_DETACH), "unmount " + target);
}

unsigned long namespace_number(const std::string& path) {
  struct statfs system = {};
  struct stat file = {};
  if (::statfs(path.c_str(), &system) != 0 || system.f_type != NSFS_MAGIC) return 0;
  return ::stat(path.c_str(), &file) == 0 ? file.st_ino : 0;
}

NetworkNamespace NetworkNamespace::create(const std::string& path) {
  make_empty_file(path);
  on_a_thread([&] {
    check(::unshare(CLONE_NEWNET), "a new network namespace (root is needed)");
    mount_at("/proc/thread-self/ns/net", path, nullptr, MS_BIND);
  });
  NetworkNamespace result = open(path);
  result.ip("link set lo up\n");
  return result;
}

NetworkNamespace NetworkNamespace::open(const std::string& path) {
  return {path, open_namespace(path)};
}

void NetworkNamespace::inside(const std::function<void()>& work) const {
  on_a_thread([&] {
    check(::setns(fd_.get(), CLONE_NEWNET), "enter " + path_);
    work();
  });
}

UniqueFd NetworkNamespace::socket(int domain, int type, int protocol) const {
  UniqueFd result;
  inside(
      [&] { result = UniqueFd(check(::socket(domain, type | SOCK_CLOEXEC, protocol), "socket")); });
  return result;
}

void NetworkNamespace::set_sysctl(const std::string& key, const std::string& value) const {
  inside([&] {
    const std::string path = sysctl_path(key);
    const UniqueFd file(check(::open(path.c_str(), O_WRONLY | O_CLOEXEC), path));
    check(::write(file.get(), value.data(), value.size()), key + "=" + value);
  });
}

std::string NetworkNamespace::sysctl(const std::string& key) const {
  std::string value;
  inside([&] { value = read_file(sysctl_path(key)); });
  while (!value.empty() && value.back() == '\n') value.pop_back();
  return value;
}

void NetworkNamespace::ip(const std::string& batch) const {
  (void)run_or_throw({.argv = {"ip", "-batch", "-"}, .place = {.network = fd()}, .input = batch});
}

MountNamespace MountNamespace::create(const std::string& path, const NetworkNamespace& network,
                                      const std::function<void()>& setup) {
  make_empty_file(path);
  std::promise<pid_t> made;
  std::promise<void> held;
  auto ready = made.get_future();
  std::thread inside([&, holding = held.get_future()] {
    try {
      check(::setns(network.fd(), CLONE_NEWNET), "enter " + network.path());
      check(::unshare(CLONE_NEWNS), "a new mount namespace (root is needed)");
      mount_at("none", "/", nullptr, MS_REC | MS_PRIVATE);
      setup();
      made.set_value(static_cast<pid_t>(::syscall(SYS_gettid)));
      holding.wait();  // the namespace lives with this thread until its file is bound
    } catch (...) {
      made.set_exception(std::current_exception());
    }
  });
  std::exception_ptr failure;
  try {
    const pid_t thread = ready.get();
    mount_at(fmt::format("/proc/self/task/{}/ns/mnt", thread), path, nullptr, MS_BIND);
  } catch (...) {
    failure = std::current_exception();
  }
  held.set_value();
  inside.join();
  if (failure) std::rethrow_exception(failure);
  return open(path);
}

MountNamespace MountNamespace::open(const std::string& path) {
  return MountNamespace(open_namespace(path));
}

}  // namespace mesh::lab
