// Process: a child in the namespaces it is told to live in, and run(): a command and what it said.
//
// Any thread may start one; the object itself belongs to one thread at a time. Starting costs a
// fork; nothing here goes through a shell.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lab/wait.h"
#include "mesh/unique_fd.h"

namespace mesh::lab {

// Where a child runs. A descriptor of -1 leaves that namespace as it is; descriptors are borrowed.
struct Place {
  int network = -1;
  int mounts = -1;
};

struct Command {
  std::vector<std::string> argv;
  Place place = {};
  std::map<std::string, std::string> environment = {};  // added to ours
  std::string input = {};                               // what the child reads on standard input
  std::string log_path = {};  // standard output and error are appended here, where given
  // Capabilities are given up as `setpriv --bounding-set` would: for tests of a daemon without
  // them.
  bool drop_net_admin = false;
};

struct Outcome {
  int exit_code = -1;  // 128 + n when signal n ended it
  bool timed_out = false;
  std::string output;  // standard output
  std::string errors;  // standard error
  [[nodiscard]] bool ok() const { return exit_code == 0 && !timed_out; }
};

class Process {
 public:
  // Throws LabError when the program is not found or the child cannot be started.
  explicit Process(const Command& command);
  Process(Process&& other) noexcept { *this = std::move(other); }
  Process& operator=(Process&&) noexcept;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();  // kills a child that still runs, unless released

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] bool running();
  void signal(int number);
  // The exit code (128 + n for signal n), or nothing when it still runs after `timeout`.
  std::optional<int> wait(milliseconds timeout);
  // Ask with SIGTERM, wait, then SIGKILL. The exit code.
  int stop(milliseconds grace = milliseconds(10'000));
  void release() { pid_ = -1; }  // let it outlive us

  [[nodiscard]] std::string output() const;
  [[nodiscard]] std::string errors() const;

 private:
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd output_;  // memory files: no pipe to fill, none that a grandchild keeps open
  UniqueFd errors_;
  std::optional<int> exit_code_;
};

// Runs a command to its end; after `timeout` times patience() it is killed and timed_out is set.
Outcome run(const Command& command, milliseconds timeout = milliseconds(30'000));
// The same, and throws LabError with what the command said unless it exits 0.
std::string run_or_throw(const Command& command, milliseconds timeout = milliseconds(30'000));

// The program's path: as given when it has a slash, else found in PATH. Empty when there is none.
std::string find_program(const std::string& name);

// Field 22 of /proc/PID/stat: with the pid, it names one process for as long as the machine is up.
std::optional<unsigned long long> start_time_of(pid_t pid);

std::string read_file(const std::string& path);  // empty when it cannot be read
void write_file(const std::string& path, const std::string& text);

}  // namespace mesh::lab
