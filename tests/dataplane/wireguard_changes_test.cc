#include "meshd/dataplane/wireguard_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mesh {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

PublicKey key(std::uint8_t first) {
  std::array<std::uint8_t, 32> bytes{};
  bytes[0] = first;
  return PublicKey(bytes);
}

Cidr cidr(std::string_view text) { return *Cidr::parse(text); }

WgDevice device_with(std::initializer_list<std::pair<PublicKey, Cidr>> held) {
  WgDevice device;
  for (const auto& [holder, prefix] : held) {
    device.peers.emplace_back().key = holder;
    device.peers.back().allowed_ips = {prefix};
  }
  return device;
}

WgPeerChange remove_prefix(const PublicKey& from, const Cidr& prefix) {
  WgPeerChange change;
  change.key = from;
  change.remove_allowed_ips = {prefix};
  return change;
}

WgPeerChange add_prefix(const PublicKey& to, const Cidr& prefix) {
  WgPeerChange change;
  change.key = to;
  change.add_allowed_ips = {prefix};
  return change;
}

const Cidr kPrefix = cidr("10.1.0.0/24");
const PublicKey kDummy = key(0xdd);

TEST(RemovalOfPrefixes, GoesThroughADummyThatLeavesWithThem) {
  const WgPeerChange change = remove_prefix(key(1), kPrefix);
  const Removal removal = plan_removal({&change, 1}, device_with({{key(1), kPrefix}}), kDummy);
  ASSERT_THAT(removal.dummy, SizeIs(2));
  EXPECT_EQ(removal.dummy[0].key, kDummy);
  EXPECT_THAT(removal.dummy[0].add_allowed_ips, ElementsAre(kPrefix));
  EXPECT_FALSE(removal.dummy[0].endpoint);
  EXPECT_EQ(removal.dummy[1].key, kDummy);
  EXPECT_TRUE(removal.dummy[1].remove);
  EXPECT_THAT(removal.asked_by, ElementsAre(0U));
}

TEST(RemovalOfPrefixes, LeavesWhatAnotherPeerHoldsByNow) {
  const WgPeerChange change = remove_prefix(key(1), kPrefix);
  EXPECT_THAT(plan_removal({&change, 1}, device_with({{key(2), kPrefix}}), kDummy).dummy,
              IsEmpty());
  EXPECT_THAT(plan_removal({&change, 1}, WgDevice(), kDummy).dummy, IsEmpty());
}

TEST(RemovalOfPrefixes, NeverTakesAPrefixThatTheSameChangesGiveAway) {
  const WgPeerChange after[] = {remove_prefix(key(1), kPrefix), add_prefix(key(2), kPrefix)};
  const WgPeerChange before[] = {add_prefix(key(2), kPrefix), remove_prefix(key(1), kPrefix)};
  const WgDevice now = device_with({{key(1), kPrefix}});
  EXPECT_THAT(plan_removal(after, now, kDummy).dummy, IsEmpty());
  EXPECT_THAT(plan_removal(before, now, kDummy).dummy, IsEmpty());
}

TEST(RemovalOfPrefixes, AdditionWinsWithinOneChange) {
  WgPeerChange change = remove_prefix(key(1), kPrefix);
  change.add_allowed_ips = {kPrefix};
  EXPECT_THAT(plan_removal({&change, 1}, device_with({{key(1), kPrefix}}), kDummy).dummy,
              IsEmpty());
}

TEST(RemovalOfPrefixes, TakesWhatAnEarlierChangeGave) {
  const WgPeerChange changes[] = {add_prefix(key(1), kPrefix), remove_prefix(key(1), kPrefix)};
  EXPECT_THAT(plan_removal(changes, WgDevice(), kDummy).asked_by, ElementsAre(1U));
}

TEST(RemovalOfPrefixes, NeedsNoDummyWhenThePeerGoesToo) {
  WgPeerChange gone;
  gone.key = key(1);
  gone.remove = true;
  const WgPeerChange changes[] = {remove_prefix(key(1), kPrefix), gone};
  EXPECT_THAT(plan_removal(changes, device_with({{key(1), kPrefix}}), kDummy).dummy, IsEmpty());
}

TEST(RemovalOfPrefixes, AdditionToAnAbsentPeerThatMayNotBeMadeTakesNothing) {
  WgPeerChange absent = add_prefix(key(2), kPrefix);
  absent.update_only = true;
  const WgPeerChange changes[] = {remove_prefix(key(1), kPrefix), absent};
  EXPECT_THAT(plan_removal(changes, device_with({{key(1), kPrefix}}), kDummy).dummy, SizeIs(2));
}

