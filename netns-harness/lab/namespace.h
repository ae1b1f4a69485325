// Network and mount namespaces that are held by a bind mount of their file, so that they outlive
// the process that made them and are found again by path.
//
// The caller's own namespaces never change: each is made, and entered, on a thread of its own.
#pragma once

#include <functional>
#include <string>

#include "mesh/unique_fd.h"

namespace mesh::lab {

class NetworkNamespace {
 public:
  // Makes a namespace, held at `path` (created), with its loopback up.
  static NetworkNamespace create(const std::string& path);
  static NetworkNamespace open(const std::string& path);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

  // Runs `work` on a thread inside the namespace and waits; sockets made there stay there.
  // Exceptions come through.
  void inside(const std::function<void()>& work) const;
  // A socket of this namespace, O_CLOEXEC. Throws LabError.
  [[nodiscard]] UniqueFd socket(int domain, int type, int protocol) const;
  // "net.ipv4.ip_forward"; dots separate. Throws LabError when there is no such key.
  void set_sysctl(const std::string& key, const std::string& value) const;
  [[nodiscard]] std::string sysctl(const std::string& key) const;
  // One line a command, as `ip -batch` takes them; stops at the first that fails (LabError).
  void ip(const std::string& batch) const;

 private:
  NetworkNamespace(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_;
  UniqueFd fd_;
};

class MountNamespace {
 public:
  // A copy of our mounts, private to it, with `setup` run inside (and inside `network`, whose /sys
  // it then shows) before it is held at `path`.
  static MountNamespace create(const std::string& path, const NetworkNamespace& network,
                               const std::function<void()>& setup);
  static MountNamespace open(const std::string& path);
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  explicit MountNamespace(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// mount(2) and umount2(2) that throw.
void mount_at(const std::string& source, const std::string& target, const char* type,
              unsigned long flags, const char* data = nullptr);
void unmount_lazily(const std::string& target);

// The file system's number of a namespace file: what /proc/PID/ns/net links to as "net:[NUMBER]".
// 0 when it is no namespace file.
unsigned long namespace_number(const std::string& path);

}  // namespace mesh::lab
