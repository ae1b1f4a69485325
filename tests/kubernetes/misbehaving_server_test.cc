// What an API server should not do, or does seldom: each is one clear error, or none.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "eventually.h"
#include "kubernetes/fake_api.h"
#include "meshd/store/kubernetes/kubernetes_store.h"
#include "store/observer.h"
#include "temporary_directory.h"

namespace mesh::testing {
namespace {

using ::testing::HasSubstr;

bool is_watch(const std::string& target) { return target.find("watch=1") != std::string::npos; }
bool is_nodes(const std::string& target) { return target.starts_with("/api/v1/nodes"); }

std::string node(const std::string& name, int version, const std::string& key = "key") {
  return fmt::format(
      R"({{"metadata":{{"name":"{}","resourceVersion":"{}","annotations":{{"meshd.io/wireguard-public-key":"{}"}}}}}})",
      name, version, key);
}
std::string list_of(const std::string& items, int version, const std::string& more = "") {
  return fmt::format(R"({{"metadata":{{"resourceVersion":"{}","continue":"{}"}},"items":[{}]}})",
                     version, more, items);
}
std::string event(const std::string& type, const std::string& object) {
  return fmt::format("{{\"type\":\"{}\",\"object\":{}}}\n", type, object);
}

// As a server that is well answers, but for what `odd` has its own answer to.
FakeApi::Script otherwise_well(std::function<std::optional<FakeReply>(const std::string&)> odd) {
  return [odd = std::move(odd)](const std::string& target) {
    if (auto reply = odd(target)) return *reply;
    if (is_watch(target)) return stream("", true);
    if (is_nodes(target)) return answer(list_of(node("node-b", 5), 7));
    if (target.starts_with("/apis/meshd.io/")) return answer(list_of("", 7));
    return answer("ok");
  };
}

class MisbehavingServer : public ::testing::Test {
 protected:
  std::unique_ptr<NodeStore> client(const FakeApi& api, KubernetesStoreOptions options = {}) {
    const auto path = directory_ / "kubeconfig";
    std::ofstream(path) << fmt::format(
        "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: c}}}}]\n"
        "clusters: [{{name: c, cluster: {{server: \"{}\"}}}}]\nusers: [{{name: c, user: {{}}}}]\n",
        api.url());
    options.kubeconfig = path;
    return std::make_unique<KubernetesStore>(options);
  }

  // Lists of Nodes, and then those of policies, are answered with `reply` until the error is said;
  // then all is well. Meanwhile nobody who publishes is held up.
  void expect_error(const FakeReply& reply, const std::string& error) {
    for (const std::string path : {"/api/v1/nodes", "/apis/meshd.io/"}) {
      std::atomic<bool> bad = true;
      FakeApi api(otherwise_well([&](const std::string& target) -> std::optional<FakeReply> {
        if (target.starts_with(path) && !is_watch(target) && bad) return reply;
        return std::nullopt;
      }));
      ObservedStore client(this->client(api));
      EXPECT_TRUE(client.seen().wait("'" + error + "' of " + path, [&](const Observed& seen) {
        return !seen.in_sync && seen.error.find(error) != std::string::npos;
      }));
      EXPECT_THAT(client.seen().now().error, HasSubstr(api.url()));
      const auto start = std::chrono::steady_clock::now();
      client->publish(example_record("node-b"));
      EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
      bad = false;
      EXPECT_TRUE(client.seen().wait_in_sync());
    }
  }

