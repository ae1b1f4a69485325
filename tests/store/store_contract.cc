// What meshd relies on in every store.
#include "store_contract.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <thread>

#include "observer.h"

namespace mesh::testing {

TEST_P(StoreContract, TheFirstUpdateInSyncIsTheWholeStore) {
  store_->put(example_record("node-a"));
  store_->put(example_record("node-b"));
  ObservedStore client(store_->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  const Observed seen = client.seen().now();
  EXPECT_EQ(seen.entries.size(), 2U);
  EXPECT_EQ(seen.completes, 1);
  EXPECT_EQ(seen.error, "");
}

TEST_P(StoreContract, AnEmptyStoreIsInSyncToo) {
  ObservedStore client(store_->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  EXPECT_TRUE(client.seen().now().entries.empty());
}

TEST_P(StoreContract, WhatOneNodePublishesEveryNodeObserves) {
  store_->admit("node-a");
  store_->admit("node-b");
  ObservedStore a(store_->client());
  ObservedStore b(store_->client());
  a->publish(example_record("node-a", "key-of-a"));
  b->publish(example_record("node-b", "key-of-b"));
  for (ObservedStore* client : {&a, &b}) {
    EXPECT_TRUE(client->seen().wait_record(example_record("node-a", "key-of-a")));
    EXPECT_TRUE(client->seen().wait_record(example_record("node-b", "key-of-b")));
  }
}

TEST_P(StoreContract, ARecordPublishedBeforeTheStartIsWrittenToo) {
  store_->admit("node-a");
  auto client = store_->client();
  Observer observer;
  client->publish(example_record("node-a"));
  client->start(observer.sink());
  EXPECT_TRUE(observer.wait_record(example_record("node-a")));
  client->stop();
}

TEST_P(StoreContract, TheLastPublishedRecordWins) {
  store_->admit("node-a");
  ObservedStore client(store_->client());
  for (int i = 0; i <= 100; ++i) client->publish(example_record("node-a", fmt::format("key{}", i)));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a", "key100")));
  EXPECT_EQ(store_->get("node-a"), example_record("node-a", "key100"));
}

TEST_P(StoreContract, ChangesOfOthersAreDeliveredAsTheyCome) {
  ObservedStore client(store_->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  for (int i = 0; i < 20; ++i) {
    store_->put(example_record("node-b", fmt::format("key{}", i)));
    ASSERT_TRUE(client.seen().wait_record(example_record("node-b", fmt::format("key{}", i))));
  }
  const Observed seen = client.seen().now();
  EXPECT_EQ(seen.completes, 1) << "a change is a delta, not the whole store again";
  EXPECT_TRUE(seen.ever_gone.empty());
}

TEST_P(StoreContract, ManyWritesEndInWhatWasWrittenLast) {
  ObservedStore client(store_->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  constexpr int kNodes = 7;
  constexpr int kWrites = 140;
  const auto record = [](int i) {
    return example_record(fmt::format("node-{}", i % kNodes), fmt::format("key{}", i));
  };
  for (int i = 0; i < kWrites; ++i) store_->put(record(i));
  for (int i = kWrites - kNodes; i < kWrites; ++i)
    EXPECT_TRUE(client.seen().wait_record(record(i)));
  EXPECT_TRUE(client.seen().now().ever_gone.empty());
}

TEST_P(StoreContract, ANodeThatIsStartedAgainHasWhatHappenedMeanwhileAndWritesOnlyWhatDiffers) {
  store_->admit("node-a");
  {
    ObservedStore client(store_->client());
    client->publish(example_record("node-a"));
    ASSERT_TRUE(client.seen().wait_record(example_record("node-a")));
  }
  store_->put(example_record("node-b"));
  const std::string revision = store_->revision("node-a");
  ObservedStore again(store_->client());
  again->publish(example_record("node-a"));
  ASSERT_TRUE(again.seen().wait_record(example_record("node-b")));
  EXPECT_TRUE(again.seen().wait_record(example_record("node-a")));
  store_->put(example_record("node-c"));
  ASSERT_TRUE(again.seen().wait_record(example_record("node-c")));
  EXPECT_EQ(store_->revision("node-a"), revision);
}

TEST_P(StoreContract, ARemovedRecordIsGoneAndMayReturn) {
  store_->put(example_record("node-b"));
  store_->put(example_record("node-c"));
  ObservedStore client(store_->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  store_->remove("node-b");
  ASSERT_TRUE(client.seen().wait_gone("node-b"));
  EXPECT_TRUE(client.seen().now().has("node-c"));
  store_->put(example_record("node-b", "another"));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-b", "another")));
}

// When a client has seen two writes that came one after the other, it has dealt with everything
// that it was asked before them.
static void expect_up_to_date(StoreUnderTest& store, ObservedStore& client) {
  for (const char* key : {"tick", "tock"}) {
    store.put(example_record("node-z", key));
    ASSERT_TRUE(client.seen().wait_record(example_record("node-z", key)));
  }
}

TEST_P(StoreContract, AnEqualRecordIsNotWrittenAgain) {
  store_->admit("node-a");
  ObservedStore client(store_->client());
  client->publish(example_record("node-a"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-a")));
  const std::string revision = store_->revision("node-a");
  client->publish(example_record("node-a"));
  expect_up_to_date(*store_, client);
  EXPECT_EQ(store_->revision("node-a"), revision);

  ObservedStore restarted(store_->client());
  restarted->publish(example_record("node-a"));
  expect_up_to_date(*store_, restarted);
  EXPECT_EQ(store_->revision("node-a"), revision);

  client->publish(example_record("node-a", "another"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-a", "another")));
  EXPECT_NE(store_->revision("node-a"), revision) << "a write would have been seen";
}

TEST_P(StoreContract, WhatSomebodyElseOverwroteIsSeenAndPutBackByPublishingAgain) {
  store_->admit("node-a");
  ObservedStore client(store_->client());
  client->publish(example_record("node-a"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-a")));
  store_->put(example_record("node-a", "stolen"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-a", "stolen")));
  client->publish(example_record("node-a"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-a")));
  store_->remove("node-a");
  ASSERT_TRUE(client.seen().wait_gone("node-a"));
  store_->admit("node-a");
  client->publish(example_record("node-a"));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a")));
  EXPECT_EQ(store_->get("node-a"), example_record("node-a"));
}

TEST_P(StoreContract, AnnotationsOfOthersStayInTheOwnRecord) {
  NodeRecord before = example_record("node-a", "old");
  before.annotations["example.com/owner"] = "somebody else's";
  before.annotations["meshd.io/of-a-newer-version"] = "ours, and not published now";
  store_->put(before);
  ObservedStore client(store_->client());
  client->publish(example_record("node-a", "new"));
  NodeRecord expected = example_record("node-a", "new");
  expected.annotations["example.com/owner"] = "somebody else's";
  EXPECT_TRUE(client.seen().wait_record(store_->as_seen(expected)));
  EXPECT_EQ(store_->get("node-a"), expected);
}

TEST_P(StoreContract, ABadRecordCostsThatNodeAlone) {
  store_->put(example_record("node-b"));
  store_->put_garbage("node-x");
  ObservedStore client(store_->client());
  ASSERT_TRUE(client.seen().wait_bad("node-x"));
  EXPECT_THAT(client.seen().now().bad("node-x")->message, ::testing::HasSubstr("node-x"));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-b")));
  EXPECT_EQ(client.seen().now().error, "");

  store_->put_garbage("node-b");
  ASSERT_TRUE(client.seen().wait_bad("node-b"));
  store_->put(example_record("node-c"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-c")));
  store_->put(example_record("node-x"));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-x"))) << "and it can be mended";
  EXPECT_TRUE(client.seen().now().ever_gone.empty()) << "bad is not gone";
}

TEST_P(StoreContract, TheOwnRecordIsWrittenOverGarbage) {
  store_->put_garbage("node-a");
  ObservedStore client(store_->client());
  client->publish(example_record("node-a"));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a")));
}

TEST_P(StoreContract, InAnOutageNothingIsGone) {
  store_->put(example_record("node-b"));
  store_->put(example_record("node-c"));
  ObservedStore client(store_->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  store_->go_away();
  ASSERT_TRUE(client.seen().wait_out());
  EXPECT_EQ(client.seen().now().entries.size(), 2U);
  store_->come_back();
  ASSERT_TRUE(client.seen().wait_in_sync());
  const Observed seen = client.seen().now();
  EXPECT_EQ(seen.completes, 2);
  EXPECT_EQ(seen.entries.size(), 2U);
  EXPECT_TRUE(seen.ever_gone.empty());
  EXPECT_EQ(seen.error, "");
}

TEST_P(StoreContract, AfterAnOutageWhatHappenedMeanwhileIsKnown) {
  for (const char* node : {"node-b", "node-c", "node-d"}) store_->put(example_record(node));
  ObservedStore client(store_->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  store_->go_away();
  ASSERT_TRUE(client.seen().wait_out());
  store_->remove("node-b");
  store_->put(example_record("node-c", "changed"));
  store_->put(example_record("node-e"));
  store_->come_back();
  ASSERT_TRUE(client.seen().wait_in_sync());
  const Observed seen = client.seen().now();
  EXPECT_FALSE(seen.has("node-b"));
  EXPECT_EQ(*seen.record("node-c"), example_record("node-c", "changed"));
  EXPECT_EQ(*seen.record("node-d"), example_record("node-d"));
  EXPECT_EQ(*seen.record("node-e"), example_record("node-e"));
  EXPECT_THAT(seen.ever_gone, ::testing::ElementsAre("node-b"));
}

TEST_P(StoreContract, ARecordPublishedInAnOutageIsWrittenWhenTheStoreIsBack) {
  store_->admit("node-a");
  ObservedStore client(store_->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  store_->go_away();
  ASSERT_TRUE(client.seen().wait_out());
  client->publish(example_record("node-a", "first"));
  client->publish(example_record("node-a", "last"));
  store_->come_back();
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a", "last")));
}

TEST_P(StoreContract, AStoreThatIsOutAtTheStartIsSaidToBeAndFoundLater) {
  store_->put(example_record("node-b"));
  store_->admit("node-a");
  store_->go_away();
  ObservedStore client(store_->client());
  client->publish(example_record("node-a"));
  ASSERT_TRUE(client.seen().wait_out());
  EXPECT_EQ(client.seen().now().completes, 0);
  store_->come_back();
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a")));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-b")));
}

TEST_P(StoreContract, ManyOutagesLeaveTheRightState) {
  store_->put(example_record("node-b"));
  ObservedStore client(store_->client());
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(client.seen().wait_in_sync());
    store_->go_away();
    ASSERT_TRUE(client.seen().wait_out());
    store_->put(example_record("node-b", fmt::format("key{}", i)));
    store_->come_back();
    ASSERT_TRUE(client.seen().wait_record(example_record("node-b", fmt::format("key{}", i))));
  }
  EXPECT_TRUE(client.seen().now().ever_gone.empty());
}

TEST_P(StoreContract, NoUpdateComesAfterStop) {
  auto client = store_->client();
  std::atomic<bool> stopped = false;
  std::atomic<int> late = 0;
  Observer observer;
  client->start([&, sink = observer.sink()](StoreUpdate update) {
    if (stopped) ++late;
    sink(std::move(update));
  });
  ASSERT_TRUE(observer.wait_in_sync());
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (int i = 0; !done; ++i) store_->put(example_record("node-b", fmt::format("key{}", i)));
  });
  EXPECT_TRUE(
      observer.wait("some changes", [](const Observed& seen) { return seen.changes > 10; }));
  client->stop();
  stopped = true;
  const int updates = observer.now().updates;
  client->publish(example_record("node-a"));
  client->stop();  // idempotent
  // Another client, started later, sees the writer's further work: the stopped one had its chance.
  ObservedStore other(store_->client());
  EXPECT_TRUE(
      other.seen().wait("further changes", [](const Observed& seen) { return seen.changes > 10; }));
  done = true;
  writer.join();
  EXPECT_EQ(late, 0);
  EXPECT_EQ(observer.now().updates, updates);
  EXPECT_FALSE(store_->get("node-a").has_value());
}

TEST_P(StoreContract, StoppedBeforeOrWithoutAStartIsFine) {
  auto never_started = store_->client();
  never_started->publish(example_record("node-a"));
  never_started->stop();
  auto destroyed = store_->client();
  destroyed.reset();
}

TEST_P(StoreContract, TwoThatClaimOneNameSeeEachOther) {
  store_->admit("node-a");
  ObservedStore first(store_->client());
  first->publish(example_record("node-a", "first"));
  ASSERT_TRUE(first.seen().wait_record(example_record("node-a", "first")));
  ObservedStore second(store_->client());
  second->publish(example_record("node-a", "second"));
  EXPECT_TRUE(first.seen().wait_record(example_record("node-a", "second")));
  EXPECT_TRUE(second.seen().wait_record(example_record("node-a", "second")));
}

TEST_P(StoreContract, OddNamesAndTextAreCarriedUnchanged) {
  ObservedStore client(store_->client());
  for (const char* name : {"1", "0x1f", "true", "null", "1e3", "a.b-c.d", "2026-11-22"}) {
    NodeRecord record = example_record(name);
    record.labels = {{"yes", "no"}, {"1", "1.0"}};
    for (auto* texts : {&record.labels, &record.annotations}) {
      if (texts == &record.labels && !store_->labels_take_any_text()) continue;
      (*texts)["meshd.io/quote"] = "\"'\\ : # {[&*!|>%@`";
      (*texts)["meshd.io/lines"] = " first\nsecond\ttab\r\n";
      (*texts)["meshd.io/unicode"] = "sm\u00f8rrebr\u00f8d \u2603 \U0001F310";
    }
    store_->put(record);
    EXPECT_TRUE(client.seen().wait_record(record)) << name;
  }
}

TEST_P(StoreContract, FiveThousandRecordsAreOneUpdate) {
  std::vector<NodeRecord> records;
  for (int i = 0; i < 5000; ++i) records.push_back(example_record(fmt::format("node-{}", i)));
  store_->fill(records);
  ObservedStore client(store_->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  const Observed seen = client.seen().now();
  EXPECT_EQ(seen.entries.size(), 5000U);
  EXPECT_EQ(seen.updates, 1) << seen.errors;
  store_->put(example_record("node-77", "changed"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-77", "changed")));
  EXPECT_EQ(client.seen().now().changes, 1) << "one change costs one change";
}

// ---- policies, and an operator's hand ----

static EncryptionPolicy example_policy(const std::string& name, double order = 100) {
  return {name, order, "role == \"d'b\" && has(zone)", "all()", PolicyAction::kRequire};
}

TEST_P(StorePolicyContract, TheFirstUpdateInSyncHasThePoliciesToo) {
  put(example_policy("databases"));
  put(example_policy("web", -0.5));
  ObservedStore client(store_->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  const Observed seen = client.seen().now();
  ASSERT_EQ(seen.policies.size(), 2U);
  EXPECT_EQ(*seen.policy("databases"), example_policy("databases"));
  EXPECT_EQ(*seen.policy("web"), example_policy("web", -0.5));
  EXPECT_TRUE(seen.entries.empty());
}

TEST_P(StorePolicyContract, APolicyIsDeliveredWhenItIsMadeChangedAndDeleted) {
  ObservedStore client(store_->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  put(example_policy("databases"));
  ASSERT_TRUE(client.seen().wait_policy(example_policy("databases")));
  for (int i = 0; i < 5; ++i) {
    put(example_policy("databases", i));
    ASSERT_TRUE(client.seen().wait_policy(example_policy("databases", i)));
  }
  EncryptionPolicy last = example_policy("databases");
  last.order = std::numeric_limits<double>::infinity();
  put(last);
  ASSERT_TRUE(client.seen().wait_policy(last));
  EXPECT_TRUE(client.seen().now().policies_ever_gone.empty());
  const auto deleted = admin_->delete_policy("databases");
  ASSERT_TRUE(deleted) << deleted.error().message;
  EXPECT_TRUE(client.seen().wait_policy_gone("databases"));
  const auto again = admin_->delete_policy("databases");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kNotFound) << again.error().message;
}

TEST_P(StorePolicyContract, ABadPolicyIsSaidToBeBadAndNotGone) {
  put(example_policy("databases"));
  ObservedStore client(store_->client());
  ASSERT_TRUE(client.seen().wait_policy(example_policy("databases")));
  store_->put_garbage_policy("databases");
  ASSERT_TRUE(client.seen().wait("a bad policy", [](const Observed& seen) {
    return seen.bad_policy("databases") != nullptr;
  }));
  EXPECT_THAT(client.seen().now().bad_policy("databases")->message,
              ::testing::HasSubstr("databases"));
  put(example_policy("databases", 7));
  EXPECT_TRUE(client.seen().wait_policy(example_policy("databases", 7)));
  EXPECT_TRUE(client.seen().now().policies_ever_gone.empty());
}

TEST_P(StorePolicyContract, WhatHappenedToPoliciesInAnOutageIsKnownAfterIt) {
  for (const char* name : {"a", "b", "c"}) put(example_policy(name));
  ObservedStore client(store_->client());
  ASSERT_TRUE(client.seen().wait_in_sync());
  store_->go_away();
  ASSERT_TRUE(client.seen().wait_out());
  EXPECT_EQ(client.seen().now().policies.size(), 3U) << "in an outage nothing is gone";
  store_->come_back();
  ASSERT_TRUE(client.seen().wait_in_sync());
  EXPECT_TRUE(client.seen().now().policies_ever_gone.empty());
  ASSERT_TRUE(admin_->delete_policy("b"));
  EXPECT_TRUE(client.seen().wait_policy_gone("b"));
}

TEST_P(StorePolicyContract, AnOperatorReadsWhatIsThereAndDeletesARecord) {
  put(example_policy("databases"));
  store_->put_garbage_policy("broken");
  store_->put(example_record("node-b"));
  store_->put_garbage("node-x");
  const auto contents = admin_->read();
  ASSERT_TRUE(contents) << contents.error().message;
  ASSERT_EQ(contents->policies.size(), 2U);
  ASSERT_EQ(contents->nodes.size(), 2U);
  for (const PolicyChange& change : contents->policies) {
    ASSERT_NE(change.entry, nullptr);
    EXPECT_EQ(std::holds_alternative<BadRecord>(*change.entry), change.policy == "broken");
  }
  for (const StoreChange& change : contents->nodes) {
    ASSERT_NE(change.entry, nullptr);
    EXPECT_EQ(std::holds_alternative<BadRecord>(*change.entry), change.node == "node-x");
  }
}

TEST_P(StorePolicyContract, RefusesNamesThatAreNone) {
  EncryptionPolicy policy = example_policy("../nodes/node-b");
  EXPECT_FALSE(admin_->put_policy(policy));
  EXPECT_FALSE(admin_->delete_policy("../nodes/node-b"));
  EXPECT_FALSE(admin_->delete_policy(""));
}

}  // namespace mesh::testing
