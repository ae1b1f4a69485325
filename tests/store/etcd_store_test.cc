// The etcd store against a real etcd: what the contract of all stores does not say. Each error is
// one line with the remedy, and ends when its cause does.
#include "meshd/store/etcd/etcd_store.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "meshd/store/etcd/etcd_admin.h"
#include "meshd/store/etcd/etcd_keys.h"
#include "meshd/store/record_codec.h"
#include "store/etcd_server.h"
#include "store/observer.h"
#include "store/tcp_relay.h"

namespace mesh::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

using Steady = std::chrono::steady_clock;

class EtcdStoreTest : public ::testing::Test {
 protected:
  static std::unique_ptr<NodeStore> store(EtcdOptions options) {
    return std::make_unique<EtcdStore>(std::move(options));
  }
  void put(const NodeRecord& record) {
    server_.hands().put(keys_.node(record.name), format_record_json(record));
  }
  static bool wait_error(ObservedStore& client, const std::string& text) {
    return client.seen().wait("error with " + text, [&](const Observed& seen) {
      return seen.error.find(text) != std::string::npos;
    });
  }

  EtcdServer server_;
  EtcdKeys keys_{"/meshd"};
};

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
  server_.ctl(fmt::format("compact {}", server_.hands().revision()));
  first.cut();
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

