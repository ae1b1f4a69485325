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
    if (fault.loss != Cost::kNone) {
      EXPECT_NE(fault.why, "") << fault.name << ": why is anything lost?";
    }
    if (fault.leak != Cost::kNone) {
      EXPECT_NE(fault.why_plaintext, "") << fault.name << ": why is anything in plaintext?";
    }
    // What an operator does on purpose may be in plaintext for as long as he likes.
    const bool measured = fault.loss == Cost::kMeasured || fault.leak == Cost::kMeasured;
    if (measured && fault.group != Group::kPlanned && fault.group != Group::kNaive) {
      ASSERT_TRUE(fault.ceiling) << fault.name << " may cost anything";
      EXPECT_GT(fault.ceiling->right_after.count(), 0) << fault.name;
      EXPECT_EQ(fault.loss == Cost::kMeasured && fault.ceiling->lost == 0, false) << fault.name;
      EXPECT_EQ(fault.leak == Cost::kMeasured && fault.ceiling->leaked == 0, false) << fault.name;
    }
  }
  EXPECT_GE(names.size(), 40U);
}

// A row that costs this much, as the judge sees it.
Measured costs(const Fault& fault, std::uint32_t lost, std::uint64_t leaked, milliseconds repair) {
  Measured result = measured(fault.name);
  result.lost_there = lost / 2;
  result.lost_back = lost - lost / 2;
  result.leaked = leaked;
  result.repair = repair;
  result.repairs = 1;
  judge(fault, "a to b: secrets", result);
  return result;
}

TEST(FaultTable, WhatIsMeasuredHasACeiling) {
  // What a row once cost, and passed: 43.9 s and 16,110 packets for an address taken away.
  const Fault address = row("address removed");
  EXPECT_EQ(costs(address, 20, 0, milliseconds(60)).verdict, Verdicts::kMet);
  const Measured slow = costs(address, 20, 0, milliseconds(43'900));
  EXPECT_EQ(slow.verdict, Verdicts::kNotMet) << patience();
  EXPECT_THAT(slow.remark, HasSubstr("right after 43900 ms only"));
  const Measured lossy = costs(address, 16'110, 0, milliseconds(60));
  EXPECT_THAT(lossy.remark, HasSubstr("16110 probes lost"));
  EXPECT_EQ(costs(address, 0, 1, milliseconds(60)).verdict, Verdicts::kNotMet) << "plaintext";

  const Fault opened = row("rule deleted");
  EXPECT_EQ(costs(opened, 0, 5, milliseconds(20)).verdict, Verdicts::kMet);
  EXPECT_THAT(costs(opened, 0, 5000, milliseconds(20)).remark, HasSubstr("5000 packets"));
  EXPECT_EQ(costs(opened, 1, 0, milliseconds(20)).verdict, Verdicts::kNotMet)
      << "no reason to lose";
}

TEST(FaultTable, AFaultThatLastsCostsWhatItLastsAndALittleMore) {
  const Fault cable = row("underlay link down for 10 s");
  EXPECT_EQ(costs(cable, 8000, 0, milliseconds(300)).verdict, Verdicts::kMet);
  EXPECT_EQ(costs(cable, 48'000 * static_cast<unsigned>(patience()), 0, milliseconds(300)).verdict,
            Verdicts::kNotMet);
}

TEST(FaultTable, WhatIsLostAndWhatIsSeenAreExplainedEachWhereItIs) {
  Measured opened = measured("rule deleted");
  opened.why = "the reason of loss";
  opened.why_plaintext = "the reason of plaintext";
  opened.leaked = 3;
  EXPECT_THAT(section_of({opened}, "kernel", "6.1"), HasSubstr("the reason of plaintext"));
  EXPECT_THAT(section_of({opened}, "kernel", "6.1"), Not(HasSubstr("the reason of loss")));
  opened.leaked = 0;
  opened.lost_back = 1;
  EXPECT_THAT(section_of({opened}, "kernel", "6.1"), HasSubstr("the reason of loss"));
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
    need_built({"meshd", "meshctl"});
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
