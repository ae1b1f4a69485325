// What the scenarios share: a lab per test, over families and backends, that explains a failure.
//
// Natively the backend is wireguard-go; on a kernel with WireGuard (a host, or the VM) the
// kernel's. Instantiations are called Quick (every run) and Matrix (tests/run.sh --full).
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "lab/capture.h"
#include "lab/error.h"
#include "lab/lab.h"
#include "lab/ping.h"
#include "lab/pinger.h"

namespace mesh::lab {

// A lab per test. On failure its nodes, store and logs are printed before it is torn down.
class LabTest : public testing::Test {
 protected:
  Lab& make(LabSpec spec);
  Lab& lab() { return *lab_; }

  void SetUp() override;
  void TearDown() override;
  // Skips, or fails where they are required (required.h): of this build, or of packages.
  static void need_built(std::initializer_list<const char*> programs);
  static void need_installed(std::initializer_list<const char*> programs);

 private:
  std::unique_ptr<Lab> lab_;
};

struct MeshParam {
  Families underlay = Families::kDual;
  Families workloads = Families::kDual;
  std::string backend;
};
std::string name_of(const MeshParam& param);  // "dual_userspace", "dual_over_ipv6_kernel"

// The backends to test here: the kernel's where there is one, else wireguard-go;
// both where MESHD_LAB_BACKENDS=all.
std::vector<std::string> backends();
std::vector<MeshParam> quick();   // dual stack
std::vector<MeshParam> matrix();  // IPv4, IPv6, and both over an IPv6-only underlay

// The contract: encrypted within 5 s of the last record, with no traffic needed.
inline constexpr milliseconds kEncryptedWithin(5000);
// For what has no deadline of its own: long enough that only a bug meets it.
inline constexpr milliseconds kSoon(20'000);

class MeshTest : public LabTest, public testing::WithParamInterface<MeshParam> {
 protected:
  void SetUp() override;

  // A spec of `nodes` nodes for this test's parameter.
  [[nodiscard]] static LabSpec spec(int nodes);
  // A lab of that spec; meshd is not started.
  Lab& make_mesh(int nodes) { return make(spec(nodes)); }
  // The same with every meshd started and every pair encrypted.
  Lab& make_encrypted_mesh(int nodes);
  [[nodiscard]] static std::vector<Family> families() { return list(GetParam().workloads); }
  [[nodiscard]] static Family family() { return families().front(); }

  // Probes both ways between the first workloads of two nodes, in every family; and what the
  // underlay saw of them.
  void expect_encrypted_traffic(Node& a, Node& b);
  void expect_plaintext_traffic(Node& a, Node& b);

  // A record somebody wrote by hand, with one workload prefix; `more` is YAML text at the top
  // level.
  [[nodiscard]] static std::string hand_written(const std::string& name, const std::string& address,
                                                const std::string& cidr,
                                                const std::string& more = "");
};

#define INSTANTIATE_MESH_TESTS(Suite)                                             \
  INSTANTIATE_TEST_SUITE_P(Quick, Suite, testing::ValuesIn(quick()),              \
                           [](const auto& test) { return name_of(test.param); }); \
  INSTANTIATE_TEST_SUITE_P(Matrix, Suite, testing::ValuesIn(matrix()),            \
                           [](const auto& test) { return name_of(test.param); })

}  // namespace mesh::lab
