#include "meshd/dataplane/netlink_socket.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <set>

#include "meshd/dataplane/errors.h"
#include "tests/dataplane/sandbox.h"

namespace mesh {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::SizeIs;

NetlinkSocket open_route(std::initializer_list<unsigned> groups = {}) {
  auto socket = NetlinkSocket::open(NETLINK_ROUTE, groups);
  if (!socket) throw std::runtime_error(socket.error().message);
  return std::move(*socket);
}

NetlinkMessage get_links() {
  NetlinkMessage request(RTM_GETLINK, 0);
  request.put_header(ifinfomsg{});
  return request;
}

NetlinkMessage route(std::uint16_t type, std::uint16_t flags, std::uint32_t number) {
  NetlinkMessage request(type, flags);
  rtmsg header{};
  header.rtm_family = AF_INET;
  header.rtm_dst_len = 32;
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_protocol = RTPROT_STATIC;
  header.rtm_scope = RT_SCOPE_UNIVERSE;
  header.rtm_type = RTN_UNREACHABLE;
  request.put_header(header);
  request.put(RTA_DST, IpAddress::v4(0x0a000000 + number).bytes());
  return request;
}

Result<std::size_t> count_routes(NetlinkSocket& socket) {
  NetlinkMessage request(RTM_GETROUTE, 0);
  rtmsg header{};
  header.rtm_family = AF_INET;
  request.put_header(header);
  std::size_t count = 0;
  const auto result = socket.dump(request, [&](const nlmsghdr& message) -> Result<void> {
    const auto found = family_header<rtmsg>(message);
    if (found && found->rtm_type == RTN_UNREACHABLE) ++count;
    return {};
  });
  if (!result) return result.error();
  return count;
}

class NetlinkSocketTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!sandbox::available()) GTEST_SKIP() << sandbox::why_not();
    sandbox::NetworkNamespace fresh;
  }
};

TEST_F(NetlinkSocketTest, DumpsEveryLink) {
  NetlinkSocket socket = open_route();
  NetlinkMessage request = get_links();
  std::set<std::string> names;
  ASSERT_TRUE(socket.dump(request, [&](const nlmsghdr& message) -> Result<void> {
    AttributeReader reader(attributes_of(message, sizeof(ifinfomsg)));
    while (const auto attribute = reader.next())
      if (attribute->type == IFLA_IFNAME) names.emplace(attribute->as_string());
    EXPECT_FALSE(reader.malformed());
    return {};
  }));
  EXPECT_THAT(names, Contains("lo"));
}

