// The etcd store against a real etcd: what the contract of all stores does not say. Each error is
// one line with the remedy, and ends when its cause does.
#include "meshd/store/etcd/etcd_store.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "store/etcd_fixture.h"
#include "store/tcp_relay.h"

namespace mesh::testing {
namespace {

// ---- the watch ----

TEST_F(EtcdStoreTest, WhatHappenedBeforeACompactionWhileTheWatchWasDownIsKnown) {
  for (const char* node : {"node-b", "node-c", "node-d"}) put(example_record(node));
  TcpRelay relay(server_.port());
  ObservedStore client(store(quick_options(relay.port())));
  ASSERT_TRUE(client.seen().wait_in_sync());
  relay.cut();
  ASSERT_TRUE(client.seen().wait_out());
  put(example_record("node-b", "a new key"));
  server_.hands().remove(keys_.node("node-c"));
  server_.ctl(fmt::format("compact {}", server_.hands().revision()));
  relay.mend();
  ASSERT_TRUE(client.seen().wait_in_sync());
  const Observed seen = client.seen().now();
  EXPECT_EQ(*seen.record("node-b"), example_record("node-b", "a new key"));
  EXPECT_FALSE(seen.has("node-c"));
  EXPECT_THAT(seen.ever_gone, ::testing::ElementsAre("node-c"));
}

// The watch goes on at the other endpoint where it ended; where that is compacted, all is read.
TEST_F(EtcdStoreTest, ACompactedWatchIsReadAgainWithoutAnOutage) {
  for (const char* node : {"node-b", "node-c", "node-d"}) put(example_record(node));
  TcpRelay first(server_.port());
  TcpRelay second(server_.port());
  EtcdOptions options = quick_options(first.port());
  options.endpoints.push_back(quick_options(second.port()).endpoints.front());
  options.failover_patience = std::chrono::seconds(20);
  ObservedStore client(store(options));
  ASSERT_TRUE(client.seen().wait_in_sync());
  first.pass(false);  // it hears nothing of this
  put(example_record("node-b", "a new key"));
  server_.hands().remove(keys_.node("node-c"));
  // What was on its way may still arrive: all that followed is compacted.
  put(example_record("node-b", "another"));
  put(example_record("node-b", "a new key"));
  server_.ctl(fmt::format("compact {}", server_.hands().revision()));
  first.cut();
  ASSERT_TRUE(
      client.seen().wait("read again", [](const Observed& seen) { return seen.completes == 2; }));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-b", "a new key")));
  const Observed seen = client.seen().now();
  EXPECT_FALSE(seen.has("node-c"));
  EXPECT_TRUE(seen.has("node-d"));
  EXPECT_EQ(seen.errors, "");
  EXPECT_EQ(seen.completes, 2);
}

TEST_F(EtcdStoreTest, AnotherEndpointTakesOverWithoutAnOutage) {
  put(example_record("node-b"));
  TcpRelay first(server_.port());
  TcpRelay second(server_.port());
  EtcdOptions options = quick_options(first.port());
  options.endpoints.push_back(quick_options(second.port()).endpoints.front());
  ObservedStore client(store(options));
  ASSERT_TRUE(client.seen().wait_in_sync());
  first.cut();
  put(example_record("node-b", "changed meanwhile"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-b", "changed meanwhile")));
  const Observed seen = client.seen().now();
  EXPECT_EQ(seen.completes, 1) << "nothing is read again";
  EXPECT_EQ(seen.errors, "");
  first.mend();
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // not a broken one each second
  second.cut();
  put(example_record("node-b", "and back"));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-b", "and back")));
  EXPECT_EQ(client.seen().now().errors, "");
}

TEST_F(EtcdStoreTest, AServerThatIsKilledAndStartedAgainHasEverything) {
  put(example_record("node-b"));
  ObservedStore client(store(server_.options()));
  client->publish(example_record("node-a"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-a")));
  server_.kill();
  ASSERT_TRUE(client.seen().wait_out());
  client->publish(example_record("node-a", "changed"));
  server_.start();
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a", "changed")));
  EXPECT_TRUE(client.seen().now().ever_gone.empty());
}

TEST_F(EtcdStoreTest, AHungServerIsOutWithinTenSecondsAndStopDoesNotWaitForIt) {
  ObservedStore client(store(server_.options()));
  client->publish(example_record("node-a"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-a")));
  ObservedStore idle(store(server_.options()));
  ASSERT_TRUE(idle.seen().wait_in_sync());
  const auto hung = Steady::now();
  server_.process().suspend();
  ASSERT_TRUE(idle.seen().wait_out());
  EXPECT_LT(Steady::now() - hung, std::chrono::seconds(10));
  client->publish(example_record("node-a", "another"));
  const auto stopping = Steady::now();
  client->stop();
  idle->stop();
  EXPECT_LT(Steady::now() - stopping, std::chrono::seconds(1));
  server_.process().resume();
}

// ---- signs of life ----

TEST_F(EtcdStoreTest, ANodeThatEndsIsSaidToBeSilentAndToBeBackWhenItIs) {
  EtcdOptions options = server_.options();
  options.lease_ttl = std::chrono::seconds(2);
  options.silence_settle = std::chrono::milliseconds(20);
  ObservedStore observer(store(options));
  observer->publish(example_record("node-a"));
  put(example_record("by-hand"));
  NodeRecord plain = example_record("plain");
  plain.annotations.clear();
  put(plain);
  {
    ObservedStore b(store(options));
    b->publish(example_record("node-b"));
    ASSERT_TRUE(observer.seen().wait_silent("node-b", false));
    ASSERT_TRUE(server_.hands().get(keys_.live("node-b")).has_value());
  }
  ASSERT_TRUE(observer.seen().wait_silent("node-b"));
  ASSERT_TRUE(observer.seen().wait_silent("by-hand")) << "it has meshd's annotations";
  EXPECT_FALSE(observer.seen().now().is_silent("plain")) << "it never ran meshd";
  EXPECT_FALSE(observer.seen().now().is_silent("node-a"));

  // Since when is kept in the store, so that every observer, and one that starts later, knows.
  ObservedStore later(store(options));
  ASSERT_TRUE(later.seen().wait_silent("node-b"));
  EXPECT_EQ(later.seen().now().liveness.at("node-b"), observer.seen().now().liveness.at("node-b"));

  ObservedStore again(store(options));
  again->publish(example_record("node-b"));
  EXPECT_TRUE(observer.seen().wait_silent("node-b", false));
  EXPECT_FALSE(server_.hands().get(keys_.silent("node-b")).has_value());
  EXPECT_TRUE(observer.seen().now().ever_gone.empty()) << "silent is not gone";
}

TEST_F(EtcdStoreTest, ASignOfLifeThatSomebodyRemovedIsGivenAgain) {
  ObservedStore client(store(server_.options()));
  client->publish(example_record("node-a"));
  const std::string key = keys_.live("node-a");
  const auto wait_for_key = [&] {
    return test::eventually([&] { return server_.hands().get(key).has_value(); },
                            Observer::kPatience);
  };
  ASSERT_TRUE(wait_for_key());
  EXPECT_NE(server_.hands().get(key)->lease(), 0);
  server_.hands().remove(key);
  EXPECT_TRUE(wait_for_key());
}

TEST_F(EtcdStoreTest, OnlyASilentNodeIsForgottenAndOnlyIfNothingChanged) {
  EtcdOptions options = server_.options();
  options.silence_settle = std::chrono::milliseconds(20);
  ObservedStore observer(store(options));
  ObservedStore alive(store(options));
  alive->publish(example_record("alive"));
  put(example_record("dead"));
  ASSERT_TRUE(observer.seen().wait_silent("dead"));
  ASSERT_TRUE(observer.seen().wait_silent("alive", false));
  ASSERT_TRUE(server_.hands().get(keys_.live("alive")).has_value());
  observer->forget("alive");
  observer->forget("dead");
  ASSERT_TRUE(observer.seen().wait_gone("dead"));
  EXPECT_FALSE(server_.hands().get(keys_.silent("dead")).has_value());
  EXPECT_TRUE(server_.hands().get(keys_.node("alive")).has_value());

  // What changed in the moment before is not forgotten: the watch is held back meanwhile.
  put(example_record("dead"));
  TcpRelay relay(server_.port());
  EtcdOptions relayed = options;
  relayed.endpoints = quick_options(relay.port()).endpoints;
  ObservedStore other(store(relayed));
  ASSERT_TRUE(other.seen().wait_silent("dead"));
  other.seen().held([&] { put(example_record("node-z")); },
                    [&] {
                      put(example_record("dead", "it lives"));
                      other->forget("dead");
                    });
  for (const char* key : {"tick", "tock"}) {
    put(example_record("node-z", key));
    ASSERT_TRUE(other.seen().wait_record(example_record("node-z", key)));
  }
  EXPECT_TRUE(server_.hands().get(keys_.node("dead")).has_value());
}

// ---- odd keys ----

TEST_F(EtcdStoreTest, KeysThatNoNodeCanHaveAreRefusedAndHarmNobody) {
  put(example_record("node-b"));
  for (const char* name : {"", "UPPER", "a/b", "..", "\x01\x02", "\xff"})
    server_.hands().put("/meshd/nodes/" + std::string(name), "{}");
  for (const char* key : {"/meshd/live/", "/meshd/silent/node-b", "/meshd/other", "/meshd/"})
    server_.hands().put(key, "\xff\x00nonsense");
  server_.hands().put("/meshd0", "outside");
  server_.hands().put(keys_.node("huge"), std::string(1'200'000, 'x'));
  ObservedStore client(store(server_.options()));
  ASSERT_TRUE(client.seen().wait_in_sync());
  const Observed seen = client.seen().now();
  EXPECT_EQ(*seen.record("node-b"), example_record("node-b"));
  ASSERT_NE(seen.bad("huge"), nullptr);
  EXPECT_NE(seen.bad("a/b"), nullptr);
  EXPECT_FALSE(seen.has("outside"));
}

// Twenty records of a mebibyte are more than one answer may have.
TEST_F(EtcdStoreTest, AnAnswerThatIsTooLargeIsAskedForInParts) {
  for (int i = 0; i < 20; ++i)
    server_.hands().put(keys_.node(fmt::format("big-{}", i)), std::string(1'000'000, ' '));
  put(example_record("node-b"));
  ObservedStore client(store(server_.options()));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-b")));
  EXPECT_EQ(client.seen().now().entries.size(), 21U);
}

}  // namespace
}  // namespace mesh::testing
