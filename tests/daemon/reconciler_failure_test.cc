// Whatever fails, once or for ever: the rest goes on, the status says so, and it is made up for.
#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <utility>

#include "reconciler_fixture.h"

namespace mesh::test {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::HasSubstr;

int error_lines(const std::string& log) {
  int lines = 0;
  for (std::size_t at = 0; (at = log.find("injected fault", at)) != std::string::npos; ++at)
    ++lines;
  return lines;
}

// --- every operation, and every call that reads ---

// An act that is added to the variant is among them.
template <std::size_t... I>
std::vector<std::string> names_of_acts(std::index_sequence<I...> /*unused*/) {
  return {std::string(name_of(Act(std::in_place_index<I>)))...};
}

std::vector<std::string> acts() {
  return names_of_acts(std::make_index_sequence<std::variant_size_v<Act>>());
}

std::vector<std::string> everything() {
  std::vector<std::string> kinds = acts();
  kinds.insert(kinds.end(), CountingDataplane::kCalls.begin(), CountingDataplane::kCalls.end());
  return kinds;
}

// A life in three parts that together need every operation and every call.
void begin(Rig& rig) {
  Rule foreign{Family::kIpv4, 50, false, 0, 0, cidr("172.16.0.0/12"), 100};
  foreign.protocol = 0;
  rig.kernel.put_rule(foreign);  // whose effect is asked for
  rig.kernel.set_link_sysctl("eth0", LinkSysctl::kRpFilter, 1);
  for (const auto& [name, n] : {std::pair("b", 2), std::pair("c", 3), std::pair("e", 5)})
    rig.add_peer(name, n);
  rig.start();
  rig.run(seconds(30));
}

bool rules_of_ours(const Rig& rig) {
  return std::any_of(rig.kernel.rules().begin(), rig.kernel.rules().end(),
                     [](const Rule& rule) { return rule.protocol == kProtocol && rule.invert; });
}

void change(Rig& rig) {
  rig.kernel.set_link_sysctl("eth0", LinkSysctl::kRpFilter, 1);
  rig.kernel.flush_ruleset();
  if (rig.kernel.has_device())
    rig.kernel.add_address(rig.kernel.device_index(), ip("10.99.0.1"), 32);
  rig.config.wireguard.rule_priority = 199;
  rig.config.node.cidrs = {cidr("10.1.0.0/24")};
  rig.reconciler->reconfigure(rig.config);
  rig.store.put(node("b", 22).record());
  rig.kernel.answer(key(22));
  rig.store.remove("e");
  rig.add_peer("d", 4);
  rig.run(minutes(4));
}

bool says_what_is_wrong(const Rig& rig) {
  constexpr std::string_view kInjected = "injected";
  return rig.warns(std::string(kInjected)) ||
         rig.status->error.find(kInjected) != std::string::npos ||
         rig.status->backend_reason.find(kInjected) != std::string::npos;
}

// `said`: whether the status said that something is wrong while it was away.
void leave_and_come_back(Rig& rig, bool* said = nullptr) {
  ASSERT_TRUE(rig.reconciler->drain());
  rig.run(minutes(2));
  if (said != nullptr) *said = says_what_is_wrong(rig);
  ASSERT_TRUE(rig.reconciler->resume());
  rig.run(minutes(2));
}

void expect_all_well(Rig& rig) {
  for (const char* name : {"b", "c", "d"}) EXPECT_TRUE(rig.encrypted(name)) << name;
  EXPECT_EQ(rig.kernel.way_of(ip("10.22.0.7")), RouteType::kUnicast);
  EXPECT_EQ(rig.kernel.way_of(ip("10.5.0.7")), RouteType::kOther);
  EXPECT_THAT(rig.status->warnings, ::testing::IsEmpty());
  EXPECT_EQ(rig.reconciler->not_ready(), "");
  EXPECT_EQ(rig.left_to_do(), kNothing);
  rig.dataplane.operations_tried = 0;
  rig.run(seconds(30));
  EXPECT_EQ(rig.dataplane.operations_tried, 0U) << "the next pass is empty";
}

TEST_F(ReconcilerTest, TheLifeInWhichThingsFailNeedsThemAll) {
  Rig rig;
  begin(rig);
  change(rig);
  leave_and_come_back(rig);
  expect_all_well(rig);
  std::set<std::string> done;
  for (const Operation& operation : rig.kernel.executed()) done.emplace(name_of(operation.act));
  for (const std::string& act : acts()) EXPECT_TRUE(done.contains(act)) << act;
  for (const std::string_view call : CountingDataplane::kCalls) {
    if (call == "lookup") continue;  // only where somebody else has a rule before ours
    EXPECT_GT(rig.dataplane.calls[std::string(call)], 0) << call;
  }
}

class FailsSometimes : public ReconcilerTest,
                       public ::testing::WithParamInterface<std::tuple<std::string, int>> {};

TEST_P(FailsSometimes, DoesNotStopTheRestAndIsMadeUpFor) {
  const auto& [kind, times] = GetParam();
  Rig rig;
  rig.kernel.fail(kind, 0, times);
  begin(rig);
  EXPECT_TRUE(rig.encrypted("b") && rig.encrypted("c"));
  rig.kernel.fail(kind, 0, times);
  change(rig);
  rig.kernel.fail(kind, 0, times);
  leave_and_come_back(rig);
  EXPECT_GT(rig.kernel.failures(), 0) << "it was never needed";
  rig.kernel.stop_failing();
  rig.run(minutes(3));
  expect_all_well(rig);
}

class FailsForEver : public ReconcilerTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(FailsForEver, WhatDoesNotDependOnItGoesOnAndTheStatusSaysWhatIsWrong) {
  const std::string& kind = GetParam();
  // What a peer that joins cannot do without. All others it can.
  static const std::set<std::string> kNeededToJoin{"change-peer", "put-route", "put-rule",
                                                   "read-device"};
  // Only leaving needs them.
  static const std::set<std::string> kNeededToLeave{
      "ensure-device", "remove-device", "configure-device", "configure-link", "add-address"};
  Rig rig;
  begin(rig);
  ASSERT_TRUE(rig.encrypted("c"));
  rig.kernel.fail(kind, 0, FakeDataplane::kForEver);
  rig.kernel.after_each([&](const Operation& operation) {
    EXPECT_EQ(rig.kernel.way_of(ip("10.3.0.7")), RouteType::kUnicast) << to_string(operation);
    EXPECT_TRUE(rules_of_ours(rig)) << to_string(operation);
  });
  change(rig);
  EXPECT_TRUE(kind == "put-rule" || rig.encrypted("c")) << "nothing was done to it";
  EXPECT_EQ(rig.encrypted("d"), !kNeededToJoin.contains(kind));
  EXPECT_NE(rig.path("d"), Path::kDrop);
  rig.kernel.after_each([](const Operation&) {});
  bool said = false;
  if (kNeededToLeave.contains(kind)) leave_and_come_back(rig, &said);
  EXPECT_GT(rig.kernel.failures(), 0) << "it was never needed";
  EXPECT_TRUE(said || says_what_is_wrong(rig)) << "nobody says so";
  rig.kernel.stop_failing();
  rig.run(minutes(3));
  expect_all_well(rig);
}

// The store's one operation: it does not take my record.
TEST_F(ReconcilerTest, AStoreThatNeverTakesMyRecordStopsNothing) {
  Rig rig;
  begin(rig);
  const auto record = *rig.store.record("a");
  rig.store.refuse("the store is full");
  change(rig);
  EXPECT_TRUE(rig.encrypted("b") && rig.encrypted("c") && rig.encrypted("d"));
  EXPECT_EQ(*rig.store.record("a"), record);
  EXPECT_TRUE(rig.warns("the store is full"));
  rig.store.accept();
  rig.run(seconds(30));
  expect_all_well(rig);
}

// Once, twice and more, before each part of a life and all through it.
class StoreFails : public ReconcilerTest,
                   public ::testing::WithParamInterface<std::tuple<bool, int>> {
 protected:
  void fail(Rig& rig) const {
    if (std::get<bool>(GetParam()))
      rig.store.go_out("no such directory");
    else
      rig.store.refuse("the store is full");
  }
  void mend(Rig& rig) const {
    if (std::get<bool>(GetParam()))
      rig.store.come_back();
    else
      rig.store.accept();
  }
  void fail_sometimes(Rig& rig) const {
    for (int i = 0; i < std::get<int>(GetParam()); ++i) {
      fail(rig);
      rig.run(seconds(1));
      mend(rig);
      rig.run(seconds(1));
    }
  }
};

TEST_P(StoreFails, NobodyIsDroppedAndWhatItMissedIsMadeUpFor) {
  Rig rig;
  begin(rig);
  rig.kernel.after_each([&](const Operation& operation) {
    EXPECT_EQ(rig.kernel.way_of(ip("10.3.0.7")), RouteType::kUnicast) << to_string(operation);
  });
  fail_sometimes(rig);
  for (const char* name : {"b", "c", "e"}) EXPECT_TRUE(rig.encrypted(name)) << name;
  fail(rig);
  change(rig);
  EXPECT_TRUE(rig.encrypted("c"));
  EXPECT_FALSE(rig.status->warnings.empty() && rig.status->store.error.empty()) << "it is said";
  mend(rig);
  rig.run(minutes(1));
  fail_sometimes(rig);
  rig.kernel.after_each([](const Operation&) {});
  leave_and_come_back(rig);
  expect_all_well(rig);
}
INSTANTIATE_TEST_SUITE_P(OutOrRefuses, StoreFails,
                         ::testing::Combine(::testing::Bool(), ::testing::Values(1, 2, 4)));

std::string without_dashes(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Everything, FailsSometimes,
                         ::testing::Combine(::testing::ValuesIn(everything()),
                                            ::testing::Values(1, 2, 4)),
                         [](const auto& test) {
                           return without_dashes(std::get<0>(test.param)) + "_" +
                                  std::to_string(std::get<1>(test.param));
                         });
INSTANTIATE_TEST_SUITE_P(Everything, FailsForEver, ::testing::ValuesIn(everything()),
                         [](const auto& test) { return without_dashes(test.param); });

// --- single failures ---

TEST_F(ReconcilerTest, AnOperationThatFailsForEverIsTriedWithBackOffAndSaidOnce) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.fail("change-peer", 0, FakeDataplane::kForEver);
  rig.add_peer("d", 4);
  ::testing::internal::CaptureStderr();
  rig.run(minutes(30));
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_LT(rig.errors("change-peer"), 100);
  EXPECT_GT(rig.errors("change-peer"), 30);
  EXPECT_EQ(error_lines(log), 1) << log;
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_TRUE(rig.encrypted("c"));
  EXPECT_EQ(rig.kernel.way_of(ip("10.4.0.7")), RouteType::kThrow);
  EXPECT_THAT(rig.reconciler->not_ready(), HasSubstr("injected"));
  rig.kernel.stop_failing();
  rig.run(seconds(60));
  EXPECT_TRUE(rig.encrypted("d"));
  EXPECT_TRUE(rig.status->warnings.empty());
}

