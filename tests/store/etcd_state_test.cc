// An etcd that comes back with another state than it had: emptied, or restored from a backup. It is
// believed, as every store that answers; it is told, and the own record is put back at once.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "store/etcd_fixture.h"
#include "store/tcp_relay.h"

namespace mesh::testing {
namespace {

class EtcdState : public EtcdStoreTest {
 protected:
  // Until what node-a shows is in the store: its record, and its sign of life under a lease.
  bool wait_in_store(const NodeRecord& record) {
    const auto is_there = [&] {
      const auto live = server_.hands().get(keys_.live(record.name));
      const auto found = server_.hands().get(keys_.node(record.name));
      return live && live->lease() != 0 && found && found->value() == format_record_json(record);
    };
    return test::eventually(is_there, Observer::kPatience);
  }
};

TEST_F(EtcdState, AnEmptiedEtcdIsToldAndTheOwnRecordIsPutBack) {
  for (int i = 0; i < 20; ++i) put(example_record("node-b", fmt::format("{}", i)));
  ObservedStore client(store(server_.options()));
  client->publish(example_record("node-a"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-a")));
  ASSERT_TRUE(wait_in_store(example_record("node-a")));
  server_.kill();
  ASSERT_TRUE(client.seen().wait_out());
  EXPECT_TRUE(client.seen().now().ever_gone.empty()) << "before the store has answered";
  server_.wipe();
  ASSERT_TRUE(wait_back(client, "etcd is at revision"));
  EXPECT_TRUE(client.seen().wait_gone("node-b"));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a")));
  EXPECT_TRUE(wait_in_store(example_record("node-a")));
}

TEST_F(EtcdState, AnEtcdThatWasStartedAgainWithItsDataDidNotGoBack) {
  put(example_record("node-b"));
  ObservedStore client(store(server_.options()));
  ASSERT_TRUE(client.seen().wait_in_sync());
  server_.kill();
  ASSERT_TRUE(client.seen().wait_out());
  server_.start();
  ASSERT_TRUE(client.seen().wait_in_sync());
  EXPECT_EQ(client.seen().now().went_back, "");
}

// The backup has the lease, so that keeping it alive says nothing of the key that hung on it.
TEST_F(EtcdState, AfterABackupWasRestoredTheRecordAndTheSignOfLifeAreThoseOfNow) {
  put(example_record("node-b", "before"));
  ObservedStore client(store(server_.options()));
  client->publish(example_record("node-a", "old"));
  ASSERT_TRUE(wait_in_store(example_record("node-a", "old")));
  server_.hands().remove(keys_.live("node-a"));
  server_.backup();
  client->publish(example_record("node-a", "new"));
  ASSERT_TRUE(wait_in_store(example_record("node-a", "new")));
  for (int i = 0; i < 20; ++i) put(example_record("node-b", fmt::format("{}", i)));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-b", "19")));
  server_.restore();
  ASSERT_TRUE(wait_back(client, "etcd is at revision"));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-b", "before")));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a", "new")));
  EXPECT_TRUE(wait_in_store(example_record("node-a", "new")));
}

// Revisions are counted again from the backup's on: one that was seen has another text now.
TEST_F(EtcdState, WhatWasWrittenAtARevisionThatWasThereBeforeIsRead) {
  put(example_record("node-b", "before"));
  server_.backup();
  TcpRelay relay(server_.port());
  ObservedStore client(store(quick_options(relay.port())));
  put(example_record("node-b", "once"));
  const std::int64_t revision = server_.hands().get(keys_.node("node-b"))->mod_revision();
  ASSERT_TRUE(client.seen().wait_record(example_record("node-b", "once")));
  relay.cut();
  ASSERT_TRUE(client.seen().wait_out());
  server_.restore();
  put(example_record("node-b", "instead"));
  ASSERT_EQ(server_.hands().get(keys_.node("node-b"))->mod_revision(), revision);
  relay.mend();
  EXPECT_TRUE(client.seen().wait_record(example_record("node-b", "instead")));
}

}  // namespace
}  // namespace mesh::testing
