// The own record: published, put back, and not fought over.
#include "meshd/daemon/own_record.h"

#include <gmock/gmock.h>

#include "core/announcement.h"
#include "fakes/values.h"

namespace mesh::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::HasSubstr;

LocalNode local_with_key(int n) {
  LocalNode local;
  local.name = "a";
  local.addresses = {ip("192.0.2.1"), ip("2001:db8::1")};
  local.cidrs = {cidr("10.1.0.0/24")};
  local.backend = Backend::kKernel;
  local.key = key(n);
  local.listen_port = 51820;
  return local;
}

NodeRecord record_with_key(int n) { return make_own_record(local_with_key(n), {}, ""); }

// One daemon's side of a store that shows what it is told to show.
struct Side {
  explicit Side(int n) : record([this](NodeRecord written) { writes.push_back(written); }) {
    record.set(record_with_key(n));
  }
  std::optional<MonotonicTime> sees(const NodeRecord* stored, bool in_sync = true) {
    return record.reconcile(stored, in_sync, now);
  }
  MonotonicTime now{std::chrono::hours(1)};
  std::vector<NodeRecord> writes;
  OwnRecord record;
};

// --- what is published ---

TEST(MakeOwnRecord, NamesKeyEndpointsAndSupport) {
  const Announcement said = read_announcement(record_with_key(1));
  EXPECT_EQ(said.key, key(1));
  EXPECT_EQ(said.endpoints,
            (std::vector<Endpoint>{endpoint("192.0.2.1:51820"), endpoint("[2001:db8::1]:51820")}));
  EXPECT_EQ(said.support, "kernel");
}

TEST(MakeOwnRecord, WithoutWireGuardSaysWhyAndNamesNoKey) {
  LocalNode local = local_with_key(1);
  local.backend = Backend::kNone;
  const Announcement said = read_announcement(make_own_record(local, {}, "no /dev/net/tun"));
  EXPECT_FALSE(said.key);
  EXPECT_EQ(said.support, "none: no /dev/net/tun");
  EXPECT_TRUE(said.unsupported);
}

TEST(MakeOwnRecord, ModeOffWithdrawsTheKey) {
  LocalNode local = local_with_key(1);
  local.mode = Mode::kOff;
  const Announcement said = read_announcement(make_own_record(local, {{"role", "db"}}, ""));
  EXPECT_FALSE(said.key);
  EXPECT_EQ(said.mode, Mode::kOff);
}

// --- publishing ---

TEST(OwnRecord, IsPublishedOnceWhenTheStoreHasNone) {
  Side side(1);
  EXPECT_TRUE(side.sees(nullptr));
  EXPECT_EQ(side.writes, std::vector{record_with_key(1)});
  const NodeRecord stored = record_with_key(1);
  EXPECT_FALSE(side.sees(&stored)) << "nothing is left to do";
  EXPECT_EQ(side.writes.size(), 1U);
}

TEST(OwnRecord, IsNotWrittenWhenTheStoreHasItAlready) {
  Side side(1);
  const NodeRecord stored = record_with_key(1);
  EXPECT_FALSE(side.sees(&stored));
  EXPECT_TRUE(side.writes.empty());
}

TEST(OwnRecord, LeavesTheAnnotationsOfOthersAlone) {
  Side side(1);
  NodeRecord stored = record_with_key(1);
  stored.annotations["example.com/owner"] = "somebody";
  EXPECT_FALSE(side.sees(&stored));
  EXPECT_TRUE(side.writes.empty());
}

TEST(OwnRecord, AnEntryOfItThatCannotBeReadIsPutRight) {
  Side side(1);
  NodeRecord stored = record_with_key(1);
  ASSERT_FALSE(side.sees(&stored));
  stored.problems = {"cidrs[1]: nonsense"};
  (void)side.sees(&stored);
  EXPECT_EQ(side.writes.size(), 1U);
}

TEST(OwnRecord, IsNotWrittenAgainAndAgainToAStoreThatIsOut) {
  Side side(1);
  (void)side.sees(nullptr, false);
  for (int i = 0; i < 1000; ++i) {
    side.now += seconds(1);
    EXPECT_FALSE(side.sees(nullptr, false));
  }
  EXPECT_EQ(side.writes.size(), 1U) << "the store itself keeps trying";
}

// --- put back ---

TEST(OwnRecord, IsPutBackAtOnceWhenSomebodyOverwritesIt) {
  Side side(1);
  const NodeRecord mine = record_with_key(1);
  const NodeRecord forged = record_with_key(66);
  (void)side.sees(&mine);
  (void)side.sees(&forged);
  EXPECT_EQ(side.writes, std::vector{mine});
  EXPECT_EQ(side.record.conflict(), "") << "once is an accident";
}

TEST(OwnRecord, IsPutBackWhenItIsRemoved) {
  Side side(1);
  const NodeRecord mine = record_with_key(1);
  (void)side.sees(&mine);
  (void)side.sees(nullptr);
  EXPECT_EQ(side.writes, std::vector{mine});
}

TEST(OwnRecord, ASecondOverwritingIsPutBackAtOnceToo) {
  Side side(1);
  const NodeRecord mine = record_with_key(1);
  const NodeRecord forged = record_with_key(66);
  for (std::size_t i = 1; i <= 2; ++i) {
    (void)side.sees(&mine);
    (void)side.sees(&forged);
    EXPECT_EQ(side.writes.size(), i);
  }
  EXPECT_EQ(side.record.conflict(), "");
}