TEST_F(ReconcilerTest, AProblemEndsWhenItsCauseIsNotWantedAnyMore) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.fail("change-peer", 0, FakeDataplane::kForEver);
  rig.add_peer("d", 4);
  rig.run(seconds(10));
  EXPECT_TRUE(rig.warns("injected"));
  rig.store.remove("d");
  rig.run(seconds(40));
  EXPECT_FALSE(rig.warns("injected"));
  EXPECT_EQ(rig.reconciler->not_ready(), "");
}

TEST_F(ReconcilerTest, AKernelWithoutNftablesStillEncrypts) {
  Rig rig;
  rig.kernel.fail("install-ruleset", 0, FakeDataplane::kForEver, ErrorCode::kUnsupported);
  rig.kernel.fail("read-nftables", 0, FakeDataplane::kForEver, ErrorCode::kUnsupported);
  ::testing::internal::CaptureStderr();
  rig.add_peer("b", 2);
  rig.start();
  EXPECT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
  rig.run(minutes(10));
  rig.kernel.remove_rule(rule_of(rig));
  rig.add_peer("c", 3);
  rig.run(minutes(20));
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_TRUE(rig.encrypted("c"));
  EXPECT_EQ(error_lines(log), 1) << log;
  EXPECT_TRUE(rig.warns("injected"));
  EXPECT_EQ(rig.repairs("rule"), 1);
  EXPECT_EQ(rig.status->repairs, 1U) << "what never was there was not taken by anybody";
  EXPECT_EQ(rig.reconciler->not_ready(), "");
  EXPECT_LT(rig.errors("install-ruleset"), 60);
}

