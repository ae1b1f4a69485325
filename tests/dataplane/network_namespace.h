// Network namespaces for tests of the data plane: anonymous, so that two runs never meet and the
// kernel frees them when the process ends, however it ends. One thread; needs root.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "mesh/ip.h"
#include "meshd/dataplane/unique_fd.h"

namespace mesh::test {

// Runs a shell command in the calling thread's namespace; its standard output. The test fails when
// the command does.
inline std::string run(const std::string& command) {
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "re"), pclose);
  if (!pipe) {
    ADD_FAILURE() << "cannot run " << command << ": " << std::strerror(errno);
    return {};
  }
  std::string output;
  std::array<char, 4096> part{};
  while (const std::size_t size = fread(part.data(), 1, part.size(), pipe.get()))
    output.append(part.data(), size);
  EXPECT_EQ(pclose(pipe.release()), 0) << command << "\n" << output;
  return output;
}

inline bool has_program(const std::string& name) {
  return std::system(("command -v " + name + " >/dev/null 2>&1").c_str()) == 0;
}

class NetworkNamespace {
 public:
  // Leaves the thread where it is.
  static NetworkNamespace make() {
    const NetworkNamespace before = current();
    if (unshare(CLONE_NEWNET) != 0)
      ADD_FAILURE() << "unshare: " << std::strerror(errno) << " (these tests need root)";
    NetworkNamespace made = current();
    before.enter();
    return made;
  }
  static NetworkNamespace current() {
    return NetworkNamespace(UniqueFd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)));
  }
  void enter() const { ASSERT_EQ(setns(fd_.get(), CLONE_NEWNET), 0) << std::strerror(errno); }
  int fd() const { return fd_.get(); }

 private:
  explicit NetworkNamespace(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// A test in a fresh namespace with loopback up. Skips, loudly, without root.
class NamespaceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0)
      GTEST_SKIP() << "NOT RUN: needs root, to make network namespaces of its own";
    home_ = std::make_unique<NetworkNamespace>(NetworkNamespace::current());
    NetworkNamespace::make().enter();
    run("ip link set lo up");
  }
  void TearDown() override {
    if (home_) home_->enter();
  }

 private:
  std::unique_ptr<NetworkNamespace> home_;
};

inline IpAddress ip(const char* text) { return *IpAddress::parse(text); }
inline Cidr cidr(const char* text) { return *Cidr::parse(text); }
inline int index_of(const char* link) { return static_cast<int>(if_nametoindex(link)); }

}  // namespace mesh::test