  TemporaryDirectory directory_;
};

TEST_F(MisbehavingServer, GarbageIsOneError) {
  expect_error(answer("<html>It works!</html>"), "not JSON");
}

TEST_F(MisbehavingServer, JsonOfSomebodyElseIsOneError) {
  expect_error(answer(R"({"status": "ok"})"), "no list of the Kubernetes API");
}

TEST_F(MisbehavingServer, HalfADocumentIsOneError) {
  const std::string whole = list_of(node("node-b", 5), 7);
  expect_error(answer(whole.substr(0, whole.size() / 2)), "half of a JSON document");
}

// The answer to what is asked before the own Node is patched, and to the patch.
TEST_F(MisbehavingServer, WhatItSaysOfTheOwnNodeIsAsDistrusted) {
  const std::vector<std::pair<FakeReply, std::string>> replies = {
      {answer("<html>It works!</html>"), "not JSON"},
      {answer(R"({"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"na)"),
       "half of a JSON"},
      {answer("[" + std::string(50'000'000, ' ') + "]"), "larger than"},
      {answer("", "302 Found\r\nLocation: https://login.example.com/"), "sends us elsewhere"},
      {{"", true}, "does not answer"}};
  for (const bool reads : {true, false}) {
    for (const auto& item : replies) {
      const FakeReply& reply = item.first;
      const std::string& error = item.second;
      if (!reads && (error == "not JSON" || error == "half of a JSON"))
        continue;  // nobody reads it
      std::atomic<bool> bad = true;
      FakeApi api(otherwise_well([&](const std::string& target) -> std::optional<FakeReply> {
        const bool is_patch = target.find("fieldManager") != std::string::npos;
        const bool is_read = target.find("fieldSelector") != std::string::npos;
        if (bad && (reads ? is_read : is_patch)) return reply;
        return std::nullopt;
      }));
      ObservedStore client(this->client(api));
      client->publish(example_record("node-b", "another"));
      EXPECT_TRUE(client.seen().wait("'" + error + "'", [&](const Observed& seen) {
        return seen.in_sync && seen.error.find(error) != std::string::npos;
      })) << (reads ? "read" : "patched");
      bad = false;
      EXPECT_TRUE(client.seen().wait(
          "no error", [](const Observed& seen) { return seen.in_sync && seen.error.empty(); }));
    }
  }
}

TEST_F(MisbehavingServer, AConnectionThatBreaksInTheMiddleIsOneError) {
  FakeReply reply = answer(list_of(node("node-b", 5), 7));
  reply.bytes.resize(reply.bytes.size() - 20);
  expect_error(reply, "bytes remaining to read");
}

TEST_F(MisbehavingServer, FiftyMegabytesAreNotRead) {
  expect_error(answer("[" + std::string(50'000'000, ' ') + "]"), "larger than");
}

TEST_F(MisbehavingServer, NestingWithoutEndIsOneError) {
  expect_error(answer(std::string(2'000'000, '[')), "nested more than");
}

TEST_F(MisbehavingServer, ARedirectIsNotFollowed) {
  expect_error(answer("", "302 Found\r\nLocation: https://login.example.com/"),
               "sends us elsewhere, to 'https://login.example.com/'");
}

TEST_F(MisbehavingServer, AServerThatAcceptsAndSaysNothingIsOut) {
  expect_error({"", true}, "does not answer");
}

TEST_F(MisbehavingServer, AServerErrorSaysWhatTheServerSaid) {
  expect_error(answer(R"({"kind":"Status","message":"etcdserver: no leader\nhelp","code":500})",
                      "500 Internal Server Error"),
               "etcdserver: no leader\\x0ahelp");
}

TEST_F(MisbehavingServer, AnOverloadedServerIsLeftAloneForAsLongAsItWants) {
  std::mutex mutex;
  std::vector<std::chrono::steady_clock::time_point> times;
  FakeApi api(otherwise_well([&](const std::string& target) -> std::optional<FakeReply> {
    if (!is_nodes(target) || is_watch(target)) return std::nullopt;
    const std::lock_guard lock(mutex);
    times.push_back(std::chrono::steady_clock::now());
    if (times.size() > 1) return std::nullopt;
    return answer("", "429 Too Many Requests\r\nRetry-After: 2");
  }));
  ObservedStore client(this->client(api));
  ASSERT_TRUE(client.seen().wait("overloaded", [](const Observed& seen) {
    return seen.error.find("overloaded") != std::string::npos;
  }));
  ASSERT_TRUE(client.seen().wait_in_sync());
  const std::lock_guard lock(mutex);
  ASSERT_EQ(times.size(), 2U);
  EXPECT_GE(times[1] - times[0], std::chrono::seconds(2));
}

TEST_F(MisbehavingServer, AListThatExpiresBetweenItsPagesIsBegunAgain) {
  std::atomic<int> lists = 0;
  FakeApi api(otherwise_well([&](const std::string& target) -> std::optional<FakeReply> {
    if (!is_nodes(target) || is_watch(target)) return std::nullopt;
    if (target.find("continue=a%2Fb") != std::string::npos) return answer("", "410 Gone");
    if (target.find("continue=c") != std::string::npos)
      return answer(list_of(node("node-c", 8), 9));
    return answer(list_of(node("node-b", 5), 7, lists++ == 0 ? "a/b" : "c"));
  }));
  ObservedStore client(this->client(api));
  ASSERT_TRUE(client.seen().wait_in_sync());
  EXPECT_EQ(client.seen().now().entries.size(), 2U);
  EXPECT_EQ(client.seen().now().updates, 1) << "and is no outage";
}

TEST_F(MisbehavingServer, AWatchGoesOnWhereABookmarkSaid) {
  std::atomic<int> watches = 0;
  FakeApi api(otherwise_well([&](const std::string& target) -> std::optional<FakeReply> {
    if (!is_nodes(target) || !is_watch(target)) return std::nullopt;
    if (watches++ > 0) return std::nullopt;
    return stream(event("BOOKMARK", R"({"metadata":{"resourceVersion":"50"}})"), false);
  }));
  ObservedStore client(this->client(api));
  ASSERT_TRUE(client.seen().wait_in_sync());
  const auto resumed = [&] {
    for (const std::string& target : api.targets())
      if (is_watch(target) && target.find("resourceVersion=50&") != std::string::npos) return true;
    return false;
  };
  for (int i = 0; i < 500 && !resumed(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(resumed());
  EXPECT_EQ(client.seen().now().updates, 1);
}

// Within the stream, as servers with a watch cache say it.
TEST_F(MisbehavingServer, AWatchThatIsToldThatItIsTooOldListsAgainWithoutAnOutage) {
  std::atomic<int> lists = 0;
  std::atomic<int> watches = 0;
  FakeApi api(otherwise_well([&](const std::string& target) -> std::optional<FakeReply> {
    if (!is_nodes(target)) return std::nullopt;
    if (!is_watch(target))
      return answer(lists++ == 0 ? list_of(node("node-b", 5) + "," + node("node-c", 6), 7)
                                 : list_of(node("node-b", 9, "another"), 10));
    if (watches++ > 0) return std::nullopt;
    return stream(
        event("ERROR", R"({"kind":"Status","code":410,"message":"too old resource version"})"),
        false);
  }));
  ObservedStore client(this->client(api));
  ASSERT_TRUE(client.seen().wait_gone("node-c"));
  ASSERT_TRUE(client.seen().wait("the other key", [](const Observed& seen) {
    const NodeRecord* record = seen.record("node-b");
    return record != nullptr &&
           record->annotations.at(std::string(kPublicKeyAnnotation)) == "another";
  }));
  EXPECT_TRUE(client.seen().now().in_sync);
}

// Its etcd was emptied, or restored from a backup.
TEST_F(MisbehavingServer, AStateThatIsEarlierThanWhatWasSeenIsTold) {
  for (const int version : {3, 60}) {
    std::atomic<int> lists = 0;
    std::atomic<int> watches = 0;
    FakeApi api(otherwise_well([&](const std::string& target) -> std::optional<FakeReply> {
      if (!is_nodes(target)) return std::nullopt;
      if (!is_watch(target))
        return answer(lists++ == 0 ? list_of(node("node-b", 5), 7)
                                   : list_of(node("node-c", 2), version));
      if (watches++ > 0) return std::nullopt;
      return stream(event("BOOKMARK", R"({"metadata":{"resourceVersion":"50"}})") +
                        event("ERROR", R"({"kind":"Status","code":410,"message":"too old"})"),
                    false);
    }));
    ObservedStore client(this->client(api));
    ASSERT_TRUE(
        client.seen().wait("node-c", [](const Observed& seen) { return seen.has("node-c"); }));
    const std::string told = client.seen().now().went_back;
    EXPECT_EQ(told.empty(), version == 60) << told;
    if (version == 3) {
      EXPECT_THAT(told, HasSubstr("Nodes of resourceVersion 3, and was at 50"));
    }
  }
}

TEST_F(MisbehavingServer, GarbageInAWatchIsOneError) {
  for (const std::string& garbage : {std::string("garbage\n"), event("GIBBERISH", "{}"),
                                     std::string("{\"type\":"), std::string(5'000'000, 'x')}) {
    std::atomic<bool> bad = true;
    FakeApi api(otherwise_well([&](const std::string& target) -> std::optional<FakeReply> {
      if (!is_nodes(target) || !is_watch(target) || !bad) return std::nullopt;
      return stream(event("MODIFIED", node("node-b", 8, "another")) + garbage, false);
    }));
    ObservedStore client(this->client(api));
    EXPECT_TRUE(client.seen().wait("an error", [&](const Observed& seen) {
      return !seen.in_sync &&
             seen.error.find("is this a Kubernetes API server?") != std::string::npos;
    })) << garbage.substr(0, 40);
    bad = false;
    EXPECT_TRUE(client.seen().wait_in_sync());
    EXPECT_TRUE(client.seen().now().ever_gone.empty());
  }
}

TEST_F(MisbehavingServer, StoppingWaitsForNoServer) {
  FakeApi api([](const std::string&) { return FakeReply{"", true}; });
  auto client = this->client(api);
  Observer observer;
  client->start(observer.sink());
  ASSERT_TRUE(test::eventually([&] { return !api.targets().empty(); }, Observer::kPatience));
  const auto start = std::chrono::steady_clock::now();
  client->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

}  // namespace
}  // namespace mesh::testing
