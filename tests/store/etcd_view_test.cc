// EtcdView: what is told of keys that come one by one. No server.
#include "meshd/store/etcd/etcd_view.h"

#include <gtest/gtest.h>

#include "meshd/store/record_codec.h"
#include "store/observer.h"

namespace mesh::testing {
namespace {

class EtcdViewTest : public ::testing::Test {
 protected:
  void put(const NodeRecord& record, std::int64_t revision) {
    view_.put(keys_.node(record.name), format_record_json(record), revision);
  }
  EtcdKeys keys_{"/meshd/"};
  EtcdView view_{keys_};
};

TEST_F(EtcdViewTest, WhatComesAndGoesBetweenTwoUpdatesIsNotTold) {
  put(example_record("node-a"), 1);
  view_.remove(keys_.node("node-a"));
  EXPECT_TRUE(view_.take(false).changes.empty());
}

TEST_F(EtcdViewTest, TheSameContentAgainIsNoChange) {
  put(example_record("node-a"), 1);
  EXPECT_EQ(view_.take(false).changes.size(), 1U);
  put(example_record("node-a"), 2);
  EXPECT_TRUE(view_.take(false).changes.empty());
  put(example_record("node-a", "other"), 3);
  put(example_record("node-a"), 4);
  EXPECT_TRUE(view_.take(false).changes.empty()) << "it is as it was told";
}

TEST_F(EtcdViewTest, WhatAReadOfEverythingDoesNotHaveIsGone) {
  view_.start_over();
  put(example_record("node-a"), 1);
  put(example_record("node-b"), 2);
  view_.put(keys_.live("node-b"), "", 3);
  view_.finish({7, 10});
  EXPECT_EQ(view_.take(true).changes.size(), 2U);
  view_.start_over();
  put(example_record("node-a"), 1);
  view_.finish({7, 12});
  EXPECT_EQ(view_.revision(), 12);
  const StoreUpdate update = view_.take(false);
  ASSERT_EQ(update.changes.size(), 1U);
  EXPECT_EQ(update.changes[0].node, "node-b");
  EXPECT_EQ(update.changes[0].entry, nullptr);
  EXPECT_EQ(view_.live("node-b"), nullptr);
}

// Another cluster, or this one after a restore, has revisions of its own: what has the same may be
// something else.
TEST_F(EtcdViewTest, TheSameRevisionOfAnotherStateIsReadAfresh) {
  view_.start_over();
  put(example_record("node-a", "one"), 1);
  view_.finish({7, 1});
  (void)view_.take(true);
  view_.start_over();
  put(example_record("node-a", "two"), 1);
  view_.finish({7, 1});
  EXPECT_EQ(view_.take(false).changes.size(), 1U);
}

TEST_F(EtcdViewTest, AStoreThatWentBackIsToldOnceAndOneThatWentOnIsNot) {
  const auto read = [&](EtcdStateId state) {
    view_.start_over();
    view_.finish(state);
    return view_.take(true).went_back;
  };
  EXPECT_EQ(read({7, 10}), "") << "nothing was known before";
  EXPECT_EQ(read({7, 10}), "");
  EXPECT_EQ(read({7, 12}), "");
  EXPECT_EQ(read({7, 3}), "etcd is at revision 3, and was at 12");
  EXPECT_EQ(read({7, 3}), "");
  EXPECT_NE(read({8, 50}).find("another etcd cluster"), std::string::npos);
  // One that could not be told, because the watch was refused then, is told with the next.
  view_.start_over();
  view_.finish({8, 1});
  EXPECT_NE(read({8, 2}), "");
}

TEST_F(EtcdViewTest, SilenceIsToldOfNodesWithARecordAndWithoutASignOfLife) {
  view_.put(keys_.silent("node-a"), "1000", 1);
  EXPECT_TRUE(view_.take(false).liveness.empty());
  put(example_record("node-a"), 2);
  StoreUpdate update = view_.take(false);
  ASSERT_EQ(update.liveness.size(), 1U);
  EXPECT_EQ(update.liveness[0].silent_since, WallTime(std::chrono::seconds(1000)));
  view_.put(keys_.live("node-a"), "", 3);
  update = view_.take(false);
  ASSERT_EQ(update.liveness.size(), 1U);
  EXPECT_FALSE(update.liveness[0].silent_since.has_value());
  view_.remove(keys_.live("node-a"));
  EXPECT_EQ(view_.take(false).liveness.size(), 1U);
}

TEST_F(EtcdViewTest, ATimeThatIsNoneSaysNothingOfHowLong) {
  put(example_record("node-a"), 1);
  for (const char* text : {"", "yesterday", "-5x", "99999999999999999999999"}) {
    view_.put(keys_.silent("node-a"), text, 2);
    view_.remove(keys_.live("node-a"));
    (void)view_.take(false);
    EXPECT_GT(view_.silent("node-a")->since, std::chrono::system_clock::now()) << text;
  }
}

}  // namespace
}  // namespace mesh::testing
