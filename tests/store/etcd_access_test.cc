// Who may: users, tokens and certificates of a real etcd. A refusal is one line with the remedy,
// and ends when its cause does.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "etcd.grpc.pb.h"
#include "store/etcd_fixture.h"

namespace mesh::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// ---- users ----

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

void run(const std::string& command) {
  ASSERT_EQ(std::system((command + " >/dev/null 2>&1").c_str()), 0) << command;
}

// ---- tokens that expire ----

// A token of the server's, as the store gets its own.
class Token {
 public:
  Token(const EtcdServer& server, const std::string& user, const std::string& password)
      : channel_(grpc::CreateChannel(fmt::format("ipv4:127.0.0.1:{}", server.port()),
                                     grpc::InsecureChannelCredentials())) {
    etcdserverpb::AuthenticateRequest request;
    request.set_name(user);
    request.set_password(password);
    etcdserverpb::AuthenticateResponse response;
    grpc::ClientContext context;
    const grpc::Status status =
        etcdserverpb::Auth::NewStub(channel_)->Authenticate(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    text_ = response.token();
  }
  // What the server says when it is used: "" when it is taken. Using it may make it last longer.
  std::string use() {
    etcdserverpb::RangeRequest request;
    request.set_key("/meshd/");
    etcdserverpb::RangeResponse response;
    grpc::ClientContext context;
    context.AddMetadata("token", text_);
    return etcdserverpb::KV::NewStub(channel_)->Range(&context, request, &response).error_message();
  }

 private:
  std::shared_ptr<grpc::Channel> channel_;
  std::string text_;
};

// etcd's two kinds of tokens: one that it remembers, and one that says itself until when it is
// good.
class EtcdTokens : public ::testing::TestWithParam<std::string> {
 protected:
  static constexpr auto kLasts = std::chrono::seconds(2);

  EtcdTokens() {
    if (GetParam() == "jwt") {
      run(fmt::format("openssl genrsa -out {} 2048", file("key")));
      run(fmt::format("openssl rsa -in {} -pubout -out {}", file("key"), file("key.pub")));
      server_.emplace(std::nullopt,
                      std::vector<std::string>{fmt::format(
                          "--auth-token=jwt,pub-key={},priv-key={},sign-method=RS256,ttl={}s",
                          file("key.pub"), file("key"), kLasts.count())});
    } else {
      server_.emplace(std::nullopt,
                      std::vector<std::string>{"--auth-token=simple",
                                               fmt::format("--auth-token-ttl={}", kLasts.count())});
    }
    std::ofstream(file("password")) << "right\n";
    for (const char* command :
         {"user add root:secret", "user grant-role root root", "user add mesh:right",
          "role add mesh", "role grant-permission mesh readwrite --prefix=true /meshd/",
          "user grant-role mesh mesh", "auth enable"})
      server_->ctl(command);
  }
  std::string file(const std::string& name) const { return (directory_ / name).string(); }
  EtcdOptions options() const {
    EtcdOptions options = server_->options();
    options.username = "mesh";
    options.password_file = file("password");
    return options;
  }

  TemporaryDirectory directory_;
  std::optional<EtcdServer> server_;
};

TEST_P(EtcdTokens, AnExpiredTokenIsRenewedWithoutAnOutage) {
  ObservedStore client(std::make_unique<EtcdStore>(options()));
  client->publish(example_record("node-a", "0"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-a", "0")));
  for (const char* key : {"1", "2"}) {
    EXPECT_EQ(Token(*server_, "mesh", "right").use(), "");
    // Younger than the store's: when one of them has expired, the store's has. Each is asked once,
    // for that may make it last longer.
    std::vector<Token> tokens;
    for (int i = 0; i < 8; ++i) tokens.emplace_back(*server_, "mesh", "right");
    const auto one_expired = [&] {
      if (tokens.empty()) return false;
      const std::string answer = tokens.back().use();
      tokens.pop_back();
      return answer.find("invalid auth token") != std::string::npos;
    };
    ASSERT_TRUE(test::eventually(one_expired, Observer::kPatience, kLasts / 2));
    client->publish(example_record("node-a", key));
    EXPECT_TRUE(client.seen().wait_record(example_record("node-a", key)));
  }
  EXPECT_EQ(client.seen().now().errors, "");
  EXPECT_EQ(client.seen().now().completes, 1);
}

// Changed with the password's file, so that the next token needs it.
TEST_P(EtcdTokens, APasswordThatWasChangedMeanwhileIsReadAgainForTheNextToken) {
  ObservedStore client(std::make_unique<EtcdStore>(options()));
  client->publish(example_record("node-a", "0"));
  ASSERT_TRUE(client.seen().wait_record(example_record("node-a", "0")));
  std::ofstream(file("password")) << "another\n";
  server_->ctl("--user root:secret user delete mesh");
  server_->ctl("--user root:secret user add mesh:another");
  server_->ctl("--user root:secret user grant-role mesh mesh");
  client->publish(example_record("node-a", "1"));
  EXPECT_TRUE(client.seen().wait_record(example_record("node-a", "1")));
}

INSTANTIATE_TEST_SUITE_P(Kinds, EtcdTokens, ::testing::Values("simple", "jwt"),
                         [](const auto& kind) { return kind.param; });

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
