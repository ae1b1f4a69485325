// A sandbox for tests that change networking: namespaces of this process alone, which vanish with
// it however it ends. Needs root and no external program, so that it also runs as the init of a
// minimal VM.
//
// sandbox_main.cc puts the whole test program into new PID and mount namespaces: every process that
// a test leaves behind dies with it, and /run is its own.
#pragma once

#include <string>

#include "eventually.h"
#include "mesh/ip.h"
#include "meshd/dataplane/netlink_socket.h"
#include "meshd/dataplane/unique_fd.h"

namespace mesh::sandbox {

// Skip loudly in SetUp: if (!available()) GTEST_SKIP() << why_not();
int main_in_sandbox();  // for sandbox_main.cc
bool available();
std::string why_not();

// A network namespace of its own, loopback up. The thread is in the one entered last.
class NetworkNamespace {
 public:
  NetworkNamespace();  // made, and entered
  void enter() const;
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
};

// Links and addresses in the namespace the thread is in; abort the test program on failure.
void make_link(const std::string& name, const std::string& kind);
bool kernel_knows_link(const std::string& kind);
void make_veth(const std::string& name, const std::string& peer, const NetworkNamespace& peer_at);
void delete_link(const std::string& name);
void set_up(const std::string& name);
void add_address(const std::string& name, const IpAddress& address, int length);

using test::eventually;

}  // namespace mesh::sandbox
