// The snapshot's text: everything comes back, and no damage passes for a snapshot.
#include "meshd/store/snapshot.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes/values.h"
#include "meshd/store/utf8.h"

namespace mesh {
namespace {

using test::cidr;
using test::ip;
using test::key;
using ::testing::HasSubstr;
using ::testing::StartsWith;

SnapshotNode node(const std::string& name, int n) {
  NodeRecord record;
  record.name = name;
  record.addresses = {ip(fmt::format("192.0.2.{}", n)), ip("2001:db8::1")};
  record.cidrs = {cidr(fmt::format("10.{}.0.0/24", n))};
  record.labels = {{"role", "web \"quoted\"\n\x01"}, {"empty", ""}};
  record.annotations = {{"meshd.io/wireguard-public-key", key(n).to_base64()}, {"other", "\u00e9"}};
  return {std::make_shared<const StoreEntry>(std::move(record)), std::nullopt, false};
}

Snapshot sample() {
  Snapshot snapshot;
  snapshot.store = {"directory", "/var/lib/meshd/store with \"spaces\"", "node-a"};
  snapshot.written = WallTime(std::chrono::seconds(1'790'000'000));
  snapshot.nodes = {node("node-b", 2), node("node-c", 3), node("node-d", 4)};
  snapshot.nodes[0].proven = key(2);
  snapshot.nodes[1].gone = true;
  snapshot.own_labels = {{"role", "web \"quoted\"\n"}, {"empty", ""}};
  snapshot.own = NodeRecord{"node-a",
                            {ip("192.0.2.1"), ip("2001:db8::1")},
                            {cidr("10.1.0.0/24"), cidr("fd00:1::/64")},
                            {},
                            {},
                            {}};
  snapshot.policies = {{"databases", 100, "role == \"db\"", "all()", PolicyAction::kRequire}};
  snapshot.policies.push_back({"lost", 200, "role == \"web\"", "all()", PolicyAction::kPrefer});
  snapshot.lost_policies = {"lost"};
  snapshot.nodes[1].memory = {
      key(3), Downgrade{WallTime(std::chrono::seconds(1'780'000'000)), Reason::kNoRecord, false}};
  snapshot.nodes[2].memory.downgrade =
      Downgrade{WallTime(std::chrono::seconds(1'780'000'001)), Reason::kPolicy, true};
  return snapshot;
}

std::string why_not(std::string_view text) {
  const auto snapshot = parse_snapshot(text, "/x/s");
  EXPECT_FALSE(snapshot.has_value());
  if (snapshot) return "";
  EXPECT_EQ(snapshot.error().code, ErrorCode::kInvalid);
  EXPECT_THAT(snapshot.error().message, StartsWith("/x/s:"));
  EXPECT_EQ(snapshot.error().message.find('\n'), std::string::npos);
  EXPECT_EQ(find_invalid_utf8(snapshot.error().message), std::string_view::npos);
  return snapshot.error().message;
}

// A whole text around another body.
std::string with_body(const std::function<void(std::string&)>& change) {
  std::string text = format_snapshot(sample());
  std::string body = text.substr(text.find('\n') + 1);
  change(body);
  return seal_snapshot(body);
}

TEST(SnapshotText, GivesBackWhatWasWritten) {
  const Snapshot written = sample();
  const auto read = parse_snapshot(format_snapshot(written), "/x/s");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->store, written.store);
  EXPECT_EQ(read->written, written.written);
  EXPECT_EQ(read->nodes, written.nodes);
  EXPECT_EQ(read->policies, written.policies);
  EXPECT_EQ(read->lost_policies, written.lost_policies);
  EXPECT_EQ(read->own_labels, written.own_labels);
  EXPECT_EQ(read->own, written.own);
  EXPECT_TRUE(read->problems.empty());
}

TEST(SnapshotText, AMeshOfOneIsASnapshotToo) {
  Snapshot alone = sample();
  alone.nodes.clear();
  const auto read = parse_snapshot(format_snapshot(alone), "/x/s");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_TRUE(read->nodes.empty());
}

TEST(SnapshotText, EveryFlippedBitIsFound) {
  const std::string whole = format_snapshot(sample());
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      std::string text = whole;
      text[i] = static_cast<char>(static_cast<unsigned char>(text[i]) ^ (1U << bit));
      ASSERT_NE(why_not(text), "") << "byte " << i << ", bit " << bit;
    }
  }
}

TEST(SnapshotText, EveryTruncationIsFound) {
  const std::string whole = format_snapshot(sample());
  for (std::size_t size = 0; size < whole.size(); ++size)
    ASSERT_NE(why_not(std::string_view(whole).substr(0, size)), "") << size;
  EXPECT_THAT(why_not(std::string_view(whole).substr(0, whole.size() / 2)), HasSubstr("cut short"));
}

TEST(SnapshotText, WhatStandsBehindItsEndIsFound) {
  EXPECT_NE(why_not(format_snapshot(sample()) + "\n"), "");
  EXPECT_NE(why_not(format_snapshot(sample()) + std::string(4096, '\0')), "");
}

TEST(SnapshotText, AnotherVersionIsNamed) {
  std::string text = format_snapshot(sample());
  text.replace(text.find(" 1 "), 3, " 2 ");
  EXPECT_THAT(why_not(text), HasSubstr("of format 2, and this meshd reads 1"));
}

TEST(SnapshotText, AnotherFileIsNone) {
  EXPECT_THAT(why_not(""), HasSubstr("no snapshot"));
  EXPECT_THAT(why_not("node:\n  name: a\n"), HasSubstr("no snapshot"));
  EXPECT_THAT(why_not(std::string(100'000, 'x')), HasSubstr("no snapshot"));
}

TEST(SnapshotText, ALineOfAKindThatIsNotKnownIsSkipped) {
  const auto read = parse_snapshot(
      with_body([](std::string& body) { body += "quota {\"deny\": []}\n"; }), "/x/s");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->nodes, sample().nodes);
}

TEST(SnapshotText, ARecordThatThisMeshdCannotTakeCostsItselfOnly) {
  const auto read = parse_snapshot(
      with_body([](std::string& body) { body += "node e - here {\"name\": \"f\"}\n"; }), "/x/s");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->nodes, sample().nodes);
  ASSERT_EQ(read->problems.size(), 1U);
  EXPECT_THAT(read->problems[0], HasSubstr("/x/s:13"));
}

TEST(SnapshotText, APolicyThatThisMeshdCannotTakeCostsItselfOnly) {
  const auto read = parse_snapshot(
      with_body([](std::string& body) { body += "policy web {\"spec\": {}}\n"; }), "/x/s");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->policies, sample().policies);
  ASSERT_EQ(read->problems.size(), 1U);
  EXPECT_THAT(read->problems[0], HasSubstr("/x/s:13"));
}

TEST(SnapshotText, WhatMeshdWouldNotWriteIsRefusedThoughTheChecksumIsRight) {
  const auto add = [](const std::string& line) {
    return why_not(with_body([&](std::string& body) { body += line + "\n"; }));
  };
  EXPECT_THAT(add("node node-b - here {\"name\": \"node-b\"}"), HasSubstr("second record"));
  EXPECT_THAT(add("policy databases {}"), HasSubstr("second policy"));
  EXPECT_THAT(add("node e KEY here {\"name\": \"e\"}"), HasSubstr("line 13"));
  EXPECT_THAT(add("lost web"), HasSubstr("no policy of this snapshot"));
  EXPECT_NE(add("store {"), "");
  EXPECT_THAT(add("store {\"written\": \"soon\"}"), HasSubstr("no time"));
  EXPECT_THAT(add("store {\"written\": \"99999999999\"}"), HasSubstr("no time"));
  EXPECT_THAT(why_not(with_body([](std::string& body) { body = "\n"; })), HasSubstr("which store"));
  EXPECT_THAT(why_not(with_body([](std::string& body) { body.pop_back(); })), HasSubstr("no end"));
}

}  // namespace
}  // namespace mesh
