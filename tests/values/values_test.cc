#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>

#include "mesh/ip.h"
#include "mesh/nearest.h"
#include "mesh/node_record.h"
#include "mesh/peer_state.h"
#include "mesh/plan.h"
#include "mesh/public_key.h"

namespace mesh {
namespace {

TEST(IpAddress, RoundTripsBothFamilies) {
  for (const char* text :
       {"0.0.0.0", "192.0.2.1", "255.255.255.255", "::", "::1", "2001:db8::1", "fd00:1::"}) {
    const auto address = IpAddress::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->to_string(), text);
  }
}

TEST(IpAddress, RefusesWhatIsNotAnAddress) {
  for (const char* text : {"", " ", "1.2.3", "1.2.3.4.5", "256.0.0.1", "1.2.3.4 ", "fe80::1%eth0",
                           ":::", "g::", "01.2.3.4"})
    EXPECT_FALSE(IpAddress::parse(text)) << text;
  EXPECT_FALSE(IpAddress::parse(std::string_view("1.2.3.4\0x", 9)));
  EXPECT_FALSE(IpAddress::parse(std::string(100, '1')));
}

TEST(IpAddress, SaysWhyAnAddressIsNotReachable) {
  for (const char* text : {"0.0.0.0", "127.9.9.9", "224.0.0.1", "255.255.255.255", "169.254.1.1",
                           "::", "::1", "ff02::1", "fe80::1", "febf::1", "::ffff:192.0.2.1"})
    EXPECT_NE(IpAddress::parse(text)->why_not_reachable(), "") << text;
  for (const char* text : {"192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1", "fec0::1"})
    EXPECT_EQ(IpAddress::parse(text)->why_not_reachable(), "") << text;
}

TEST(IpAddress, NextAndPreviousCarryAndBorrow) {
  EXPECT_EQ(IpAddress::parse("10.0.0.255")->next().to_string(), "10.0.1.0");
  EXPECT_EQ(IpAddress::parse("10.0.1.0")->previous().to_string(), "10.0.0.255");
  EXPECT_EQ(IpAddress::parse("fd00::ffff")->next().to_string(), "fd00::1:0");
}

TEST(Cidr, RefusesHostBitsAndSaysWhatWasMeant) {
  const auto cidr = Cidr::parse("10.1.0.5/24");
  ASSERT_FALSE(cidr);
  EXPECT_NE(cidr.error().message.find("10.1.0.0/24"), std::string::npos);
}

TEST(Cidr, ReadsPrefixesAndHosts) {
  EXPECT_EQ(Cidr::parse("10.1.0.0/24")->to_string(), "10.1.0.0/24");
  EXPECT_EQ(Cidr::parse("10.1.0.7")->to_string(), "10.1.0.7/32");
  EXPECT_EQ(Cidr::parse("::/0")->to_string(), "::/0");
  for (const char* text :
       {"10.1.0.0/33", "10.1.0.0/", "10.1.0.0/+8", "10.0.0.0/08", "/24", "fd00::/129", "x/24"})
    EXPECT_FALSE(Cidr::parse(text)) << text;
}

TEST(Cidr, ContainsAndCovers) {
  const Cidr wide = *Cidr::parse("10.0.0.0/8");
  const Cidr narrow = *Cidr::parse("10.1.0.0/24");
  EXPECT_TRUE(wide.covers(narrow));
  EXPECT_FALSE(narrow.covers(wide));
  EXPECT_TRUE(wide.covers(wide));
  EXPECT_TRUE(narrow.contains(*IpAddress::parse("10.1.0.255")));
  EXPECT_FALSE(narrow.contains(*IpAddress::parse("10.1.1.0")));
  EXPECT_FALSE(wide.contains(*IpAddress::parse("::")));
  EXPECT_EQ(narrow.last().to_string(), "10.1.0.255");
}

TEST(Endpoint, RoundTripsAndRefuses) {
  EXPECT_EQ(Endpoint::parse("192.0.2.2:51820")->to_string(), "192.0.2.2:51820");
  EXPECT_EQ(Endpoint::parse("[2001:db8::2]:1")->to_string(), "[2001:db8::2]:1");
  for (const char* text : {"192.0.2.2", "192.0.2.2:0", "192.0.2.2:65536", "2001:db8::2:51820",
                           "[192.0.2.2]:1", "host:1", ":1", "[]:1"})
    EXPECT_FALSE(Endpoint::parse(text)) << text;
}

TEST(PublicKey, RoundTripsCanonicalBase64Only) {
  const std::string text = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
  const auto key = PublicKey::parse(text);
  ASSERT_TRUE(key);
  EXPECT_EQ(key->to_base64(), text);
  EXPECT_FALSE(
      PublicKey::parse("hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmp="));  // bits beyond the key
  EXPECT_FALSE(PublicKey::parse(text.substr(0, 43)));
  EXPECT_FALSE(PublicKey::parse(text + "\n"));
  EXPECT_FALSE(PublicKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
}

TEST(NodeName, IsAnRfc1123Subdomain) {
  for (const char* name : {"a", "node-a", "a.b-c.9", "0"})
    EXPECT_TRUE(check_node_name(name)) << name;
  for (const char* name : {"", "A", "-a", "a-", ".", "..", "a..b", "a/b", "a_b", "a.-b", "../x"})
    EXPECT_FALSE(check_node_name(name)) << name;
  EXPECT_TRUE(check_node_name(std::string(253, 'a')));
  EXPECT_FALSE(check_node_name(std::string(254, 'a')));
}

TEST(Words, RoundTrip) {
  for (int i = 0; i < kStateCount; ++i) {
    const auto state = static_cast<State>(i);
    EXPECT_EQ(parse_state(to_string(state)), state);
  }
  EXPECT_EQ(parse_mode("require"), Mode::kRequire);
  EXPECT_EQ(parse_mode("Require"), std::nullopt);
  EXPECT_EQ(parse_reason("no-handshake"), Reason::kNoHandshake);
}

TEST(IpRange, PrintsAPrefixWhereItIsOne) {
  EXPECT_EQ((IpRange{*IpAddress::parse("10.0.0.0"), *IpAddress::parse("10.0.0.255")}).to_string(),
            "10.0.0.0/24");
  EXPECT_EQ((IpRange{*IpAddress::parse("10.0.0.1"), *IpAddress::parse("10.0.0.4")}).to_string(),
            "10.0.0.1-10.0.0.4");
}

TEST(NearestWord, CountsEachKindOfMistakeOnce) {
  EXPECT_EQ(word_distance("node", "node"), 0U);
  EXPECT_EQ(word_distance("nde", "node"), 1U);
  EXPECT_EQ(word_distance("noode", "node"), 1U);
  EXPECT_EQ(word_distance("nade", "node"), 1U);
  EXPECT_EQ(word_distance("ndoe", "node"), 1U);
  EXPECT_EQ(word_distance("", "node"), 4U);
  EXPECT_EQ(word_distance("node", ""), 4U);
  EXPECT_EQ(word_distance("listen_port", "listenPort"), 0U);
}

TEST(NearestWord, IsTheFirstOfTheNearestOrNone) {
  constexpr std::array<std::string_view, 3> words{"prefer", "require", "off"};
  EXPECT_EQ(nearest_word("prefre", words), "prefer");
  EXPECT_EQ(nearest_word("of", words), "off");
  EXPECT_EQ(nearest_word("Required", words), "require");
  EXPECT_EQ(nearest_word("banana", words), "");
  EXPECT_EQ(nearest_word(std::string(10000, 'x'), words), "");
}

}  // namespace
}  // namespace mesh