// Hosts are held by nftables alone, and so are sockets that are bound to a device.
TEST_F(ReconcilerTest, WithoutNftablesAPairThatMustEncryptIsNotSaidToBeHeldClosed) {
  Rig rig;
  rig.config.encryption.host_traffic = true;
  rig.kernel.fail("install-ruleset", 0, FakeDataplane::kForEver, ErrorCode::kUnsupported);
  rig.kernel.fail("read-nftables", 0, FakeDataplane::kForEver, ErrorCode::kUnsupported);
  NodeRecord record = node("b", 2).mode("require").record();
  record.annotations["meshd.io/host-traffic"] = "true";
  rig.store.put(record);
  rig.start();
  rig.run(seconds(20));
  EXPECT_EQ(rig.path("b"), Path::kDrop) << "workloads are, by routes";
  EXPECT_EQ(rig.peer("b").host_path, Path::kPlaintext);
  EXPECT_TRUE(rig.warns("routes alone"));
  EXPECT_THAT(rig.reconciler->not_ready(), ::testing::HasSubstr("injected"));
  rig.kernel.stop_failing();
  rig.run(minutes(2));
  EXPECT_EQ(rig.peer("b").host_path, Path::kDrop);
  EXPECT_FALSE(rig.warns("routes alone"));
  EXPECT_EQ(rig.reconciler->not_ready(), "");
}

