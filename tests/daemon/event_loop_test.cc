// The loop: descriptors, one timer, signals, and callbacks from other threads.
#include "meshd/daemon/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <thread>

#include "mesh/unique_fd.h"

namespace mesh::test {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

MonotonicTime now() { return std::chrono::steady_clock::now(); }

class EventLoopTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = EventLoop::create();
    ASSERT_TRUE(made) << made.error().message;
    loop = std::move(*made);
  }
  std::unique_ptr<EventLoop> loop;
};

TEST_F(EventLoopTest, ATimeThatHasPassedFiresAtOnceAndOnce) {
  int fired = 0;
  ASSERT_TRUE(loop->set_timer(now() - hours(1), [&] {
    ++fired;
    loop->post([&] { loop->quit(); });
  }));
  ASSERT_TRUE(loop->run());
  EXPECT_EQ(fired, 1);
}

TEST_F(EventLoopTest, TheTimerCanBeSetFromItsOwnCallback) {
  int fired = 0;
  std::function<void()> again = [&] {
    if (++fired == 5) return loop->quit();
    ASSERT_TRUE(loop->set_timer(now() + milliseconds(1), again));
  };
  ASSERT_TRUE(loop->set_timer(MonotonicTime{}, again));
  ASSERT_TRUE(loop->run());
  EXPECT_EQ(fired, 5);
}

TEST_F(EventLoopTest, SettingTheTimerAgainMovesIt) {
  bool first = false;
  ASSERT_TRUE(loop->set_timer(now() + milliseconds(5), [&] { first = true; }));
  ASSERT_TRUE(loop->set_timer(now() + milliseconds(30), [&] { loop->quit(); }));
  ASSERT_TRUE(loop->run());
  EXPECT_FALSE(first);
}

TEST_F(EventLoopTest, AFarTimeDoesNotFire) {
  bool fired = false;
  ASSERT_TRUE(loop->set_timer(MonotonicTime::max(), [&] { fired = true; }));
  loop->post([&] { loop->quit(); });
  ASSERT_TRUE(loop->run());
  EXPECT_FALSE(fired);
}

TEST_F(EventLoopTest, AReadableDescriptorIsReported) {
  const UniqueFd fd(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
  ASSERT_TRUE(loop->on_readable(fd.get(), [&] { loop->quit(); }));
  EXPECT_TRUE(loop->run());
}

TEST_F(EventLoopTest, ADescriptorThatIsNoneIsAnError) {
  EXPECT_FALSE(loop->on_readable(-1, [] {}));
}

TEST_F(EventLoopTest, CallbacksOfOtherThreadsRunOnTheLoopInTheirOrder) {
  constexpr int kEach = 1000;
  const std::thread::id mine = std::this_thread::get_id();
  std::vector<int> seen;
  std::jthread other([&] {
    for (int i = 0; i < kEach; ++i)
      loop->post([&, i] {
        EXPECT_EQ(std::this_thread::get_id(), mine);
        seen.push_back(i);
        if (i == kEach - 1) loop->quit();
      });
  });
  ASSERT_TRUE(loop->run());
  ASSERT_EQ(seen.size(), static_cast<std::size_t>(kEach));
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST_F(EventLoopTest, ACallbackMayPostAnother) {
  loop->post([&] { loop->post([&] { loop->quit(); }); });
  EXPECT_TRUE(loop->run());
}

TEST_F(EventLoopTest, ASignalIsACallbackAndEndsNothing) {
  int hups = 0;
  ASSERT_TRUE(loop->on_signal(SIGHUP, [&] { ++hups; }));
  ASSERT_TRUE(loop->on_signal(SIGTERM, [&] { loop->quit(); }));
  ASSERT_EQ(raise(SIGHUP), 0);
  loop->post([] { ASSERT_EQ(raise(SIGTERM), 0); });
  ASSERT_TRUE(loop->run());
  EXPECT_EQ(hups, 1);
}

TEST_F(EventLoopTest, ALoopThatNeverRanLeavesNothingOpen) {
  const auto descriptors = [] {
    int count = 0;
    for (int fd = 0; fd < 256; ++fd)
      if (fcntl(fd, F_GETFD) >= 0) ++count;
    return count;
  };
  const int before = descriptors();
  for (int i = 0; i < 10; ++i) {
    auto other = EventLoop::create();
    ASSERT_TRUE(other);
    ASSERT_TRUE((*other)->set_timer(now() + hours(1), [] {}));
  }
  EXPECT_EQ(descriptors(), before);
}

}  // namespace
}  // namespace mesh::test
