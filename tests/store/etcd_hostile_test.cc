// Servers that are no etcd, or none that one should believe: one clear error each, retried with
// pauses, and never a stall: whoever publishes is not held up, and stop() does not wait.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <atomic>
#include <thread>

#include "mesh/unique_fd.h"
#include "meshd/store/etcd/etcd_admin.h"
#include "meshd/store/etcd/etcd_reader.h"
#include "store/etcd_fixture.h"
#include "store/scripted_etcd.h"

#ifdef __SANITIZE_ADDRESS__
// What was freed is kept from use for a while, and would count as memory that is held.
extern "C" const char* __asan_default_options();   // NOLINT: the sanitizer's name for it
extern "C" const char* __asan_default_options() {  // NOLINT
  return "quarantine_size_mb=0:thread_local_quarantine_size_kb=0:max_redzone=16:"
         "allocator_release_to_os_interval_ms=0";
}
#endif

namespace mesh::testing {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kFiftyMegabytes = 50'000'000;

// Publishing and stopping take no time, whatever the server does.
void expect_no_stall(ObservedStore& client) {
  const auto start = Steady::now();
  client->publish(example_record("node-a"));
  client->stop();
  EXPECT_LT(Steady::now() - start, std::chrono::seconds(1));
}

void expect_error(const ScriptedEtcd::Script& script, const std::string& error) {
  ScriptedEtcd etcd(script);
  ObservedStore client(std::make_unique<EtcdStore>(quick_options(etcd.port())));
  ASSERT_TRUE(client.seen().wait("'" + error + "'", [&](const Observed& seen) {
    return !seen.in_sync && seen.error.find(error) != std::string::npos;
  }));
  EXPECT_THAT(client.seen().now().error, HasSubstr(fmt::format(":{}: ", etcd.port())));
  const std::size_t before = etcd.reads().size();
  EXPECT_TRUE(test::eventually([&] { return etcd.reads().size() > before; }, Observer::kPatience))
      << "and it goes on trying";
  const std::string errors = client.seen().now().errors;
  EXPECT_EQ(errors, client.seen().now().error + "\n");
  expect_no_stall(client);
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
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
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

TEST(HostileEtcd, AServerThatIsNoEtcdIsOneClearErrorAndTheStoreGoesOnTrying) {
  using std::string_literals::operator""s;
  const std::string garbage = "\x00\x01\x02\xff garbage \n more\r\n"s;
  for (const std::string& says :
       {std::string("HTTP/1.1 302 Found\r\nLocation: https://example.com/\r\n\r\n"), garbage,
        std::string(100'000, 'z'), std::string()}) {
    Impostor impostor(says);
    ObservedStore client(std::make_unique<EtcdStore>(quick_options(impostor.port())));
    ASSERT_TRUE(client.seen().wait_out());
    EXPECT_THAT(client.seen().now().error, HasSubstr(fmt::format(":{}", impostor.port())));
    const auto stopping = Steady::now();
    client->stop();
    EXPECT_LT(Steady::now() - stopping, std::chrono::seconds(1));
  }
}

// ---- an etcd in form ----

// The most that this process ever had in memory.
std::size_t peak_bytes() {
  rusage usage{};
  EXPECT_EQ(::getrusage(RUSAGE_SELF, &usage), 0);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

TEST(HostileEtcd, FiftyMegabytesAreOneErrorAndAreNotKept) {
  const TemporaryDirectory directory;
  const std::uint16_t port = free_port();
  ServerProcess server({HUGE_ETCD, fmt::format("{}", port), fmt::format("{}", kFiftyMegabytes)},
                       (directory / "log").string());
  // Until it listens, the error is another.
  const auto is_huge = [](const Observed& seen) {
    return seen.error.find("larger than the 16 MiB") != std::string::npos;
  };
  const std::size_t before = peak_bytes();
  // The quota, and what the connection before still holds when the next attempt begins.
  constexpr std::size_t kMost = 2 * kMaxEtcdBufferBytes;
  ObservedStore client(std::make_unique<EtcdStore>(quick_options(port)));
  ASSERT_TRUE(client.seen().wait("too large", is_huge));
  EXPECT_THAT(client.seen().now().error, HasSubstr("something below /meshd/ is far too large"));
  expect_no_stall(client);
  const auto read = EtcdAdmin(quick_options(port)).read();
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message, HasSubstr("larger than the 16 MiB"));
  EXPECT_LT(peak_bytes(), before + kMost);

  // That it would have been seen: somebody who takes it all has it all.
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  const auto stub = etcdserverpb::KV::NewStub(grpc::CreateCustomChannel(
      fmt::format("ipv4:127.0.0.1:{}", port), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  etcdserverpb::RangeResponse response;
  ASSERT_TRUE(stub->Range(&context, {}, &response).ok());
  EXPECT_GT(peak_bytes(), before + kMost);
}

TEST(HostileEtcd, FiftyMegabytesInAWatchAreReadAgainEverMoreSeldom) {
  ScriptedEtcd::Script script;
  script.watch = [](const etcdserverpb::WatchRequest& request) {
    auto responses = ScriptedEtcd::created(request);
    responses.push_back(responses.front());
    responses.back().set_created(false);
    responses.back().add_events()->mutable_kv()->set_value(std::string(kFiftyMegabytes, ' '));
    return responses;
  };
  ScriptedEtcd etcd(script);
  EtcdOptions options = quick_options(etcd.port());
  options.retry_cap = std::chrono::seconds(3);
  ObservedStore client(std::make_unique<EtcdStore>(options));
  ASSERT_TRUE(client.seen().wait("too large", [](const Observed& seen) {
    return seen.errors.find("larger than the 16 MiB") != std::string::npos;
  }));
  // 50 ms, doubled each time up to 3 s, less a random part.
  constexpr std::size_t kReads = 12;
  ASSERT_TRUE(test::eventually([&] { return etcd.reads().size() >= kReads; }, Observer::kPatience));
  const auto reads = etcd.reads();
  EXPECT_GT(reads[kReads - 1] - reads[0], std::chrono::seconds(4));
  expect_no_stall(client);
}

TEST(HostileEtcd, AWatchThatEndsAtOnceEachTimeIsBegunEverMoreSeldom) {
  ScriptedEtcd::Script script;
  script.watch_stays_open = false;
  std::atomic<int> watches = 0;
  script.watch = [&](const etcdserverpb::WatchRequest& request) {
    ++watches;
    return ScriptedEtcd::created(request);
  };
  ScriptedEtcd etcd(script);
  EtcdOptions options = quick_options(etcd.port());
  options.retry_cap = std::chrono::seconds(3);
  ObservedStore client(std::make_unique<EtcdStore>(options));
  ASSERT_TRUE(client.seen().wait_out());
  // 50 ms, doubled each time, and one resumption a second besides.
  const auto start = Steady::now();
  const int before = watches;
  ASSERT_TRUE(test::eventually([&] { return watches >= before + 12; }, Observer::kPatience));
  EXPECT_GT(Steady::now() - start, std::chrono::seconds(2));
  expect_no_stall(client);
}

TEST(HostileEtcd, MoreKeysThanAnyMeshHasAreNotRead) {
  std::atomic<std::int64_t> next = 0;
  ScriptedEtcd::Script script;
  script.range = [&](const etcdserverpb::RangeRequest& request, auto& response) {
    ScriptedEtcd::fill_header(*response.mutable_header());
    for (std::int64_t i = 0; i < 20 * request.limit(); ++i)
      response.add_kvs()->set_key(fmt::format("/meshd/other/{:012}", ++next));
    response.set_more(true);
  };
  expect_error(script, fmt::format("more than {} keys below /meshd/", kMaxEtcdKeys));
}

TEST(HostileEtcd, PagesThatNeverCarryOnAreOneError) {
  ScriptedEtcd::Script script;
  script.range = [](const auto&, auto& response) {
    ScriptedEtcd::fill_header(*response.mutable_header());
    response.set_more(true);
  };
  expect_error(script, "more keys are promised and none comes");
}

TEST(HostileEtcd, AnAnswerWithoutARevisionIsOfNoEtcd) {
  ScriptedEtcd::Script script;
  script.range = [](const auto&, auto&) {};
  expect_error(script, "an answer without a revision");
}

}  // namespace
}  // namespace mesh::testing
