// The search for the MTU of a path, against paths that shrink, grow, lose and keep silent.
#include "core/path_mtu.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

namespace mesh::test {
namespace {

using Standing = PathMtuSearch::Standing;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

// A search over a path of its own, in simulated time.
class Path {
 public:
  explicit Path(std::uint32_t mtu, std::uint32_t top = 1500, std::uint32_t floor = 576)
      : search(floor, top, MonotonicTime{}), carries(mtu) {}

  void run(Duration duration) {
    const MonotonicTime end = now + duration;
    while (search.due() <= end) {
      now = std::max(now, search.due());
      if (const auto size = search.step(now)) send(*size);
      ASSERT_LT(++steps, 200'000) << "the search spins";
    }
    now = end;
  }
  // The time until `condition` holds; a minute and more when it does not.
  Duration until(const std::function<bool()>& condition) {
    const MonotonicTime start = now;
    while (!condition() && now - start < minutes(2)) run(milliseconds(50));
    return now - start;
  }
  Duration until_measured(std::uint32_t mtu) {
    return until([&] { return search.path_mtu() == mtu; });
  }

  PathMtuSearch search;
  std::uint32_t carries;
  bool answers = true;
  bool tells = false;                        // routers report what they refuse
  std::optional<std::uint32_t> misreported;  // and what they say then
  double loss = 0;                           // of a probe or its answer
  Duration round_trip = milliseconds(2);
  MonotonicTime now{};
  int sent = 0;
  int steps = 0;

 private:
  void send(std::uint32_t size) {
    ++sent;
    if (std::uniform_real_distribution<>()(random_) < loss) return;
    if (size > carries) {
      if (!tells) return;
      now += round_trip;
      return search.on_refusal(size, misreported.value_or(carries), now);
    }
    if (!answers) return;
    now += round_trip;
    search.on_answer(size, round_trip, now);
  }

  std::mt19937 random_{1};
};

TEST(PathMtuSearch, APathAsWideAsTheLinkTakesOneProbe) {
  Path path(1500);
  path.run(milliseconds(100));
  EXPECT_EQ(path.search.standing(), Standing::kMeasured);
  EXPECT_EQ(path.search.path_mtu(), 1500U);
  EXPECT_EQ(path.sent, 1);
}

TEST(PathMtuSearch, EveryPathIsFoundToTheByte) {
  for (std::uint32_t mtu = 576; mtu <= 1500; mtu += 7) {
    for (const bool tells : {false, true}) {
      Path path(mtu);
      path.tells = tells;
      EXPECT_LT(path.until_measured(mtu), seconds(10)) << mtu;
    }
  }
}

TEST(PathMtuSearch, LargeFramesAreFoundToo) {
  for (const std::uint32_t mtu : {9000U, 8999U, 8942U, 1500U, 1280U}) {
    Path path(mtu, 9000, 1280);
    EXPECT_LT(path.until_measured(mtu), seconds(12)) << mtu;
  }
}

TEST(PathMtuSearch, ARouterThatTellsIsBelievedAfterOneProbe) {
  Path path(1400);
  path.tells = true;
  path.run(milliseconds(100));
  EXPECT_EQ(path.search.path_mtu(), 1400U);
  EXPECT_EQ(path.sent, 2);
}

TEST(PathMtuSearch, ARouterThatTellsNonsenseIsNotBelieved) {
  for (const std::uint32_t said : {0U, 68U, 1450U, 1500U, 65535U}) {
    Path path(1400);
    path.tells = true;
    path.misreported = said;
    EXPECT_LT(path.until_measured(1400), seconds(10)) << said;
  }
}

// Somebody who forges reports can make the path look narrow until the next look, not for longer.
TEST(PathMtuSearch, AForgedLimitIsOutlivedWithinAMinute) {
  Path path(1500);
  path.run(seconds(1));
  path.until([&] { return path.search.due() <= path.now + milliseconds(60); });
  path.run(path.search.due() - path.now);
  path.search.on_refusal(1500, 1280, path.now);
  path.run(milliseconds(100));
  EXPECT_LT(path.until_measured(1500), minutes(1));
}

TEST(PathMtuSearch, APathThatShrinksIsFollowedWithinSeconds) {
  for (const bool tells : {false, true}) {
    Path path(1500);
    path.run(seconds(17));
    path.carries = 1400;
    path.tells = tells;
    EXPECT_LT(path.until_measured(1400), seconds(tells ? 6 : 12));
    path.carries = 1300;
    EXPECT_LT(path.until_measured(1300), seconds(tells ? 6 : 12));
  }
}

TEST(PathMtuSearch, APathThatGrowsIsFollowedWithinAMinute) {
  Path path(1400);
  path.run(seconds(20));
  for (const std::uint32_t mtu : {1401U, 1450U, 1500U}) {
    path.carries = mtu;
    EXPECT_LT(path.until_measured(mtu), minutes(1)) << mtu;
  }
}

TEST(PathMtuSearch, WhileItLooksWhatWasMeasuredStays) {
  Path path(1500);
  path.run(seconds(12));
  path.carries = 1400;
  while (path.search.path_mtu() != 1400U) {
    ASSERT_EQ(path.search.path_mtu(), 1500U);
    ASSERT_EQ(path.search.standing(), Standing::kMeasured);
    path.run(milliseconds(10));
  }
}

TEST(PathMtuSearch, APeerThatAnswersNothingIsAskedLessAndLess) {
  Path path(1500);
  path.answers = false;
  path.run(seconds(10));
  EXPECT_EQ(path.search.standing(), Standing::kUnanswered);
  EXPECT_EQ(path.search.path_mtu(), std::nullopt);
  path.run(minutes(30));
  path.sent = 0;
  path.run(minutes(60));
  EXPECT_LE(path.sent, 12 * 6 + 6);
}

TEST(PathMtuSearch, APeerThatFallsSilentKeepsWhatWasMeasured) {
  Path path(1400);
  path.run(seconds(20));
  path.answers = false;
  path.run(seconds(30));
  EXPECT_EQ(path.search.standing(), Standing::kUnanswered);
  EXPECT_EQ(path.search.path_mtu(), 1400U);
  path.answers = true;
  path.search.restart(path.now);
  path.run(seconds(1));
  EXPECT_EQ(path.search.standing(), Standing::kMeasured);
  EXPECT_EQ(path.search.path_mtu(), 1400U);
}

TEST(PathMtuSearch, ASilenceThatEndsIsNoticedWithoutAnybodySayingSo) {
  Path path(1500);
  path.answers = false;
  path.run(minutes(1));
  path.answers = true;
  path.run(minutes(6));
  EXPECT_EQ(path.search.path_mtu(), 1500U);
}

TEST(PathMtuSearch, LossIsNotTakenForANarrowPath) {
  Path path(1500);
  path.loss = 0.2;
  path.run(seconds(20));
  EXPECT_EQ(path.search.path_mtu(), 1500U);
  int wrong = 0;
  for (int i = 0; i < 3600; ++i) {
    path.run(seconds(1));
    if (path.search.path_mtu() != 1500U) ++wrong;
  }
  EXPECT_LE(wrong, 60) << "seconds of an hour";
}

TEST(PathMtuSearch, ALossyNarrowPathIsFound) {
  Path path(1400);
  path.loss = 0.1;
  path.run(minutes(2));
  EXPECT_GE(path.search.path_mtu(), 1300U);
  EXPECT_LE(path.search.path_mtu(), 1400U);
}

TEST(PathMtuSearch, ASettledPathCostsLittle) {
  for (const std::uint32_t mtu : {1500U, 1400U}) {
    Path path(mtu);
    path.run(minutes(1));
    path.sent = 0;
    path.run(minutes(10));
    EXPECT_LE(path.sent, 10 * (12 + 4)) << mtu;
  }
}

TEST(PathMtuSearch, AnAnswerThatComesLateStillCounts) {
  Path path(1500);
  const auto size = path.search.step(path.now);
  ASSERT_TRUE(size);
  path.answers = false;
  path.run(seconds(4));  // given up, the floor is being tried
  path.search.on_answer(*size, seconds(4), path.now);
  path.answers = true;
  path.run(seconds(4));
  EXPECT_EQ(path.search.path_mtu(), 1500U);
}

TEST(PathMtuSearch, ALinkNarrowerThanTheFloorIsTheFloor) {
  Path path(500, 500);
  path.run(seconds(1));
  EXPECT_EQ(path.search.path_mtu(), 500U);
}

// --- what it means for the routes ---

TEST(RouteMtu, APathAsWideAsTheDeviceNeedsNoMetric) {
  EXPECT_EQ(route_mtu({1500, Family::kIpv4}, 1440, Backend::kKernel), RouteMtu{});
  EXPECT_EQ(route_mtu({1500, Family::kIpv4}, 1420, Backend::kKernel), RouteMtu{});
  EXPECT_EQ(route_mtu({1500, Family::kIpv6}, 1420, Backend::kKernel), RouteMtu{});
}

TEST(RouteMtu, ANarrowerPathLeavesRoomForTheOuterHeaders) {
  EXPECT_EQ(route_mtu({1400, Family::kIpv4}, 1440, Backend::kKernel), (RouteMtu{1340, 1340}));
  EXPECT_EQ(route_mtu({1400, Family::kIpv6}, 1420, Backend::kKernel), (RouteMtu{1320, 1320}));
}

// wireguard-go pads to 16 bytes up to the device's MTU, which is wider than this path.
TEST(RouteMtu, UserspacePaddingFitsToo) {
  EXPECT_EQ(route_mtu({1400, Family::kIpv4}, 1440, Backend::kUserspace), (RouteMtu{1328, 1328}));
}

TEST(RouteMtu, Ipv6IsNeverBelowItsMinimum) {
  const RouteMtu mtu = route_mtu({1300, Family::kIpv4}, 1440, Backend::kKernel);
  EXPECT_EQ(mtu.ipv4, 1240U);
  EXPECT_EQ(mtu.ipv6, 1280U);
  EXPECT_EQ(route_mtu({1300, Family::kIpv4}, 1280, Backend::kKernel), (RouteMtu{1240, 0}));
}

TEST(RouteMtu, WithoutADeviceThereIsNothingToSay) {
  EXPECT_EQ(route_mtu({1400, Family::kIpv4}, 0, Backend::kKernel), RouteMtu{});
}

}  // namespace
}  // namespace mesh::test
