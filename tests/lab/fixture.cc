#include "fixture.h"

#include <cstdlib>

#include "lab/process.h"
#include "required.h"

namespace mesh::lab {
Lab& LabTest::make(LabSpec spec) {
  lab_ = std::make_unique<Lab>(std::move(spec));
  return *lab_;
}

void LabTest::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "a lab needs root for its network namespaces";
}

void LabTest::TearDown() {
  if (HasFailure() && lab_) GTEST_LOG_(INFO) << lab_->diagnosis();
  lab_.reset();
}

void LabTest::need_built(std::initializer_list<const char*> programs) {
  for (const char* program : programs)
    if (!has_binary(program))
      SKIP_UNLESS_REQUIRED("programs", fmt::format("{} is not built; set MESHD_BIN_DIR", program));
}

void LabTest::need_installed(std::initializer_list<const char*> programs) {
  for (const char* program : programs)
    if (find_program(program).empty())
      SKIP_UNLESS_REQUIRED("servers", fmt::format("{} is not installed", program));
}

std::string name_of(const MeshParam& param) {
  const std::string families =
      param.underlay == param.workloads
          ? to_string(param.workloads)
          : to_string(param.workloads) + "_over_" + to_string(param.underlay);
  return families + "_" + param.backend;
}

std::vector<std::string> backends() {
  static const std::vector<std::string> kBackends = [] {
    const char* which = std::getenv("MESHD_LAB_BACKENDS");
    const bool kernel = Lab::kernel_has_wireguard();
    if (kernel && which && which == std::string("all"))
      return std::vector<std::string>{"kernel", "userspace"};
    return std::vector<std::string>{kernel ? "kernel" : "userspace"};
  }();
  return kBackends;
}

std::vector<MeshParam> quick() {
  std::vector<MeshParam> params;
  for (const auto& backend : backends())
    params.push_back({Families::kDual, Families::kDual, backend});
  return params;
}

std::vector<MeshParam> matrix() {
  std::vector<MeshParam> params;
  for (const auto& backend : backends()) {
    params.push_back({Families::kIpv4, Families::kIpv4, backend});
    params.push_back({Families::kIpv6, Families::kIpv6, backend});
    params.push_back({Families::kIpv6, Families::kDual, backend});
  }
  return params;
}

void MeshTest::SetUp() {
  LabTest::SetUp();
  if (IsSkipped()) return;
  need_built({"meshd", "meshctl"});
}

LabSpec MeshTest::spec(int nodes) {
  LabSpec spec;
  spec.nodes = numbered_nodes(nodes);
  spec.underlay = GetParam().underlay;
  spec.workloads = GetParam().workloads;
  spec.backend = GetParam().backend;
  return spec;
}

Lab& MeshTest::make_encrypted_mesh(int nodes) {
  Lab& made = make_mesh(nodes);
  made.start_all();
  if (!made.wait_all_encrypted({}, kSoon)) fail("the mesh does not become encrypted");
  return made;
}

void MeshTest::expect_encrypted_traffic(Node& a, Node& b) {
  for (const Family family : families()) {
    Capture capture(lab());
    Pinger pinger(a.workload(), b.workload(), family);
    pinger.let_pass(40);
    const PingReport report = pinger.stop();
    EXPECT_TRUE(report.lossless()) << report.to_string();
    EXPECT_THAT(report.there.sources, testing::ElementsAre(a.workload().address(family)))
        << "the workload does not see the sender's own address";
    EXPECT_THAT(report.back.sources, testing::ElementsAre(b.workload().address(family)));
    const Verdict verdict = capture.between(a.name(), b.name());
    EXPECT_TRUE(verdict.encrypted_both_ways()) << verdict.to_string();
    EXPECT_GE(verdict.ab.wireguard, report.there.sent);
    EXPECT_GE(verdict.ba.wireguard, report.back.sent);
  }
}

void MeshTest::expect_plaintext_traffic(Node& a, Node& b) {
  for (const Family family : families()) {
    Capture capture(lab());
    Pinger pinger(a.workload(), b.workload(), family);
    pinger.let_pass(40);
    const PingReport report = pinger.stop();
    EXPECT_TRUE(report.lossless()) << report.to_string();
    const Verdict verdict = capture.between(a.name(), b.name());
    EXPECT_GE(verdict.ab.plaintext, report.there.sent) << verdict.to_string();
    EXPECT_GE(verdict.ba.plaintext, report.back.sent) << verdict.to_string();
  }
}

std::string MeshTest::hand_written(const std::string& name, const std::string& address,
                                   const std::string& cidr, const std::string& more) {
  return fmt::format("name: {}\naddresses: [\"{}\"]\ncidrs: [\"{}\"]\n{}", name, address, cidr,
                     more);
}

}  // namespace mesh::lab