// The proxy itself goes on answering: it is the watch that says that etcd is not there.
TEST_F(EtcdStoreTest, AServerThatIsKilledBehindItsProxyIsOutToo) {
  put(example_record("node-b"));
  EtcdProxy proxy(server_);
  ObservedStore client(store(quick_options(proxy.port())));
  client->publish(example_record("node-a"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-a")));
  server_.kill();
  ASSERT_TRUE(client.seen().wait_out());  // when the proxy has noticed: 12 s, measured
  server_.start();
  put(example_record("node-b", "after"));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-b", "after")));
  EXPECT_TRUE(client.seen().now().ever_gone.empty());
}

// ---- who refuses, and why ----

TEST_F(EtcdStoreTest, AUserWithAWrongPasswordIsRefusedUntilTheFileIsRight) {
  const std::string password = (server_.directory() / "password").string();
  std::ofstream(password) << "wrong\n";
  server_.ctl("user add root:secret");
  server_.ctl("user grant-role root root");
  server_.ctl("user add mesh:right");
  server_.ctl("role add mesh");
  server_.ctl("role grant-permission mesh readwrite --prefix=true /meshd/");
  server_.ctl("user grant-role mesh mesh");
  server_.ctl("auth enable");

  ObservedStore nobody(store(server_.options()));
  EXPECT_TRUE(wait_error(nobody, "set store.etcd.username and passwordFile"));
  EtcdOptions options = server_.options();
  options.username = "mesh";
  options.password_file = password;
  ObservedStore client(store(options));
  ASSERT_TRUE(wait_error(client, "refuses user mesh or its password"));
  EXPECT_THAT(client.seen().now().error, ::testing::Not(HasSubstr("wrong")));
  std::ofstream(password) << "right\n";
  ASSERT_TRUE(client.seen().wait_in_sync());
  client->publish(example_record("node-a"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-a")));
  // A token that the server has forgotten is renewed: etcd keeps them in memory.
  server_.process().kill();
  ASSERT_TRUE(client.seen().wait_out());
  client->publish(example_record("node-a", "after"));
  EtcdServer& server = server_;
  server.start();
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a", "after")));
}

TEST_F(EtcdStoreTest, AUserWithoutPermissionIsToldWhichItNeeds) {
  const std::string password = (server_.directory() / "password").string();
  std::ofstream(password) << "right\n";
  server_.ctl("user add root:secret");
  server_.ctl("user grant-role root root");
  server_.ctl("user add mesh:right");
  server_.ctl("role add reader");
  server_.ctl("role grant-permission reader read --prefix=true /meshd/");
  server_.ctl("auth enable");
  EtcdOptions options = server_.options();
  options.username = "mesh";
  options.password_file = password;
  ObservedStore client(store(options));
  ASSERT_TRUE(wait_error(client, "permission denied (user: mesh)"));
  EXPECT_THAT(client.seen().now().error, HasSubstr("/meshd/"));
  server_.ctl("--user root:secret user grant-role mesh reader");
  ASSERT_TRUE(client.seen().wait_in_sync());
  client->publish(example_record("node-a"));
  EXPECT_TRUE(wait_error(client, "the own record is not published")) << "reads, and may not write";
  EXPECT_TRUE(client.seen().now().in_sync);
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
    for (int i = 0; i < 6000 && !server_.hands().get(key); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return server_.hands().get(key).has_value();
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

// ---- odd servers and odd keys ----

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

// A server that speaks something else, as the first bytes of each connection.
class Impostor {
 public:
  explicit Impostor(std::string says) : says_(std::move(says)), port_(free_port()) {
    const int yes = 1;
    listener_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    (void)::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_.get(),
                     reinterpret_cast<const sockaddr*>(&address),  // NOLINT(*-reinterpret-cast)
                     sizeof address),
              0);
    EXPECT_EQ(::listen(listener_.get(), 16), 0);
    thread_ = std::thread([this] { run(); });
  }
  ~Impostor() {
    stopping_ = true;
    (void)::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  std::uint16_t port() const { return port_; }

 private:
  void run() {
    std::vector<UniqueFd> held;
    while (!stopping_) {
      UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) continue;
      (void)::send(client.get(), says_.data(), says_.size(), MSG_NOSIGNAL);
      if (says_.empty()) held.push_back(std::move(client));  // silent, and open
    }
  }
  std::string says_;
  std::uint16_t port_;
  std::atomic<bool> stopping_ = false;
  UniqueFd listener_;
  std::thread thread_;
};

TEST_F(EtcdStoreTest, AServerThatIsNoEtcdIsOneClearErrorAndTheStoreGoesOnTrying) {
  using std::string_literals::operator""s;
  const std::string garbage = "\x00\x01\x02\xff garbage \n more\r\n"s;
  for (const std::string& says :
       {std::string("HTTP/1.1 302 Found\r\nLocation: https://example.com/\r\n\r\n"), garbage,
        std::string(100'000, 'z'), std::string()}) {
    Impostor impostor(says);
    ObservedStore client(store(quick_options(impostor.port())));
    ASSERT_TRUE(client.seen().wait_out());
    EXPECT_THAT(client.seen().now().error, HasSubstr(fmt::format(":{}", impostor.port())));
    const auto stopping = Steady::now();
    client->stop();
    EXPECT_LT(Steady::now() - stopping, std::chrono::seconds(1));
  }
}

// ---- TLS ----

class EtcdTlsTest : public ::testing::Test {
 protected:
  EtcdTlsTest() {
    make_authority("ca");
    make_authority("other-ca");
    make_certificate("server", "ca");
    make_certificate("client", "ca");
    server_.emplace(EtcdServer::Tls{file("ca.crt"), file("server.crt"), file("server.key")});
  }
  std::string file(const std::string& name) const { return (directory_ / name).string(); }
  static void run(const std::string& command) {
    ASSERT_EQ(std::system((command + " >/dev/null 2>&1").c_str()), 0) << command;  // NOLINT
  }
  void make_authority(const std::string& name) const {
    run(
        fmt::format("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
                    "-subj /CN={1} -keyout {0}.key -out {0}.crt",
                    file(name), name));
  }
  void make_certificate(const std::string& name, const std::string& authority) const {
    const std::string extensions = file(name + ".ext");
    std::ofstream(extensions) << "subjectAltName=IP:127.0.0.1\n"
                                 "extendedKeyUsage=serverAuth,clientAuth\n";
    run(
        fmt::format("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={1} "
                    "-keyout {0}.key -out {0}.csr",
                    file(name), name));
    run(
        fmt::format("openssl x509 -req -in {0}.csr -CA {1}.crt -CAkey {1}.key -CAcreateserial "
                    "-days 2 -extfile {2} -out {0}.crt",
                    file(name), file(authority), extensions));
  }
  EtcdOptions options() const {
    EtcdOptions options = server_->options();
    options.cert_file = file("client.crt");
    options.key_file = file("client.key");
    return options;
  }

  TemporaryDirectory directory_;
  std::optional<EtcdServer> server_;
};

TEST_F(EtcdTlsTest, ACertificateOpensItAndAWrongOneIsSaid) {
  ObservedStore client(std::make_unique<EtcdStore>(options()));
  client->publish(example_record("node-a"));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a")));

  EtcdOptions wrong = options();
  wrong.ca_file = file("other-ca.crt");
  ObservedStore distrustful(std::make_unique<EtcdStore>(wrong));
  ASSERT_TRUE(distrustful.seen().wait_out());
  EXPECT_THAT(distrustful.seen().now().error, HasSubstr("store.etcd.caFile"));

  EtcdOptions without = options();
  without.cert_file = without.key_file = "";
  ObservedStore nameless(std::make_unique<EtcdStore>(without));
  ASSERT_TRUE(nameless.seen().wait_out());
  EXPECT_THAT(nameless.seen().now().error, HasSubstr("store.etcd.certFile"));

  EtcdOptions plain = options();
  plain.endpoints = {fmt::format("http://127.0.0.1:{}", server_->port())};
  ObservedStore unencrypted(std::make_unique<EtcdStore>(plain));
  ASSERT_TRUE(unencrypted.seen().wait_out());
  EXPECT_THAT(unencrypted.seen().now().error, HasSubstr("https://"));
}

TEST_F(EtcdTlsTest, FilesThatCannotBeUsedAreNamedBeforeAnythingIsConnected) {
  EtcdOptions missing = options();
  missing.ca_file = file("none.crt");
  EXPECT_THAT(check_etcd_files(missing).error().message,
              AllOf(HasSubstr("store.etcd.caFile"), HasSubstr("none.crt")));
  EtcdOptions other = options();
  other.cert_file = file("server.ext");
  EXPECT_THAT(check_etcd_files(other).error().message, HasSubstr("no PEM file"));
  EtcdOptions password = options();
  password.username = "mesh";
  password.password_file = file("none");
  EXPECT_THAT(check_etcd_files(password).error().message, HasSubstr("store.etcd.passwordFile"));
  EXPECT_TRUE(check_etcd_files(options()).has_value());
}

}  // namespace
}  // namespace mesh::testing
