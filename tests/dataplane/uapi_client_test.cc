// UapiClient against servers that misbehave in every way a process can.
#include "meshd/dataplane/uapi_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "meshd/dataplane/uapi_codec.h"
#include "meshd/dataplane/wireguard_userspace.h"
#include "tests/temporary_directory.h"

namespace mesh {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr std::chrono::milliseconds kShort{200};

// Serves one connection after another with `serve`, until it dies.
class FakeServer {
 public:
  explicit FakeServer(std::function<void(int)> serve) : serve_(std::move(serve)) {
    listener_ = UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path().data(), path().size());
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_.get(), 5), 0);
    thread_ = std::thread([this] {
      for (;;) {
        const UniqueFd connection(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!connection) return;
        serve_(connection.get());
      }
    });
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;
  ~FakeServer() {
    (void)shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  std::string path() const { return (directory_ / "wg.sock").string(); }

 private:
  mesh::testing::TemporaryDirectory directory_;
  std::function<void(int)> serve_;
  UniqueFd listener_;
  std::thread thread_;
};

void say(int fd, std::string_view text) { (void)send(fd, text.data(), text.size(), MSG_NOSIGNAL); }

std::string hear(int fd, std::string_view end) {
  std::string text;
  char byte = 0;
  while (!text.ends_with(end) && recv(fd, &byte, 1, 0) == 1) text += byte;
  return text;
}

TEST(UapiClient, ReadsAnAnswerThatComesByteByByte) {
  FakeServer server([](int fd) {
    EXPECT_EQ(hear(fd, "\n\n"), kUapiGet);
    for (const char c : std::string_view("listen_port=7\nerrno=0\n\n")) say(fd, {&c, 1});
  });
  const auto device = UapiClient(server.path()).exchange(kUapiGet);
  ASSERT_TRUE(device) << device.error().message;
  EXPECT_EQ(device->listen_port, 7);
}

TEST(UapiClient, NobodyThereIsNotFound) {
  mesh::testing::TemporaryDirectory directory;
  const auto missing = UapiClient((directory / "wg.sock").string()).exchange(kUapiGet);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  const auto too_long = UapiClient(std::string(200, 'x')).exchange(kUapiGet);
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error().code, ErrorCode::kInvalid);
}

TEST(UapiClient, SilenceIsATimeout) {
  FakeServer server([](int fd) { (void)hear(fd, "never"); });  // until we hang up
  const auto device = UapiClient(server.path(), kShort).exchange(kUapiGet);
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, ErrorCode::kTimeout);
}

TEST(UapiClient, TricklingForEverIsATimeout) {
  FakeServer server([](int fd) {
    while (send(fd, "a=1\n", 4, MSG_NOSIGNAL) == 4)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  });
  const auto device = UapiClient(server.path(), kShort).exchange(kUapiGet);
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, ErrorCode::kTimeout);
}

TEST(UapiClient, HangingUpEarlyIsUnavailable) {
  FakeServer server([](int fd) {
    (void)hear(fd, "\n\n");
    say(fd, "listen_port=7\n");
  });
  const auto device = UapiClient(server.path()).exchange(kUapiGet);
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, ErrorCode::kUnavailable);
}

TEST(UapiClient, EndlessLineIsRefused) {
  FakeServer server([](int fd) {
    const std::string junk(1 << 16, 'x');
    while (send(fd, junk.data(), junk.size(), MSG_NOSIGNAL) > 0) {
    }
  });
  const auto device = UapiClient(server.path()).exchange(kUapiGet);
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, ErrorCode::kInvalid);
}

TEST(UapiClient, GarbageIsRefused) {
  FakeServer server([](int fd) {
    (void)hear(fd, "\n\n");
    say(fd, std::string_view("\0\xff\n\n\n", 5));
  });
  const auto device = UapiClient(server.path()).exchange(kUapiGet);
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, ErrorCode::kInvalid);
}

// wireguard-go answers at the first bad line and hangs up on the rest.
TEST(UapiClient, HearsTheRefusalOfARequestThatWasNotReadToItsEnd) {
  FakeServer server([](int fd) {
    (void)hear(fd, "\n");
    say(fd, "errno=-22\n\n");
  });
  std::string request = "set=1\n";
  request.append(1 << 20, 'x');
  const auto answer = UapiClient(server.path()).exchange(request);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kInvalid) << answer.error().message;
  EXPECT_EQ(answer.error().sys_errno, 22);
}

TEST(UapiClient, KnowsWhoServes) {
  FakeServer server([](int) {});
  const auto pid = UapiClient(server.path()).server();
  ASSERT_TRUE(pid);
  EXPECT_EQ(*pid, getpid());
}

// A peer that wireguard-go refuses costs its neighbours a second try, and nothing else.
TEST(WireguardUserspace, OneBadPeerCostsOnePeer) {
  FakeServer server([&](int fd) {
    const std::string request = hear(fd, "\n\n");
    say(fd, request.find("allowed_ip=10.66.0.0/16") != std::string::npos ? "errno=-22\n\n"
                                                                         : "errno=0\n\n");
  });
  WireguardUserspace device("wga", server.path());
  std::vector<WgPeerChange> changes(50);
  for (std::size_t i = 0; i < changes.size(); ++i) {
    std::array<std::uint8_t, 32> bytes{};
    bytes[0] = static_cast<std::uint8_t>(i + 1);
    changes[i].key = PublicKey(bytes);
  }
  changes[7].add_allowed_ips = {*Cidr::parse("10.66.0.0/16")};
  const auto results = device.change_peers(changes);
  ASSERT_THAT(results, SizeIs(50));
  for (std::size_t i = 0; i < results.size(); ++i) EXPECT_EQ(results[i].has_value(), i != 7) << i;
  EXPECT_THAT(results[7].error().message, HasSubstr(changes[7].key.abbreviated()));
}

TEST(WireguardUserspace, AHungProcessCostsOneTimeoutNotOnePerPeer) {
  std::atomic<int> connections = 0;  // counted on the server's thread
  FakeServer server([&](int fd) {
    ++connections;
    (void)hear(fd, "never");
  });
  {
    WireguardUserspace device("wga", server.path(), kShort);
    std::vector<WgPeerChange> changes(2000);
    for (std::size_t i = 0; i < changes.size(); ++i) {
      std::array<std::uint8_t, 32> bytes{};
      std::memcpy(bytes.data(), &i, sizeof i);
      changes[i].key = PublicKey(bytes);
    }
    for (const auto& result : device.change_peers(changes)) {
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error().code, ErrorCode::kTimeout);
    }
  }
  EXPECT_EQ(connections, 1);
}

}  // namespace
}  // namespace mesh
