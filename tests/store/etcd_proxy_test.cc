// etcd behind something that goes on answering when etcd is gone: `etcd grpc-proxy` takes watches,
// and answers HTTP/2's pings, so that etcd itself has to be asked.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>

#include "store/etcd_fixture.h"
#include "store/scripted_etcd.h"

namespace mesh::testing {
namespace {

class EtcdBehindProxy : public EtcdStoreTest {
 protected:
  // An observer that has nothing to write, and no reason to speak to etcd.
  void expect_out_within_ten_seconds(const std::function<void()>& cause) {
    put(example_record("node-b"));
    ObservedStore idle(store(quick_options(proxy_.port())));
    ASSERT_TRUE(idle.seen().wait_in_sync());
    const auto start = Steady::now();
    cause();
    ASSERT_TRUE(idle.seen().wait_out());
    EXPECT_LT(Steady::now() - start, std::chrono::seconds(10));
    RecordProperty("noticed_ms",
                   static_cast<int>((Steady::now() - start) / std::chrono::milliseconds(1)));
    if (server_.process().running()) server_.process().resume();
    if (!server_.process().running()) server_.start();
    put(example_record("node-b", "after"));
    EXPECT_TRUE(idle.seen().wait_record(example_record("node-b", "after")));
    EXPECT_TRUE(idle.seen().now().ever_gone.empty());
  }

  EtcdProxy proxy_{server_};
};

TEST_F(EtcdBehindProxy, AKilledEtcdIsOutWithinTenSeconds) {
  expect_out_within_ten_seconds([&] { server_.kill(); });
}

TEST_F(EtcdBehindProxy, AHungEtcdIsOutWithinTenSeconds) {
  expect_out_within_ten_seconds([&] { server_.process().suspend(); });
}

TEST_F(EtcdBehindProxy, TheOwnRecordIsWrittenWhenEtcdIsBack) {
  ObservedStore client(store(quick_options(proxy_.port())));
  client->publish(example_record("node-a"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-a")));
  server_.kill();
  ASSERT_TRUE(client.seen().wait_out());
  client->publish(example_record("node-a", "meanwhile"));
  server_.start();
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a", "meanwhile")));
}

// The proxy's own watch waits for revisions that the new etcd may never reach, and says nothing.
TEST_F(EtcdBehindProxy, AnEtcdThatWasEmptiedInAMomentIsNoticed) {
  for (int i = 0; i < 20; ++i) put(example_record("node-b", fmt::format("{}", i)));
  ObservedStore client(store(quick_options(proxy_.port())));
  client->publish(example_record("node-a"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-a")));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-b", "19")));
  server_.wipe();
  EXPECT_TRUE(wait_back(client, "etcd is at revision"));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a"))) << "put back";
  EXPECT_TRUE(client.seen().wait_gone("node-b"));
}

// ---- what it costs ----

// How often etcd is asked to read, until that was `enough` or for a while.
std::size_t reads_of(ScriptedEtcd::Script script, std::size_t enough) {
  ScriptedEtcd etcd(std::move(script));
  EtcdOptions options = quick_options(etcd.port());
  options.probe_after = std::chrono::milliseconds(50);
  ObservedStore client(std::make_unique<EtcdStore>(options));
  EXPECT_TRUE(client.seen().wait_in_sync());
  (void)test::eventually([&] { return etcd.reads().size() >= enough; }, std::chrono::seconds(2));
  EXPECT_EQ(client.seen().now().updates, 1) << client.seen().now().errors;
  return etcd.reads().size();
}

TEST(EtcdProbe, OnlyWhatNumbersWatchesItselfIsAsked) {
  EXPECT_EQ(reads_of({}, 2), 1U) << "an etcd: everything is read once, and no more";
  ScriptedEtcd::Script proxy;
  proxy.watch = ScriptedEtcd::created_by_proxy;
  EXPECT_GE(reads_of(proxy, 10), 10U);
}

}  // namespace
}  // namespace mesh::testing