TEST(RemovalOfPrefixes, DummyKeysDiffer) { EXPECT_NE(*make_dummy_key(), *make_dummy_key()); }

// A backend whose batches fail whole, as the real ones do.
struct FakeBackend {
  ChangeBackend calls() {
    return {.read = [this]() -> Result<WgDevice> { return device; },
            .send =
                [this](std::span<const WgPeerChange> changes) {
                  batches.emplace_back(changes.begin(), changes.end());
                  for (const WgPeerChange& change : changes)
                    if (change.key == bad) return std::vector<Result<void>>(changes.size(), error);
                  return std::vector<Result<void>>(changes.size());
                }};
  }
  WgDevice device;
  std::optional<PublicKey> bad;
  Error error = make_error(ErrorCode::kInvalid, "bad peer");
  std::vector<std::vector<WgPeerChange>> batches;
};

TEST(PeerChanges, GoInOneBatchWhenAllIsWell) {
  FakeBackend backend;
  const WgPeerChange changes[] = {add_prefix(key(1), kPrefix), add_prefix(key(2), kPrefix)};
  for (const auto& result : apply_changes(backend.calls(), changes)) EXPECT_TRUE(result);
  EXPECT_THAT(backend.batches, SizeIs(1));
}

TEST(PeerChanges, OneBadPeerCostsOnePeer) {
  FakeBackend backend;
  backend.bad = key(2);
  const WgPeerChange changes[] = {add_prefix(key(1), kPrefix), add_prefix(key(2), kPrefix),
                                  add_prefix(key(3), kPrefix)};
  const auto results = apply_changes(backend.calls(), changes);
  ASSERT_THAT(results, SizeIs(3));
  EXPECT_TRUE(results[0]);
  EXPECT_FALSE(results[1]);
  EXPECT_TRUE(results[2]);
}

TEST(PeerChanges, AreNotTriedOneByOneWhenTheDeviceIsAtFault) {
  for (const ErrorCode code : {ErrorCode::kNotFound, ErrorCode::kPermission, ErrorCode::kTimeout,
                               ErrorCode::kUnavailable}) {
    FakeBackend backend;
    backend.bad = key(2);
    backend.error.code = code;
    const WgPeerChange changes[] = {add_prefix(key(1), kPrefix), add_prefix(key(2), kPrefix)};
    const auto results = apply_changes(backend.calls(), changes);
    EXPECT_FALSE(results[0]);
    EXPECT_FALSE(results[1]);
    EXPECT_THAT(backend.batches, SizeIs(1));
  }
}

TEST(PeerChanges, ReadTheDeviceOnlyForRemovals) {
  FakeBackend backend;
  backend.device = device_with({{key(1), kPrefix}});
  int reads = 0;
  ChangeBackend calls = backend.calls();
  calls.read = [&]() -> Result<WgDevice> {
    ++reads;
    return backend.device;
  };
  const WgPeerChange add = add_prefix(key(2), cidr("10.2.0.0/24"));
  (void)apply_changes(calls, {&add, 1});
  EXPECT_EQ(reads, 0);
  const WgPeerChange remove = remove_prefix(key(1), kPrefix);
  const auto results = apply_changes(calls, {&remove, 1});
  EXPECT_EQ(reads, 1);
  ASSERT_THAT(results, SizeIs(1));
  EXPECT_TRUE(results[0]);
  EXPECT_THAT(backend.batches.back(), SizeIs(3));  // the change, the dummy twice
}

TEST(PeerChanges, ReportAFailedReadForEveryChange) {
  FakeBackend backend;
  ChangeBackend calls = backend.calls();
  calls.read = []() -> Result<WgDevice> { return make_error(ErrorCode::kNotFound, "gone"); };
  const WgPeerChange changes[] = {remove_prefix(key(1), kPrefix), add_prefix(key(2), kPrefix)};
  const auto results = apply_changes(calls, changes);
  EXPECT_FALSE(results[0]);
  EXPECT_FALSE(results[1]);
  EXPECT_THAT(backend.batches, IsEmpty());
}

TEST(PeerChanges, NoneIsNoWork) {
  FakeBackend backend;
  EXPECT_THAT(apply_changes(backend.calls(), {}), IsEmpty());
  EXPECT_THAT(backend.batches, IsEmpty());
}

}  // namespace
}  // namespace mesh
