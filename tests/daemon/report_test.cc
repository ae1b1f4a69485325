// The report says what is so.
#include "meshd/daemon/report.h"

#include <gmock/gmock.h>

#include "rig.h"

namespace mesh::test {
namespace {

using std::chrono::seconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Report : public ::testing::Test {
 protected:
  Rig rig;
};

TEST_F(Report, SaysWhatThisNodeIs) {
  rig.start();
  rig.run(seconds(1));
  const Status& status = *rig.status;
  EXPECT_EQ(status.node, "a");
  EXPECT_EQ(status.version, "1.2.3");
  EXPECT_EQ(status.backend, Backend::kKernel);
  EXPECT_EQ(status.backend_reason, "");
  EXPECT_EQ(status.interface, "mesh0");
  EXPECT_THAT(status.addresses, ElementsAre(ip("192.0.2.1")));
  EXPECT_THAT(status.cidrs, ElementsAre(cidr("10.1.0.0/24"), cidr("fd00:1::/64")));
  EXPECT_EQ(status.public_key, key(1));
  EXPECT_TRUE(status.key_created);
  EXPECT_EQ(status.listen_port, 51820);
  EXPECT_EQ(status.store.type, "directory");
  EXPECT_TRUE(status.store.in_sync);
  EXPECT_TRUE(status.last_reconcile);
}

TEST_F(Report, WithoutWireGuardThereIsNoKeyAndTheReasonStands) {
  rig.kernel.set_backend(Backend::kNone, "no kernel module");
  rig.start();
  rig.run(seconds(1));
  EXPECT_EQ(rig.status->backend, Backend::kNone);
  EXPECT_EQ(rig.status->backend_reason, "no kernel module");
  EXPECT_FALSE(rig.status->public_key);
  EXPECT_FALSE(rig.status->key_created);
}

TEST_F(Report, TheLastHandshakeIsUnknownBeforeTheFirst) {
  rig.store.put(node("b", 2).record());
  rig.start();
  rig.run(seconds(5));
  EXPECT_FALSE(rig.peer("b").last_handshake);
  rig.kernel.answer(key(2));
  ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
  EXPECT_TRUE(rig.peer("b").last_handshake);
  EXPECT_LE(rig.peer("b").since, rig.clock.now().wall);
}

// What is counted for b in 10.2.0.0/24.
NftElement element_of_b(NftSet set) {
  return {set, {cidr("10.2.0.0/24").base(), cidr("10.2.0.0/24").last()}};
}

TEST_F(Report, CountsOnlyGrowOverRestartsKillsFlushedTablesAndReboots) {
  rig.add_peer("b", 2);
  rig.start();
  ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
  const auto count = [&](std::uint64_t bytes) {
    rig.kernel.count(element_of_b(NftSet::kTxPlaintext), bytes);
    rig.kernel.receive(key(2), bytes);
  };
  const std::uint64_t handshakes = rig.peer("b").rx_bytes;
  count(1000);
  rig.run(seconds(2));
  count(10);  // and stopped before the next look
  rig.reconciler->finish();
  count(100);  // while it is stopped
  rig.start();
  rig.run(seconds(2));
  EXPECT_EQ(rig.peer("b").plaintext_tx_bytes, 1110U);
  EXPECT_EQ(rig.peer("b").plaintext_tx_packets, 3U);
  EXPECT_EQ(rig.peer("b").rx_bytes, handshakes + 1110);
  count(5);
  rig.run(seconds(2));
  rig.start();  // killed: nothing was written since the stop
  rig.run(seconds(2));
  EXPECT_EQ(rig.peer("b").plaintext_tx_bytes, 1115U);
  rig.kernel.flush_ruleset();
  rig.run(seconds(10));
  EXPECT_EQ(rig.peer("b").plaintext_tx_bytes, 1115U);
  count(1);
  rig.run(seconds(2));
  rig.start();  // killed again, and what the old table had counted was written down
  rig.run(seconds(2));
  EXPECT_EQ(rig.peer("b").plaintext_tx_bytes, 1116U);
  rig.reconciler->finish();
  rig.reboot();
  rig.start();
  rig.run(seconds(5));
  EXPECT_EQ(rig.peer("b").plaintext_tx_bytes, 1116U);
  EXPECT_GE(rig.peer("b").rx_bytes, handshakes + 1116);
}

TEST_F(Report, CountsThatCannotBeReadBeginWithTheKernelsAndAreReported) {
  rig.add_peer("b", 2);
  rig.counts = "total nonsense\n";
  rig.start();
  rig.run(seconds(1));
  EXPECT_TRUE(rig.warns("line 1 is none of meshd's"));
  rig.run(std::chrono::minutes(11));
  EXPECT_FALSE(rig.warns("none of meshd's"));
  EXPECT_NE(rig.counts, "total nonsense\n");
}

TEST_F(Report, APeersOwnReasonForHavingNoWireGuardIsShown) {
  RecordOf record = node("b", 2).no_key();
  record.annotations[std::string(kSupportAnnotation)] = "none: no /dev/net/tun";
  rig.store.put(record.record());
  rig.start();
  rig.run(seconds(1));
  EXPECT_EQ(rig.peer("b").reason, Reason::kPeerUnsupported);
  EXPECT_THAT(rig.peer("b").detail, HasSubstr("no /dev/net/tun"));
  EXPECT_EQ(rig.peer("b").backend, Backend::kNone);
}

TEST_F(Report, AnUnreadableRecordOfAPeerIsSaidAndItsLastGoodOneStands) {
  rig.add_peer("b", 2);
  rig.start();
  ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
  rig.store.put_bad("b", "b.yaml:3:1: it ends in the middle");
  rig.run(seconds(1));
  EXPECT_EQ(rig.state("b"), State::kEncrypted);
  EXPECT_EQ(rig.peer("b").reason, Reason::kInvalidRecord);
  EXPECT_THAT(rig.peer("b").detail, HasSubstr("last good one"));
  EXPECT_THAT(rig.peer("b").warnings, ElementsAre(HasSubstr("b.yaml:3:1")));
}

TEST_F(Report, AnUnreadableRecordOfAStrangerIsRefusedAndNoPeer) {
  rig.store.put_bad("x", "x.yaml: larger than 1 MiB");
  rig.start();
  rig.run(seconds(1));
  EXPECT_TRUE(rig.status->peers.empty());
  ASSERT_EQ(rig.status->refused_records.size(), 1U);
  EXPECT_EQ(rig.status->refused_records[0].node, "x");
}

TEST_F(Report, BytesAreToldApartByTheWayTheyWent) {
  rig.add_peer("b", 2);
  rig.start();
  ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b"); }));
  const IpRange range{ip("10.2.0.0"), ip("10.2.0.255")};
  rig.kernel.count({NftSet::kTxPlaintext, range}, 1);
  rig.kernel.count({NftSet::kRxPlaintext, range}, 20);
  rig.kernel.count({NftSet::kForeign, range}, 300);
  rig.kernel.receive(key(2), 4000);
  const std::uint64_t before = rig.peer("b").rx_bytes;
  rig.run(seconds(2));
  EXPECT_EQ(rig.peer("b").plaintext_tx_bytes, 1U);
  EXPECT_EQ(rig.peer("b").plaintext_rx_bytes, 20U);
  EXPECT_EQ(rig.peer("b").foreign_source_bytes, 300U);
  EXPECT_EQ(rig.peer("b").rx_bytes, before + 4000);
  EXPECT_EQ(rig.peer("b").dropped_bytes, 0U);
}

TEST_F(Report, DroppedBytesOfARequiredPeerAreCounted) {
  rig.store.put(node("b", 2).no_key().mode("require").record());
  rig.start();
  rig.run(seconds(1));
  EXPECT_EQ(rig.state("b"), State::kBlocked);
  const IpRange range{ip("10.2.0.0"), ip("10.2.0.255")};
  rig.kernel.count({NftSet::kTxRequired, range}, 500);
  rig.kernel.count({NftSet::kRxRequired, range}, 70);
  rig.run(seconds(2));
  EXPECT_EQ(rig.peer("b").dropped_bytes, 570U);
}

TEST_F(Report, RefusedPrefixesStandInTheWarningsOfTheirPeer) {
  RecordOf record = node("b", 2);
  record.cidrs.push_back(cidr("10.1.0.0/24"));
  rig.store.put(record.record());
  rig.start();
  rig.run(seconds(1));
  EXPECT_THAT(rig.peer("b").warnings, ElementsAre(HasSubstr("10.1.0.0/24")));
  EXPECT_THAT(rig.peer("b").cidrs, ElementsAre(cidr("10.2.0.0/24"), cidr("fd00:2::/64")));
}

TEST_F(Report, WhetherANodeGivesSignsOfLifeIsWhatTheStoreSays) {
  for (const char* name : {"b", "c", "d"}) rig.store.put(node(name, 2 + (name[0] - 'b')).record());
  rig.start();
  const WallTime since = rig.clock.now().wall - std::chrono::hours(3);
  rig.store.say_silent("c", since);
  rig.store.say_silent("d", std::nullopt);
  rig.run(seconds(1));
  EXPECT_EQ(rig.peer("b").alive, std::nullopt) << "it has not said anything";
  EXPECT_EQ(rig.peer("c").alive, false);
  EXPECT_EQ(rig.peer("c").silent_since, since);
  EXPECT_EQ(rig.peer("d").alive, true);
  EXPECT_EQ(rig.peer("d").silent_since, std::nullopt);
}

TEST_F(Report, AStoreThatWentBackIsToldAndWhoPutsItsRecordBackLosesNothing) {
  rig.add_peer("b", 2);
  rig.store.put(node("c", 3).mode("require").record());
  rig.start();
  rig.kernel.answer(key(3));
  ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b") && rig.encrypted("c"); }));
  EXPECT_FALSE(rig.status->store.went_back);
  rig.store.go_back("etcd is at revision 1, and was at 57");
  rig.run(seconds(1));
  ASSERT_TRUE(rig.status->store.went_back);
  EXPECT_EQ(rig.status->store.went_back->why, "etcd is at revision 1, and was at 57");
  EXPECT_THAT(rig.status->warnings, Contains(HasSubstr("and was at 57")));
  EXPECT_EQ(rig.peer("b").path, Path::kWireguard) << "for the moment";
  EXPECT_EQ(rig.state("c"), State::kBlocked);
  EXPECT_EQ(rig.peer("c").reason, Reason::kNoRecord);
  EXPECT_TRUE(rig.run_until([&] { return rig.store.record("a") != nullptr; })) << "put back";

  rig.store.put(node("b", 2).record());
  rig.store.put(node("c", 3).mode("require").record());
  ASSERT_TRUE(rig.run_until([&] { return rig.encrypted("b") && rig.encrypted("c"); }));
  rig.run(std::chrono::hours(2));
  EXPECT_TRUE(rig.status->store.went_back);
  EXPECT_THAT(rig.status->warnings, ::testing::Not(Contains(HasSubstr("and was at 57"))));
}

TEST_F(Report, NoStatusHoldsAPrivateKeyOrNeedsOne) {
  rig.start();
  rig.run(seconds(1));
  EXPECT_EQ(to_json_text(*rig.status).find("private"), std::string::npos);
}

}  // namespace
}  // namespace mesh::test
