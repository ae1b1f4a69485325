// A part of the leak matrix in every run, the whole with --full: `mesh-lab leaks` and
// docs/leaks.md.
#include <set>

#include "fixture.h"
#include "leaks/leaks.h"

namespace mesh::lab {
namespace {

using testing::HasSubstr;
using testing::Not;

// The cells that have failed most easily: each guard alone, nobody at home, and a boot.
const std::set<std::string> kQuick = {"device deleted", "nft flush ruleset",
                                      "meshd stopped, then rules deleted",
                                      "boot before the store answers, with the guard"};

std::vector<std::string> cells(bool quick) {
  std::vector<std::string> names;
  for (const LeakCell& cell : leak_cells())
    if (quick == kQuick.contains(cell.name)) names.push_back(cell.name);
  return names;
}

class Leaks : public LabTest, public testing::WithParamInterface<std::string> {
 protected:
  void SetUp() override {
    LabTest::SetUp();
    need_built({"meshd", "meshctl"});
  }
};

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return name;
}
INSTANTIATE_TEST_SUITE_P(Quick, Leaks, testing::ValuesIn(cells(true)), test_name);
INSTANTIATE_TEST_SUITE_P(Matrix, Leaks, testing::ValuesIn(cells(false)), test_name);

TEST_P(Leaks, NothingIsSeenInPlaintextAndEverythingWhereEncryptionIsOff) {
  for (const LeakCell& cell : leak_cells()) {
    if (cell.name != GetParam()) continue;
    const LeakResult result = measure(cell, "auto");
    EXPECT_TRUE(result.met()) << line_of(result);
  }
}

TEST(LeakTable, ABlindOrLeakingCellIsLoudAndNoneIsThere) {
  LeakResult zero{"one", {}, {1, 1, 1, 1}, "", "", ""};
  EXPECT_TRUE(zero.met());
  LeakResult blind = zero;
  blind.off.host6 = 0;
  EXPECT_FALSE(blind.met());
  EXPECT_THAT(leak_section({blind}, "kernel", "6.1"), HasSubstr("**BLIND**"));
  LeakResult leaking = zero;
  leaking.required.host4 = 1;
  leaking.seen = "192.0.2.1 > 192.0.2.2";
  EXPECT_FALSE(leaking.met());
  EXPECT_THAT(leak_section({leaking}, "kernel", "6.1"), HasSubstr("**LEAKED**"));
  LeakResult broken = zero;
  broken.failure = "no lab";
  EXPECT_FALSE(broken.met());
  EXPECT_THAT(leak_section({zero}, "kernel", "6.1"), Not(HasSubstr("**")));
  EXPECT_EQ(cells(true).size(), kQuick.size()) << "a cell was renamed";
}

}  // namespace
}  // namespace mesh::lab
