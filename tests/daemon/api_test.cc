#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "daemon/fake_api_backend.h"
#include "daemon/raw_http.h"
#include "fakes/fake_store_admin.h"
#include "meshd/daemon/api_server.h"
#include "meshd/store/policy_codec.h"
#include "temporary_directory.h"

namespace mesh {
namespace {

using test::exchange;
using test::HttpAnswer;
using test::request_text;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

class Api : public ::testing::Test {
 protected:
  ApiOptions options() {
    ApiOptions options;
    options.socket = (directory_ / "run" / "meshd.sock").string();
    options.listen = Endpoint{IpAddress::v4(INADDR_LOOPBACK), 0};
    options.version = "1.2.3";
    options.metrics = [] { return std::string("meshd_store_in_sync 1\n"); };
    return options;
  }

  void start(const ApiOptions& options) {
    auto started = ApiServer::start(options, backend_);
    ASSERT_TRUE(started) << started.error().message;
    server_ = *std::move(started);
  }
  void start() { start(options()); }

  std::string socket() { return options().socket; }
  HttpAnswer local(std::string_view method, std::string_view path, std::string_view body = "") {
    return exchange(test::connect_unix(socket()), request_text(method, path, body));
  }
  HttpAnswer remote(std::string_view method, std::string_view path, std::string_view body = "") {
    return exchange(test::connect_tcp(server_->tcp_port()), request_text(method, path, body));
  }
  static std::string error_of(const HttpAnswer& answer) {
    const Json json = Json::parse(answer.body, nullptr, false);
    return json.is_object() && json.contains("error") ? json["error"].get<std::string>()
                                                      : "not an error: " + answer.body;
  }

