// The table of faults: its instrument sees loss and leaks where there are some, and none where
// there are none; a row that cannot be measured never looks like one that was met.
#include <set>

#include "faults/bench.h"
#include "faults/table.h"
#include "fixture.h"

namespace mesh::lab {
namespace {

using testing::HasSubstr;
using testing::Not;

Fault row(const std::string& name) {
  for (auto& fault : all_faults())
    if (fault.name == name) return fault;
  fail("no row '{}'", name);
}

Measured measured(const std::string& name, Verdicts verdict = Verdicts::kMet) {
  Measured result;
  result.name = name;
  result.verdict = verdict;
  result.sent = 400;
  result.repair = milliseconds(61);
  return result;
}

TEST(FaultTable, HasAtLeastFortyRowsThatAllSayWhatIsDoneAndWhenItIsRight) {
  std::set<std::string> names;
  for (const auto& fault : all_faults()) {
    EXPECT_TRUE(names.insert(fault.name).second) << fault.name << " twice";
    EXPECT_TRUE(fault.inject && fault.repaired) << fault.name;
    if (fault.group == Group::kPlanned) {
      EXPECT_EQ(fault.loss, Cost::kNone) << fault.name << ": a planned act may lose nothing";
    }
    if (fault.loss == Cost::kMeasured || fault.leak == Cost::kMeasured) {
      // Some rows lose nothing but are not bound to.
      EXPECT_TRUE(!fault.why.empty() || fault.leak == Cost::kNone) << fault.name << ": why?";
    }
  }
  EXPECT_GE(names.size(), 40U);
}

TEST(FaultTable, ASectionIsReplacedAndTheOtherKindsStays) {
  const std::string go = section_of({measured("one")}, "userspace", "6.1");
  const std::string kernel = section_of({measured("two")}, "kernel", "6.1");
  const std::string both = with_section(with_section("", go), kernel);
  EXPECT_THAT(both, HasSubstr("| one |"));
  EXPECT_THAT(both, HasSubstr("| two |"));
  const std::string again = section_of({measured("three")}, "userspace", "6.1");
  const std::string changed = with_section(both, again);
  EXPECT_THAT(changed, Not(HasSubstr("| one |")));
  EXPECT_THAT(changed, HasSubstr("| two |"));
  EXPECT_THAT(changed, HasSubstr("| three |"));
  EXPECT_EQ(with_section(changed, again), changed) << "the same again changes nothing";
}

TEST(FaultTable, WhatIsNotBuiltOrNotMetIsLoud) {
  Measured missing = measured("drain", Verdicts::kNotBuilt);
  missing.remark = "no drain";
  EXPECT_THAT(section_of({missing}, "kernel", "6.1"), HasSubstr("**NOT BUILT**: no drain"));
  EXPECT_THAT(section_of({measured("x", Verdicts::kNotMet)}, "kernel", "6.1"),
              HasSubstr("**NOT MET**"));
}

class FaultBench : public LabTest {
 protected:
  void SetUp() override {
    LabTest::SetUp();
    if (IsSkipped()) return;
    for (const char* program : {"meshd", "meshctl"})
      if (!has_binary(program)) GTEST_SKIP() << program << " is not built; set MESHD_BIN_DIR";
  }
};

TEST_F(FaultBench, SeesLossWhereTheOrderIsNaive) {
  Bench bench;
  for (const auto& fault : naive_faults()) {
    const Measured result = bench.run(fault);
    EXPECT_EQ(result.verdict, Verdicts::kMet) << line_of(result);
    EXPECT_GT(result.lost_there + result.lost_back, 0U) << line_of(result);
  }
}

TEST_F(FaultBench, SeesNoneInARestartAndTheRepairOfARoute) {
  Bench bench;
  const Measured restart = bench.run(row("meshd restarted"));
  EXPECT_EQ(restart.verdict, Verdicts::kMet) << line_of(restart);
  EXPECT_GT(restart.sent, 100U);
  const Measured route = bench.run(row("route deleted"));
  EXPECT_EQ(route.verdict, Verdicts::kMet) << line_of(route);
  EXPECT_GE(route.repairs, 1U);
}

TEST_F(FaultBench, ARowThatIsNotRepairedIsNotMetAndSaysWhatDiffers) {
  Fault fault;
  fault.name = "somebody stops meshd and breaks its device";
  fault.loss = Cost::kMeasured;
  fault.encrypted = false;
  fault.deadline = milliseconds(500);
  fault.inject = [](Bench& bench) {
    bench.b().kill();
    bench.b().must({"wg", "set", "mesh0", "fwmark", "0x4000"});
  };
  fault.repaired = [](Bench& bench) { return bench.as_before(bench.b()); };
  Bench bench;
  const Measured result = bench.run(fault);
  EXPECT_EQ(result.verdict, Verdicts::kNotMet);
  EXPECT_THAT(result.remark, HasSubstr("fwmark 0x4000"));
}

TEST_F(FaultBench, PlaintextOfAnEncryptedPairIsSeenAndNamed) {
  Fault fault;
  fault.name = "somebody sends past the device";
  fault.inject = [](Bench& bench) {
    bench.b().must({"ip", "rule", "add", "pref", "50", "to", "10.1.0.0/24", "lookup", "main"});
  };
  fault.repaired = [](Bench&) { return true; };
  fault.spoils = true;
  Bench bench;
  const Measured result = bench.run(fault);
  EXPECT_EQ(result.verdict, Verdicts::kNotMet);
  EXPECT_GT(result.leaked, 0U);
  EXPECT_THAT(result.remark, HasSubstr("10.2.0.2 > 10.1.0.2"));
}

}  // namespace
}  // namespace mesh::lab