TEST(OwnRecord, IsPutBackWithinTwoSecondsFourTimesInARow) {
  Side side(1);
  const NodeRecord mine = record_with_key(1);
  const NodeRecord forged = record_with_key(66);
  for (std::size_t i = 1; i <= 4; ++i) {
    (void)side.sees(&mine);
    const MonotonicTime overwritten = side.now;
    while (side.writes.size() < i && side.now < overwritten + seconds(10)) {
      (void)side.sees(&forged);
      side.now += milliseconds(20);
    }
    EXPECT_LE(side.now - overwritten, seconds(2));
  }
}

// --- two of one name ---

// Both see what the other wrote a moment later.
TEST(OwnRecord, TwoDaemonsOfOneNameBackOffAndSaySo) {
  Side first(1);
  Side second(2);
  NodeRecord stored = record_with_key(1);
  std::size_t written = 0;
  for (Duration passed{}; passed < minutes(60); passed += milliseconds(50)) {
    for (Side* side : {&first, &second}) {
      const std::size_t before = side->writes.size();
      (void)side->sees(&stored);
      if (side->writes.size() > before) {
        stored = side->writes.back();
        ++written;
      }
      side->now += milliseconds(50);
    }
  }
  EXPECT_THAT(first.record.conflict(), HasSubstr("somebody else writes the record of a"));
  EXPECT_THAT(second.record.conflict(), HasSubstr("node.name"));
  EXPECT_LT(written, 260U) << "the store is not worn down";
  EXPECT_GT(written, 100U) << "neither gives up";
}

TEST(OwnRecord, AConflictThatEndedIsForgotten) {
  Side side(1);
  const NodeRecord mine = record_with_key(1);
  const NodeRecord forged = record_with_key(66);
  for (std::size_t i = 1; i <= 3; ++i) {
    (void)side.sees(&mine);
    while (side.writes.size() < i) {
      (void)side.sees(&forged);
      side.now += milliseconds(100);
    }
  }
  (void)side.sees(&mine);
  EXPECT_NE(side.record.conflict(), "");
  side.now += minutes(3);
  (void)side.sees(&mine);
  EXPECT_EQ(side.record.conflict(), "");
  (void)side.sees(&forged);
  EXPECT_EQ(side.writes.size(), 4U) << "at once again";
}

// --- a store that lags, a store that refuses ---

TEST(OwnRecord, AStoreThatLagsIsNoConflict) {
  Side side(1);
  const NodeRecord first = record_with_key(1);
  const NodeRecord second = make_own_record(local_with_key(1), {{"role", "db"}}, "");
  (void)side.sees(&first);
  // The configuration goes back and forth, and the store shows it late.
  for (int i = 0; i < 6; ++i) {
    side.record.set(second);
    (void)side.sees(&first);
    side.record.set(first);
    (void)side.sees(&first);
    side.now += milliseconds(30);
    (void)side.sees(&second);
    side.now += milliseconds(30);
    (void)side.sees(&first);
  }
  EXPECT_EQ(side.record.conflict(), "");
  EXPECT_LE(side.writes.size(), 12U);
}

TEST(OwnRecord, AReadOnlyStoreIsNoConflictAndIsNotHammered) {
  Side side(1);
  const NodeRecord old = record_with_key(7);
  for (int i = 0; i < 3600; ++i) {
    (void)side.sees(&old);
    side.now += seconds(1);
  }
  EXPECT_EQ(side.record.conflict(), "");
  EXPECT_LT(side.writes.size(), 140U);
}

TEST(OwnRecord, NeverAsksToBeCalledInThePast) {
  Side side(1);
  const NodeRecord mine = record_with_key(1);
  const NodeRecord forged = record_with_key(66);
  for (int i = 0; i < 500; ++i) {
    const auto next = side.sees(i % 3 == 0 ? &mine : i % 3 == 1 ? &forged : nullptr);
    if (next) {
      EXPECT_GT(*next, side.now);
    }
    side.now += milliseconds(70);
  }
}

// --- where the rest of the record is not this node's (a Kubernetes Node) ---

TEST(OwnRecord, OfARecordThatIsNotItsOwnOnlyTheAnnotationsCount) {
  std::vector<NodeRecord> writes;
  OwnRecord record([&](NodeRecord written) { writes.push_back(std::move(written)); }, true);
  const MonotonicTime now{std::chrono::hours(1)};
  record.set(record_with_key(1));
  NodeRecord node = record_with_key(1);
  node.addresses = {ip("198.51.100.1")};
  node.cidrs = {cidr("10.9.0.0/24")};
  node.labels = {{"kubernetes.io/os", "linux"}};
  node.problems = {"addresses[1]: no address"};
  EXPECT_EQ(record.reconcile(&node, true, now), std::nullopt);
  EXPECT_TRUE(writes.empty()) << "it says already what it should";
  node.annotations[std::string(kPublicKeyAnnotation)] = "stolen";
  (void)record.reconcile(&node, true, now);
  EXPECT_EQ(writes.size(), 1U);
}

}  // namespace
}  // namespace mesh::test