TEST_F(NetlinkSocketTest, SocketsOfOneProcessHaveDifferentPorts) {
  const NetlinkSocket first = open_route();
  const NetlinkSocket second = open_route();
  EXPECT_NE(first.port_id(), 0U);
  EXPECT_NE(first.port_id(), second.port_id());
  EXPECT_NE(fcntl(first.fd(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(NetlinkSocketTest, RefusalCarriesTheKernelsOwnWords) {
  NetlinkSocket socket = open_route();
  NetlinkMessage bad = route(RTM_NEWROUTE, NLM_F_CREATE, 1);
  bad.put_value(RTA_DST, std::uint8_t{1});  // one byte where four must be
  const auto refused = socket.transact(bad);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalid);
  EXPECT_THAT(refused.error().message, Not(HasSubstr("the kernel:")))
      << "has a text of its own: " << refused.error().message;
}

TEST_F(NetlinkSocketTest, OneResultForEachRequestOfALargeBatch) {
  NetlinkSocket socket = open_route();
  std::vector<NetlinkMessage> requests;
  for (std::uint32_t i = 0; i < 20'000; ++i)
    requests.push_back(route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, i % 19'999));
  const auto results = socket.transact(requests);
  ASSERT_THAT(results, SizeIs(20'000));
  for (std::size_t i = 0; i + 1 < results.size(); ++i)
    ASSERT_TRUE(results[i]) << i << ": " << results[i].error().message;
  ASSERT_FALSE(results.back()) << "the same as the first";
  EXPECT_EQ(results.back().error().code, ErrorCode::kExists);
  const auto count = retry_interrupted([&] { return count_routes(socket); });
  ASSERT_TRUE(count);
  EXPECT_EQ(*count, 19'999U) << "and a dump of many parts is read to its end";
}

TEST_F(NetlinkSocketTest, FailedOnesStopNoOthers) {
  NetlinkSocket socket = open_route();
  std::vector<NetlinkMessage> requests;
  for (std::uint32_t i = 0; i < 300; ++i)
    requests.push_back(route(i % 2 == 0 ? RTM_NEWROUTE : RTM_DELROUTE, NLM_F_CREATE, i));
  const auto results = socket.transact(requests);
  for (std::size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(results[i].has_value(), i % 2 == 0) << i;
    if (!results[i]) {
      EXPECT_EQ(results[i].error().code, ErrorCode::kNotFound);
    }
  }
}

TEST_F(NetlinkSocketTest, AnswersToEarlierRequestsAreDiscarded) {
  NetlinkSocket socket = open_route();
  NetlinkMessage stray = get_links();
  stray.header().nlmsg_flags |= NLM_F_DUMP;
  stray.header().nlmsg_seq = 77'777;
  ASSERT_GT(send(socket.fd(), stray.bytes().data(), stray.size(), 0), 0);
  NetlinkMessage request = route(RTM_NEWROUTE, NLM_F_CREATE, 1);
  EXPECT_TRUE(socket.transact(request));
  const auto count = count_routes(socket);
  ASSERT_TRUE(count) << count.error().message;
  EXPECT_EQ(*count, 1U);
}

TEST_F(NetlinkSocketTest, CallbacksErrorEndsTheDumpAndLeavesTheSocketUsable) {
  NetlinkSocket socket = open_route();
  std::vector<NetlinkMessage> requests;
  for (std::uint32_t i = 0; i < 5000; ++i) requests.push_back(route(RTM_NEWROUTE, NLM_F_CREATE, i));
  (void)socket.transact(requests);
  NetlinkMessage request(RTM_GETROUTE, 0);
  request.put_header(rtmsg{});
  int calls = 0;
  const auto result = socket.dump(request, [&](const nlmsghdr&) -> Result<void> {
    ++calls;
    return make_error(ErrorCode::kInvalid, "enough");
  });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "enough");
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(count_routes(socket));
}

TEST_F(NetlinkSocketTest, LostAnswersAreAnErrorNotAHang) {
  NetlinkSocket socket = open_route();
  std::vector<NetlinkMessage> requests;
  for (std::uint32_t i = 0; i < 200; ++i) requests.push_back(route(RTM_NEWROUTE, NLM_F_CREATE, i));
  int tiny = 1;  // the kernel makes it its least, a few answers' worth
  ASSERT_EQ(setsockopt(socket.fd(), SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny), 0);
  const auto results = socket.transact(requests);
  EXPECT_TRUE(results.front());
  ASSERT_FALSE(results.back());
  EXPECT_EQ(results.back().error().code, ErrorCode::kUnavailable);
}

TEST_F(NetlinkSocketTest, MulticastIsDrainedWithoutBlocking) {
  NetlinkSocket events = open_route({RTNLGRP_IPV4_ROUTE});
  int seen = 0;
  const auto count = [&](const nlmsghdr& message) { seen += message.nlmsg_type == RTM_NEWROUTE; };
  EXPECT_FALSE(events.drain(count));
  EXPECT_EQ(seen, 0);
  NetlinkSocket socket = open_route();
  std::vector<NetlinkMessage> requests;
  for (std::uint32_t i = 0; i < 100; ++i) requests.push_back(route(RTM_NEWROUTE, NLM_F_CREATE, i));
  (void)socket.transact(requests);
  EXPECT_FALSE(events.drain(count));
  EXPECT_EQ(seen, 100);
}

TEST_F(NetlinkSocketTest, OverrunIsTold) {
  NetlinkSocket events = open_route({RTNLGRP_IPV4_ROUTE});
  int tiny = 1;
  ASSERT_EQ(setsockopt(events.fd(), SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny), 0);
  NetlinkSocket socket = open_route();
  std::vector<NetlinkMessage> requests;
  for (std::uint32_t i = 0; i < 500; ++i) requests.push_back(route(RTM_NEWROUTE, NLM_F_CREATE, i));
  (void)socket.transact(requests);
  EXPECT_TRUE(events.drain([](const nlmsghdr&) {}));
  EXPECT_FALSE(events.drain([](const nlmsghdr&) {})) << "once";
}

TEST(RetryInterrupted, ReadsAgainUntilThePictureIsWhole) {
  int reads = 0;
  const auto result = retry_interrupted([&]() -> Result<int> {
    if (++reads < 3) return make_error(ErrorCode::kInterrupted, "changed");
    return 7;
  });
  ASSERT_TRUE(result);
  EXPECT_EQ(reads, 3);
}

TEST(RetryInterrupted, GivesUpAfterSomeAndTriesOtherErrorsOnce) {
  int reads = 0;
  const auto fail_with = [&](ErrorCode code) {
    return [&reads, code]() -> Result<int> {
      ++reads;
      return make_error(code, "no");
    };
  };
  EXPECT_FALSE(retry_interrupted(fail_with(ErrorCode::kInterrupted), 4));
  EXPECT_EQ(reads, 4);
  reads = 0;
  EXPECT_FALSE(retry_interrupted(fail_with(ErrorCode::kPermission)));
  EXPECT_EQ(reads, 1);
}

TEST(ErrnoTranslation, SaysWhatToDo) {
  const Error error = error_from_errno(EPERM, "add route");
  EXPECT_EQ(error.code, ErrorCode::kPermission);
  EXPECT_EQ(error.sys_errno, EPERM);
  EXPECT_THAT(error.message, HasSubstr("add route"));
  EXPECT_THAT(error.message, HasSubstr("CAP_NET_ADMIN"));
  EXPECT_EQ(error_from_errno(EOPNOTSUPP, "").code, ErrorCode::kUnsupported);
  for (const int absent : {ENODEV, ENOENT, ESRCH})
    EXPECT_EQ(error_from_errno(absent, "").code, ErrorCode::kNotFound);
  EXPECT_EQ(error_from_errno(EEXIST, "").code, ErrorCode::kExists);
  for (const int taken : {EADDRINUSE, EBUSY})
    EXPECT_EQ(error_from_errno(taken, "").code, ErrorCode::kBusy);
}

TEST(AttributeReader, StopsAtAnAttributeThatClaimsTooMuch) {
  const std::uint8_t bytes[] = {8, 0, 1, 0, 1, 2, 3, 4, 9, 0, 2, 0, 1, 2, 3, 4};
  AttributeReader reader(bytes);
  EXPECT_TRUE(reader.next());
  EXPECT_FALSE(reader.next());
  EXPECT_TRUE(reader.malformed());
  EXPECT_FALSE(reader.next());
}

}  // namespace
}  // namespace mesh
