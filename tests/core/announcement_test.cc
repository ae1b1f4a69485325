// The meshd.io/ annotations as values: what the contract says, and that one bad annotation costs
// itself only.
#include "core/announcement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes/values.h"

namespace mesh {
namespace {

using test::endpoint;
using test::ip;
using test::key;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

NodeRecord record_with(std::map<std::string, std::string> annotations) {
  NodeRecord record;
  record.name = "node-b";
  record.addresses = {ip("192.0.2.2"), ip("2001:db8::2")};
  record.annotations = std::move(annotations);
  return record;
}

TEST(Announcement, ARecordWithoutAnnotationsIsAPlaintextPeerThatPrefersEncryption) {
  const Announcement read = read_announcement(record_with({}));
  EXPECT_EQ(read.key, std::nullopt);
  EXPECT_EQ(read.mode, Mode::kPrefer);
  EXPECT_FALSE(read.host_traffic);
  EXPECT_FALSE(read.unsupported);
  EXPECT_EQ(read.key_problem, "");
  EXPECT_THAT(read.problems, IsEmpty());
}

TEST(Announcement, WithoutAnEndpointTheAddressesServeOnTheDefaultPort) {
  EXPECT_THAT(read_announcement(record_with({})).endpoints,
              ElementsAre(endpoint("192.0.2.2:51820"), endpoint("[2001:db8::2]:51820")));
}

TEST(Announcement, EndpointsAreReadInTheirOrderWithOrWithoutSpaces) {
  const auto read = read_announcement(
      record_with({{"meshd.io/wireguard-endpoint", "[2001:db8::9]:51821, 192.0.2.9:51822"}}));
  EXPECT_THAT(read.endpoints,
              ElementsAre(endpoint("[2001:db8::9]:51821"), endpoint("192.0.2.9:51822")));
}

TEST(Announcement, ABadEndpointCostsItselfAndIsNamed) {
  const auto read = read_announcement(record_with(
      {{"meshd.io/wireguard-endpoint",
        "192.0.2.9:0,nonsense,127.0.0.1:51820,[ff02::1]:51820,[::ffff:192.0.2.1]:51820,,"
        "192.0.2.9:51820"}}));
  EXPECT_THAT(read.endpoints, ElementsAre(endpoint("192.0.2.9:51820")));
  EXPECT_EQ(read.problems.size(), 6U);
  for (const std::string& problem : read.problems)
    EXPECT_THAT(problem, HasSubstr("meshd.io/wireguard-endpoint"));
}

TEST(Announcement, EndpointsThatAreAllBadAreNotReplacedByTheAddresses) {
  const auto read =
      read_announcement(record_with({{"meshd.io/wireguard-endpoint", "node-b.example:51820"}}));
  EXPECT_THAT(read.endpoints, IsEmpty());
  EXPECT_EQ(read.problems.size(), 1U);
}

TEST(Announcement, AnInvalidKeyIsNoKeyAndSaysWhy) {
  const std::string good = key(7).to_base64();
  for (const std::string& bad : {std::string("short"), good.substr(0, 43), good + "=", good + "\n",
                                 std::string("!") + good.substr(1), PublicKey().to_base64()}) {
    const auto read = read_announcement(record_with({{"meshd.io/wireguard-public-key", bad}}));
    EXPECT_EQ(read.key, std::nullopt) << bad;
    EXPECT_THAT(read.key_problem, HasSubstr("meshd.io/wireguard-public-key")) << bad;
  }
}

TEST(Announcement, TheAllZeroKeyIsInvalid) {
  const auto read =
      read_announcement(record_with({{"meshd.io/wireguard-public-key", PublicKey().to_base64()}}));
  EXPECT_EQ(read.key, std::nullopt);
  EXPECT_NE(read.key_problem, "");
}

TEST(Announcement, SupportNoneSaysThatTheNodeHasNoWireguard) {
  const auto read =
      read_announcement(record_with({{"meshd.io/wireguard-support", "none: no module"}}));
  EXPECT_TRUE(read.unsupported);
  EXPECT_EQ(read.support, "none: no module");
  EXPECT_FALSE(
      read_announcement(record_with({{"meshd.io/wireguard-support", "kernel"}})).unsupported);
}

TEST(Announcement, AModeOrASwitchThatCannotBeReadIsTheDefaultAndReported) {
  const auto read = read_announcement(
      record_with({{"meshd.io/encryption-mode", "Required"}, {"meshd.io/host-traffic", "yes"}}));
  EXPECT_EQ(read.mode, Mode::kPrefer);
  EXPECT_FALSE(read.host_traffic);
  EXPECT_THAT(read.problems,
              ElementsAre(AllOf(HasSubstr("meshd.io/encryption-mode"), HasSubstr("'Required'")),
                          AllOf(HasSubstr("meshd.io/host-traffic"), HasSubstr("'yes'"))));
}

TEST(Announcement, EveryModeIsRead) {
  for (const Mode mode : {Mode::kOff, Mode::kPrefer, Mode::kRequire})
    EXPECT_EQ(
        read_announcement(record_with({{"meshd.io/encryption-mode", std::string(to_string(mode))}}))
            .mode,
        mode);
}

TEST(Announcement, OtherAnnotationsAreNotOurs) {
  const auto read =
      read_announcement(record_with({{"example.com/x", "y"}, {"meshd.io/unknown", "z"}}));
  EXPECT_THAT(read.problems, IsEmpty());
}

TEST(Announcement, WhatIsWrittenReadsBackTheSame) {
  Announcement announcement;
  announcement.key = key(3);
  announcement.endpoints = {endpoint("192.0.2.2:51821"), endpoint("[2001:db8::2]:51821")};
  announcement.support = "userspace";
  announcement.mode = Mode::kRequire;
  announcement.host_traffic = true;
  EXPECT_EQ(read_announcement(record_with(write_announcement(announcement))), announcement);
}

TEST(Announcement, WithoutAKeyNeitherKeyNorEndpointIsPublished) {
  Announcement announcement;
  announcement.endpoints = {endpoint("192.0.2.2:51820")};
  announcement.support = "none: no device";
  announcement.mode = Mode::kOff;
  const auto written = write_announcement(announcement);
  EXPECT_FALSE(written.contains("meshd.io/wireguard-public-key"));
  EXPECT_FALSE(written.contains("meshd.io/wireguard-endpoint"));
  EXPECT_EQ(written.at("meshd.io/encryption-mode"), "off");
  EXPECT_EQ(written.at("meshd.io/wireguard-support"), "none: no device");
  EXPECT_EQ(written.at("meshd.io/host-traffic"), "false");
}

}  // namespace
}  // namespace mesh
