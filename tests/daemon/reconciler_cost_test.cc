// What a quiet mesh and one change cost, whatever the size.
#include <gmock/gmock.h>

#include "meshd/daemon/pace.h"
#include "reconciler_fixture.h"

namespace mesh::test {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

// --- cost ---

TEST_F(ReconcilerTest, AnIdleHourCostsFewPassesAndWritesNothing) {
  Rig rig;
  make_encrypted(rig);
  rig.passes = 0;
  rig.dataplane.calls.clear();
  rig.run(std::chrono::hours(1));
  EXPECT_EQ(rig.dataplane.calls["apply"], 0);
  EXPECT_LE(rig.passes, 3700U);
  EXPECT_GE(rig.dataplane.calls["read-device"], 3500) << "status is seconds old";
  EXPECT_LE(rig.dataplane.calls["read-device"], 4330);
  EXPECT_LE(rig.dataplane.calls["read-links"], 722) << "compared every five seconds";
  EXPECT_EQ(rig.dataplane.calls["ensure-device"], 0);
}

TEST_F(ReconcilerTest, AnIdleHourWithoutWireGuardCostsNoMore) {
  Rig rig;
  rig.config.node.addresses.clear();
  rig.kernel.set_backend(Backend::kNone, "nothing there");
  rig.add_peer("b", 2);
  rig.start();
  rig.run(seconds(10));
  rig.passes = 0;
  rig.dataplane.calls.clear();
  rig.run(std::chrono::hours(1));
  EXPECT_EQ(rig.dataplane.calls["apply"], 0);
  EXPECT_LE(rig.passes, 3900U);
  EXPECT_LE(rig.dataplane.calls["ensure-device"], 121);
  EXPECT_LE(rig.dataplane.calls["read-main-routes"], 365);
}

TEST_F(ReconcilerTest, APeerThatNeverAnswersCostsFewHandshakesAnHour) {
  Rig rig;
  rig.store.put(node("b", 2).record());
  rig.start();
  rig.run(minutes(5));
  rig.dataplane.operations_tried = 0;
  rig.passes = 0;
  rig.run(std::chrono::hours(1));
  EXPECT_LE(rig.passes, 4200U);
  EXPECT_LE(rig.dataplane.operations_tried, 61U);
  EXPECT_GE(rig.dataplane.operations_tried, 55U) << "it keeps trying";
}

TEST_F(ReconcilerTest, OneRecordsChangeCostsTheSameWhateverTheNumberOfPeers) {
  std::vector<std::size_t> costs;
  for (const int peers : {2, 500}) {
    Rig rig;
    for (int n = 2; n < peers + 2; ++n) {
      RecordOf record = node("n" + std::to_string(n), 2);
      record.key(n);
      record.addresses = {ip(fmt::format("198.18.{}.{}", n / 250, n % 250 + 1))};
      record.cidrs = {cidr(fmt::format("10.{}.{}.0/24", 100 + n / 250, n % 250))};
      rig.kernel.answer(key(n));
      rig.store.put(record.record());
    }
    rig.start();
    rig.run(seconds(3));
    ASSERT_TRUE(rig.encrypted("n2"));
    ASSERT_TRUE(rig.encrypted("n3"));
    rig.dataplane.operations_tried = 0;
    RecordOf moved = node("n2", 2);
    moved.addresses = {ip("198.18.0.3")};
    moved.cidrs = {cidr("10.99.0.0/24")};
    rig.store.put(moved.record());
    rig.run(seconds(2));
    EXPECT_TRUE(rig.encrypted("n2"));
    EXPECT_EQ(rig.kernel.way_of(ip("10.99.0.1")), RouteType::kUnicast);
    costs.push_back(rig.dataplane.operations_tried);
  }
  EXPECT_EQ(costs[0], costs[1]);
  EXPECT_LT(costs[1], 40U);
}

// --- pace ---

TEST(Pace, WhatCostsNothingIsReportedEveryTime) {
  ReportPace pace;
  const MonotonicTime now{seconds(100)};
  EXPECT_TRUE(pace.due(now));
  pace.made(now, std::chrono::microseconds(999));
  EXPECT_TRUE(pace.due(now));
  EXPECT_EQ(pace.next(), std::nullopt);
}

TEST(Pace, WhatCostsMuchIsReportedSoonWhenThereIsNewsAndNowAndThenWithout) {
  ReportPace pace;
  const MonotonicTime now{seconds(100)};
  pace.made(now, std::chrono::milliseconds(20));
  EXPECT_FALSE(pace.due(now));
  pace.put_off();
  ASSERT_TRUE(pace.next());
  EXPECT_EQ(*pace.next() - now, seconds(8)) << "a four-hundredth of a core";
  pace.news();
  EXPECT_EQ(*pace.next() - now, std::chrono::milliseconds(200));
  EXPECT_TRUE(pace.due(now + std::chrono::milliseconds(200)));
  pace.made(now, seconds(3));
  pace.news();
  EXPECT_TRUE(pace.due(now + std::chrono::milliseconds(500))) << "an event is told within a second";
}

TEST(Pace, EverythingIsComparedNowAndThenAndAgainAfterEachFailureEverLater) {
  ComparisonPace pace;
  const MonotonicTime now{seconds(100)};
  EXPECT_TRUE(pace.due(now)) << "nothing is known yet";
  EXPECT_FALSE(pace.trusted());
  pace.failed(now);
  EXPECT_EQ(pace.next() - now, std::chrono::milliseconds(200));
  pace.failed(now);
  EXPECT_EQ(pace.next() - now, std::chrono::milliseconds(400));
  pace.read(now);
  EXPECT_TRUE(pace.trusted());
  EXPECT_EQ(pace.next() - now, seconds(5));
  pace.passed(now, std::chrono::milliseconds(100));
  EXPECT_EQ(pace.next() - now, seconds(40)) << "a four-hundredth of a core";
  pace.passed(now + seconds(1), seconds(1));
  EXPECT_EQ(pace.next() - now, seconds(40)) << "what other passes cost is no matter";
  pace.distrust();
  EXPECT_TRUE(pace.due(now + seconds(1)));
}

TEST(Pace, ADeviceIsReadOftenWhileSomebodyWaitsAndItsCountersAtTheirOwnPace) {
  SamplePace pace;
  const MonotonicTime now{seconds(100)};
  EXPECT_TRUE(pace.due(now));
  EXPECT_TRUE(pace.counts_due(now));
  pace.sampled(now, std::chrono::milliseconds(1), true, true);
  EXPECT_EQ(pace.next(now) - now, std::chrono::milliseconds(200)) << "its share";
  EXPECT_TRUE(pace.counts_due(now)) << "they cost nothing";
  pace.sampled(now, std::chrono::milliseconds(10), true, false);
  EXPECT_EQ(pace.next(now) - now, seconds(2));
  EXPECT_FALSE(pace.counts_due(now + seconds(3)));
  EXPECT_TRUE(pace.counts_due(now + seconds(4)));
  pace.sampled(now, std::chrono::milliseconds(10), false, false);
  pace.count_at_once();
  EXPECT_TRUE(pace.due(now));
  EXPECT_TRUE(pace.counts_due(now)) << "somebody asks";
}

TEST(Pace, ADeviceThatHangsIsAskedEverMoreSeldom) {
  SamplePace pace;
  const MonotonicTime now{seconds(100)};
  const auto fails = [&](MonotonicTime at) {
    pace.unread(at);
    pace.sampled(at, Duration(0), false, true);
    return pace.next(at) - at;
  };
  EXPECT_EQ(fails(now), seconds(1));
  EXPECT_EQ(fails(now + seconds(1)), seconds(2));
  EXPECT_EQ(pace.unread_since(), now) << "since the first time";
  pace.read();
  EXPECT_EQ(pace.unread_since(), std::nullopt);
  EXPECT_EQ(fails(now + seconds(9)), seconds(1));
}

TEST(Pace, APauseIsAShareOfTheTimeWithinItsBounds) {
  EXPECT_EQ(pause_after(Duration(0), 200, seconds(5), seconds(60)), seconds(5));
  EXPECT_EQ(pause_after(std::chrono::milliseconds(100), 200, seconds(5), seconds(60)), seconds(20));
  EXPECT_EQ(pause_after(seconds(1), 200, seconds(5), seconds(60)), seconds(60));
}

}  // namespace
}  // namespace mesh::test
