// ServerProcess: a real server (etcd, kube-apiserver) that a test starts for itself and that dies
// with it, also when the test is killed. The main thread of a test only: the kernel ends the child
// when the thread that made it ends.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace mesh::testing {

class ServerProcess {
 public:
  // Throws std::runtime_error. What it says goes to the file `log`.
  ServerProcess(const std::vector<std::string>& argv, const std::string& log);
  ~ServerProcess() { kill(); }
  ServerProcess(ServerProcess&& other) noexcept : pid_(other.pid_) { other.pid_ = -1; }
  ServerProcess& operator=(ServerProcess&&) = delete;
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  pid_t pid() const { return pid_; }
  bool running();
  void kill();  // SIGKILL, and waits
  void stop();  // SIGTERM, and waits
  void suspend();
  void resume();

 private:
  void end(int signal);
  pid_t pid_ = -1;
};

// A port of 127.0.0.1 that nobody listened on a moment ago.
std::uint16_t free_port();

}  // namespace mesh::testing