TEST_F(ReconcilerTest, AFailedDumpOfTheTableDoesNotMakeItAnew) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.fail("read-nftables", 0, FakeDataplane::kForEver, ErrorCode::kInterrupted);
  rig.run(minutes(5));
  EXPECT_EQ(rig.dataplane.operations_tried, 0U);
}

TEST_F(ReconcilerTest, APeerWhoseRouteIntoTheMeshIsRefusedIsNotCalledEncrypted) {
  Rig rig;
  rig.store.put(node("b", 2).record());
  rig.start();
  rig.run(seconds(1));
  ASSERT_EQ(rig.state("b"), State::kPending);
  rig.kernel.fail("put-route", 0, FakeDataplane::kForEver);
  rig.kernel.answer(key(2));
  rig.run(seconds(30));
  EXPECT_EQ(rig.state("b"), State::kPlaintext);
  EXPECT_EQ(rig.path("b"), Path::kPlaintext);
  EXPECT_THAT(rig.peer("b").detail, HasSubstr("no route into the mesh"));
  rig.kernel.stop_failing();
  rig.run(seconds(31));
  EXPECT_TRUE(rig.encrypted("b"));
}

// Each look at a device that hangs may block the loop for seconds.
TEST_F(ReconcilerTest, ADeviceThatCannotBeReadIsAskedLessAndLess) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.fail("read-device", 0, FakeDataplane::kForEver);
  rig.run(minutes(2));
  rig.dataplane.calls.clear();
  rig.run(minutes(10));
  EXPECT_LE(rig.dataplane.calls["read-device"], 80);
  EXPECT_GE(rig.dataplane.calls["read-device"], 30) << "it keeps asking";
}

TEST_F(ReconcilerTest, ADeviceThatCannotBeReadDegradesNobody) {
  Rig rig;
  make_encrypted(rig);
  rig.kernel.fail("read-device", 0, FakeDataplane::kForEver);
  for (int i = 0; i < 120; ++i) {
    rig.kernel.count({NftSet::kTxWireguard, {ip("10.2.0.0"), ip("10.2.0.255")}}, 1000);
    rig.kernel.receive(key(2), 1000);
    rig.run(seconds(1));
  }
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_TRUE(rig.warns("injected"));
  EXPECT_THAT(rig.status->error, HasSubstr("nothing is known of the tunnels"));
  EXPECT_THAT(rig.reconciler->not_ready(), HasSubstr("injected"));
  rig.kernel.stop_failing();
  rig.run(seconds(31));
  EXPECT_TRUE(rig.encrypted("b"));
  EXPECT_FALSE(rig.warns("injected"));
  EXPECT_EQ(rig.status->error, "");
  EXPECT_EQ(rig.reconciler->not_ready(), "");
}

}  // namespace
}  // namespace mesh::test