  testing::TemporaryDirectory directory_;
  test::FakeApiBackend backend_;
  std::unique_ptr<ApiServer> server_;
};

TEST_F(Api, ServesTheStatusOnBothListeners) {
  start();
  for (const HttpAnswer& answer : {local("GET", "/v1/status"), remote("GET", "/v1/status")}) {
    EXPECT_EQ(answer.status, 200);
    EXPECT_THAT(answer.head, HasSubstr("Content-Type: application/json"));
    const auto status = status_from_json(answer.body);
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_EQ(*status, test::sample_status());
  }
}

TEST_F(Api, ServesTenThousandPeers) {
  Status status = test::sample_status();
  while (status.peers.size() < 10'000)
    status.peers.push_back(test::encrypted_peer(fmt::format("node-{:05}", status.peers.size()), 9));
  backend_.set_status(status);
  start();
  const auto read = status_from_json(remote("GET", "/v1/status").body);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->peers.size(), 10'000U);
  const HttpAnswer page = remote("GET", "/");
  EXPECT_THAT(page.body, HasSubstr("and 9000 more"));
}

TEST_F(Api, SaysThatItIsStartingBeforeTheFirstStatus) {
  backend_.set_status(std::nullopt);
  start();
  for (const char* path : {"/v1/status", "/v1/peers/node-b", "/"}) {
    const HttpAnswer answer = local("GET", path);
    EXPECT_EQ(answer.status, 503) << path;
    EXPECT_THAT(error_of(answer), HasSubstr("starting")) << path;
  }
  EXPECT_EQ(local("GET", "/v1/version").status, 200);
  EXPECT_EQ(local("GET", "/metrics").status, 200);
}

TEST_F(Api, HealthIsLiveAndReadyApart) {
  start();
  EXPECT_EQ(remote("GET", "/healthz").status, 200);
  EXPECT_EQ(remote("GET", "/readyz").status, 200);
  backend_.set_health({true, false, "no WireGuard device yet"});
  EXPECT_EQ(remote("GET", "/healthz").status, 200);
  EXPECT_EQ(remote("GET", "/readyz").status, 503);
  EXPECT_EQ(error_of(remote("GET", "/readyz")), "no WireGuard device yet");
  backend_.set_health({false, true, "the loop stands still"});
  EXPECT_EQ(remote("GET", "/healthz").status, 503);
  EXPECT_EQ(remote("GET", "/readyz").status, 503);
}

TEST_F(Api, ServesMetricsAsPrometheusReadsThem) {
  start();
  const HttpAnswer answer = remote("GET", "/metrics");
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.head, HasSubstr("text/plain; version=0.0.4"));
  EXPECT_EQ(answer.body, "meshd_store_in_sync 1\n");
}

TEST_F(Api, ThePageEscapesWhatOthersWrote) {
  Status status = test::sample_status();
  status.peers[1].detail = "<script>alert('x')</script>";
  status.error = "a \"quoted\" & <b>bold</b> error";
  backend_.set_status(status);
  start();
  const HttpAnswer page = remote("GET", "/");
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(page.head, HasSubstr("text/html"));
  EXPECT_THAT(page.body, Not(HasSubstr("<script>")));
  EXPECT_THAT(page.body, HasSubstr("&lt;script&gt;alert(&#39;x&#39;)"));
  EXPECT_THAT(page.body, HasSubstr("a &quot;quoted&quot; &amp; &lt;b&gt;"));
  EXPECT_LT(page.body.find("<td>node-c"), page.body.find("<td>node-b"));  // problems first
}

TEST_F(Api, HeadHasNoBody) {
  start();
  const HttpAnswer answer = remote("HEAD", "/v1/status");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "");
}

TEST_F(Api, TellsOnePeerOnTheUnixSocket) {
  start();
  const auto peer = peer_from_json(local("GET", "/v1/peers/node-b").body);
  ASSERT_TRUE(peer) << peer.error().message;
  EXPECT_EQ(*peer, test::sample_status().peers[0]);
  EXPECT_EQ(local("GET", "/v1/peers/node%2Dc").status, 200);
}

TEST_F(Api, WritesPoliciesToTheStoreOnTheUnixSocketOnly) {
  test::FakeStoreAdmin store;
  ApiOptions with_store = options();
  with_store.store = &store;
  start(with_store);
  const EncryptionPolicy policy{"databases", 1, "role == 'db'", "all()", PolicyAction::kRequire};
  const std::string body = format_policy_json(policy);
  EXPECT_EQ(remote("PUT", "/v1/policies/databases", body).status, 404);
  EXPECT_EQ(remote("DELETE", "/v1/policies/databases").status, 404);
  EXPECT_EQ(remote("GET", "/v1/policies").status, 404);
  EXPECT_TRUE(store.policies().empty());

  const HttpAnswer put = local("PUT", "/v1/policies/databases", body);
  EXPECT_EQ(put.status, 200) << put.body;
  EXPECT_EQ(store.policies().at("databases"), policy);
  const Json listed = Json::parse(local("GET", "/v1/policies").body);
  ASSERT_EQ(listed["policies"].size(), 1U);
  EXPECT_EQ(listed["policies"][0], Json::parse(body));
  EXPECT_EQ(local("DELETE", "/v1/policies/databases").status, 200);
  EXPECT_TRUE(store.policies().empty());
  EXPECT_EQ(local("DELETE", "/v1/policies/databases").status, 404);
}

TEST_F(Api, DeletesANodeOnlyOnTheUnixSocketAndOnlyIfItDoesNotLive) {
  test::FakeStoreAdmin store;
  for (const char* name : {"node-b", "node-c"}) {
    NodeRecord record;
    record.name = name;
    ASSERT_TRUE(store.put_node(record));
  }
  ApiOptions with_store = options();
  with_store.store = &store;
  start(with_store);
  EXPECT_EQ(remote("DELETE", "/v1/nodes/node-b").status, 404);
  EXPECT_EQ(remote("DELETE", "/v1/nodes/node-b/force").status, 404);
  backend_.set_answer(make_error(ErrorCode::kBusy, "node-b lives"));
  EXPECT_THAT(error_of(local("DELETE", "/v1/nodes/node-b")), HasSubstr("node-b lives"));
  EXPECT_EQ(store.nodes().size(), 2U);
  EXPECT_EQ(local("DELETE", "/v1/nodes/node-b/force").status, 200);
  EXPECT_FALSE(store.nodes().contains("node-b"));
  backend_.set_answer(std::string());
  EXPECT_EQ(local("DELETE", "/v1/nodes/node-c").status, 200);
  EXPECT_EQ(local("DELETE", "/v1/nodes/node-c").status, 404);
}

TEST_F(Api, RefusesAPolicyThatIsNoneBeforeTheStoreIsAsked) {
  test::FakeStoreAdmin store;
  ApiOptions with_store = options();
  with_store.store = &store;
  start(with_store);
  const EncryptionPolicy policy{"databases", 1, "role == 'db'", "all()", PolicyAction::kRequire};
  const HttpAnswer other = local("PUT", "/v1/policies/web", format_policy_json(policy));
  EXPECT_EQ(other.status, 400);
  EXPECT_THAT(error_of(other), HasSubstr("'databases'"));
  EXPECT_EQ(local("PUT", "/v1/policies/databases", "{").status, 400);
  EXPECT_EQ(local("PUT", "/v1/policies/databases").status, 400);
  const HttpAnswer post = local("POST", "/v1/policies/databases");
  EXPECT_EQ(post.status, 405);
  EXPECT_THAT(post.head, HasSubstr("Allow: PUT, DELETE"));
  EXPECT_TRUE(store.policies().empty());
}

TEST_F(Api, PassesOnWhatTheStoreSays) {
  start();
  EXPECT_EQ(local("GET", "/v1/policies").status, 501) << "without a store";
  server_.reset();
  test::FakeStoreAdmin store;
  store.fail(make_error(ErrorCode::kUnavailable, "the store is out"));
  ApiOptions with_store = options();
  with_store.store = &store;
  start(with_store);
  const HttpAnswer answer = local("GET", "/v1/policies");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(error_of(answer), "the store is out");
}

TEST_F(Api, SaysWhyANodeIsNoPeer) {
  Status status = test::sample_status();
  status.refused_records = {{"node-x", "line 3: not a mapping"}};
  backend_.set_status(status);
  start();
  EXPECT_EQ(local("GET", "/v1/peers/node-z").status, 404);
  EXPECT_EQ(error_of(local("GET", "/v1/peers/node-z")), "node-a has no peer 'node-z'");
  EXPECT_EQ(error_of(local("GET", "/v1/peers/node-x")),
            "node-x is no peer: its record is refused: line 3: not a mapping");
  EXPECT_EQ(local("GET", "/v1/peers/").status, 404);
}

TEST_F(Api, RunsCommandsOnTheUnixSocket) {
  start();
  backend_.set_answer(std::string("1 operation"));
  EXPECT_EQ(local("GET", "/v1/plan").body, "{\"result\":\"1 operation\"}\n");
  EXPECT_EQ(local("POST", "/v1/reload").status, 200);
  EXPECT_EQ(local("POST", "/v1/drain", "{\"wait\": 5}").status, 200);
  EXPECT_EQ(local("POST", "/v1/resume").status, 200);
  const auto commands = backend_.commands();
  ASSERT_EQ(commands.size(), 4U);
  EXPECT_EQ(commands[0].first, "plan");
  EXPECT_EQ(commands[1].first, "reload");
  EXPECT_EQ(commands[1].second, Json::object());
  EXPECT_EQ(commands[2].first, "drain");
  EXPECT_EQ(commands[2].second, Json({{"wait", 5}}));
  EXPECT_EQ(commands[3].first, "resume");
}

TEST_F(Api, GivesACommandsErrorInItsOwnWords) {
  start();
  const std::vector<std::pair<ErrorCode, int>> cases{
      {ErrorCode::kInvalid, 400}, {ErrorCode::kPermission, 403},  {ErrorCode::kNotFound, 404},
      {ErrorCode::kBusy, 409},    {ErrorCode::kExists, 409},      {ErrorCode::kInternal, 500},
      {ErrorCode::kIo, 500},      {ErrorCode::kUnsupported, 501}, {ErrorCode::kUnavailable, 503},
      {ErrorCode::kTimeout, 504}};
  for (const auto& [code, status] : cases) {
    backend_.set_answer(Error{code, "meshd.yaml:3:5: unknown key 'nod'", 0});
    const HttpAnswer answer = local("POST", "/v1/reload");
    EXPECT_EQ(answer.status, status);
    EXPECT_EQ(error_of(answer), "meshd.yaml:3:5: unknown key 'nod'");
  }
}

TEST_F(Api, RefusesArgumentsThatAreNoObject) {
  start();
  for (const char* body : {"[]", "{", "nonsense", "\xff"})
    EXPECT_EQ(local("POST", "/v1/drain", body).status, 400) << body;
  EXPECT_TRUE(backend_.commands().empty());
}

TEST_F(Api, TcpServesNothingThatActsOrTellsMore) {
  start();
  for (const char* path : {"/v1/plan", "/v1/peers/node-b", "/v1/version"})
    EXPECT_EQ(remote("GET", path).status, 404) << path;
  for (const char* path :
       {"/v1/count", "/v1/reload", "/v1/drain", "/v1/resume", "/v1/allow-plaintext"})
    EXPECT_EQ(remote("POST", path).status, 404) << path;
  EXPECT_TRUE(backend_.commands().empty());
}

TEST_F(Api, UnknownPathsAndWrongMethodsAreToldApart) {
  start();
  EXPECT_EQ(remote("GET", "/nothing").status, 404);
  EXPECT_EQ(error_of(remote("GET", "/nothing")), "meshd has no /nothing here");
  EXPECT_EQ(remote("GET", "/v1/status/").status, 404);
  const HttpAnswer wrong = local("GET", "/v1/reload");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_THAT(wrong.head, HasSubstr("Allow: POST"));
  EXPECT_EQ(error_of(wrong), "/v1/reload answers POST only");
  for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
    EXPECT_EQ(remote(method, "/v1/status").status, 405) << method;
}

TEST_F(Api, RefusesWhatIsTooLargeOrIsNoHttp) {
  start();
  EXPECT_EQ(error_of(remote("GET", "/" + std::string(2000, 'a'))), "the path is too long");
  EXPECT_EQ(remote("GET", "/" + std::string(10'000, 'a')).status, 414);
  EXPECT_EQ(local("POST", "/v1/reload", std::string(200'000, ' ')).status, 413);
  EXPECT_EQ(exchange(test::connect_tcp(server_->tcp_port()), "garbage\r\n\r\n").status, 400);
  EXPECT_EQ(exchange(test::connect_tcp(server_->tcp_port()),
                     "GET /v1/status HTTP/1.1\r\nContent-Encoding: gzip\r\n\r\n")
                .status,
            415);
  // Headers without end are cut off, whatever the answer.
  std::string endless = "GET /v1/status HTTP/1.1\r\n";
  while (endless.size() < 300'000) endless += "X-Filler: " + std::string(80, 'x') + "\r\n";
  EXPECT_NE(exchange(test::connect_tcp(server_->tcp_port()), endless).status, 200);
  // The library matches these by recursion: they must not reach the end of the stack.
  std::string ranges = "GET /v1/status HTTP/1.1\r\nRange: bytes=0-0";
  while (ranges.size() < 8000) ranges += ",0-0";
  (void)exchange(test::connect_tcp(server_->tcp_port()), ranges + "\r\n\r\n");
  EXPECT_EQ(remote("GET", "/healthz").status, 200);
  EXPECT_TRUE(backend_.commands().empty());
}

TEST_F(Api, SurvivesEveryBrokenRequest) {
  start();
  const std::string whole = request_text("POST", "/v1/reload", "{\"a\": 1}");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const UniqueFd fd = test::connect_unix(socket());
    (void)test::send_all(fd, std::string_view(whole).substr(0, size));
    ::shutdown(fd.get(), SHUT_WR);
    (void)test::read_all(fd);
  }
  EXPECT_TRUE(backend_.commands().empty());
  EXPECT_EQ(local("GET", "/healthz").status, 200);
}

TEST_F(Api, SlowTcpClientsKeepNobodyFromTheUnixSocket) {
  start();
  std::vector<UniqueFd> slow;
  for (int i = 0; i < 40; ++i) {
    slow.push_back(test::connect_tcp(server_->tcp_port()));
    (void)test::send_all(slow.back(), "GET /v1/sta");
  }
  EXPECT_EQ(local("GET", "/v1/status").status, 200);
}

TEST_F(Api, AClientThatNeverFinishesIsLetGoAndTheNextIsServed) {
  ApiOptions impatient = options();
  impatient.limits.threads = 1;
  impatient.limits.read = std::chrono::milliseconds(50);
  start(impatient);
  const UniqueFd slow = test::connect_tcp(server_->tcp_port());
  (void)test::send_all(slow, "GET /v1/sta");
  EXPECT_EQ(remote("GET", "/healthz").status, 200);
  EXPECT_NE(exchange(slow, "").status, 200);
}

TEST_F(Api, AClientThatNeverReadsIsLetGoAndTheNextIsServed) {
  Status status = test::sample_status();
  while (status.peers.size() < 10'000) status.peers.push_back(test::plaintext_peer("node-x"));
  backend_.set_status(status);
  ApiOptions impatient = options();
  impatient.limits.threads = 1;
  impatient.limits.write = std::chrono::milliseconds(50);
  start(impatient);
  const UniqueFd deaf = test::connect_unix(socket());
  (void)test::send_all(deaf, request_text("GET", "/v1/status"));
  EXPECT_EQ(local("GET", "/healthz").status, 200);
}

TEST_F(Api, StopCutsIdleClientsAndFreesBothNames) {
  ApiOptions patient = options();
  patient.limits.read = std::chrono::hours(1);
  start(patient);
  const UniqueFd idle = test::connect_unix(socket());
  (void)test::send_all(idle, "GET ");
  server_->stop();
  server_->stop();
  EXPECT_EQ(test::read_all(idle), "");
  EXPECT_FALSE(std::filesystem::exists(socket()));
  EXPECT_FALSE(test::connect_unix(socket()));
}

TEST_F(Api, StopWaitsForACommandThatRuns) {
  start();
  backend_.hold(true);
  auto answer = std::async(std::launch::async, [this] { return local("POST", "/v1/reload"); });
  backend_.wait_for_commands(1);
  auto stopped = std::async(std::launch::async, [this] { server_->stop(); });
  backend_.hold(false);
  stopped.get();
  EXPECT_THAT(answer.get().status, ::testing::AnyOf(0, 200));  // 0: cut while it was written
}

TEST_F(Api, TheSocketIsItsOwnersOnly) {
  start();
  struct stat found {};
  ASSERT_EQ(::stat(socket().c_str(), &found), 0);
  EXPECT_TRUE(S_ISSOCK(found.st_mode));
  EXPECT_EQ(found.st_mode & 0777U, 0600U);
}

TEST_F(Api, ReplacesTheSocketOfADeadProcess) {
  start();
  std::filesystem::create_directories(directory_ / "dead");
  ApiOptions dead = options();
  dead.socket = (directory_ / "dead" / "meshd.sock").string();
  {
    const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    dead.socket.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  ASSERT_TRUE(std::filesystem::exists(dead.socket));
  start(dead);
  EXPECT_EQ(exchange(test::connect_unix(dead.socket), request_text("GET", "/healthz")).status, 200);
}

TEST_F(Api, RefusesTheSocketOfALiveProcessAndLeavesItAlone) {
  start();
  const auto second = ApiServer::start(options(), backend_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_THAT(second.error().message, HasSubstr("another meshd answers there"));
  EXPECT_EQ(local("GET", "/healthz").status, 200);
}

TEST_F(Api, NeverTouchesAFileThatIsNoSocket) {
  ApiOptions mistaken = options();
  mistaken.socket = (directory_ / "precious").string();
  std::ofstream(mistaken.socket) << "data";
  const auto server = ApiServer::start(mistaken, backend_);
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().code, ErrorCode::kExists);
  EXPECT_EQ(std::filesystem::file_size(mistaken.socket), 4U);
}

TEST_F(Api, LeavesASocketThatSomebodyElsePutInItsPlace) {
  start();
  ASSERT_TRUE(std::filesystem::remove(socket()));
  test::FakeApiBackend other;
  ApiOptions other_options = options();
  other_options.listen.reset();
  const auto second = ApiServer::start(other_options, other);
  ASSERT_TRUE(second) << second.error().message;
  server_->stop();
  EXPECT_EQ(local("GET", "/healthz").status, 200);
}

TEST_F(Api, APortInUseIsOneErrorThatSaysWhatToDo) {
  start();
  ApiOptions second = options();
  second.socket = (directory_ / "second.sock").string();
  second.listen->port = server_->tcp_port();
  const auto server = ApiServer::start(second, backend_);
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().code, ErrorCode::kBusy);
  EXPECT_THAT(server.error().message, HasSubstr("change api.listen"));
  EXPECT_FALSE(std::filesystem::exists(second.socket));  // nothing is left of a failed start
}

TEST_F(Api, AnAddressOfAnotherHostIsOneErrorThatSaysWhatToDo) {
  ApiOptions elsewhere = options();
  elsewhere.listen = Endpoint{IpAddress::parse("192.0.2.77").value(), 9586};
  const auto server = ApiServer::start(elsewhere, backend_);
  ASSERT_FALSE(server);
  EXPECT_THAT(server.error().message, HasSubstr("api.listen must be an address of this host"));
}

TEST_F(Api, APathTooLongForASocketIsAnError) {
  ApiOptions far = options();
  far.socket = "/" + std::string(200, 'x');
  const auto server = ApiServer::start(far, backend_);
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().code, ErrorCode::kInvalid);
}

TEST_F(Api, WorksWithoutTcp) {
  ApiOptions quiet = options();
  quiet.listen.reset();
  start(quiet);
  EXPECT_EQ(server_->tcp_port(), 0);
  EXPECT_EQ(local("GET", "/v1/status").status, 200);
}

TEST_F(Api, ServesManyAtOnce) {
  start();
  std::vector<std::future<int>> answers;
  for (int i = 0; i < 32; ++i)
    answers.push_back(std::async(std::launch::async, [this, i] {
      return i % 2 == 0 ? local("GET", "/v1/status").status : remote("GET", "/v1/status").status;
    }));
  for (auto& answer : answers) EXPECT_EQ(answer.get(), 200);
}

}  // namespace
}  // namespace mesh
