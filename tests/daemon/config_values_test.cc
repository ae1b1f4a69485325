// Single values of the configuration, and the distance between words.
#include "meshd/daemon/config_values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mesh {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

TEST(ConfigDuration, ReadsTheFormsOfTheContract) {
  EXPECT_EQ(*parse_duration("0s"), 0s);
  EXPECT_EQ(*parse_duration("500ms"), 500ms);
  EXPECT_EQ(*parse_duration("10m"), 10min);
  EXPECT_EQ(*parse_duration("24h"), 24h);
  EXPECT_EQ(*parse_duration("1h30m"), 90min);
  EXPECT_EQ(*parse_duration("1h1m1s1ms"), 1h + 1min + 1s + 1ms);
  EXPECT_EQ(*parse_duration("90m"), 90min);
  EXPECT_EQ(*parse_duration("87600h"), 87600h);
}

TEST(ConfigDuration, RefusesTheRest) {
  for (const char* text : {"",     " ",    "s",      "1",         "0",
                           "1d",   "1 s",  " 1s",    "1s ",       "1.5s",
                           "1s1h", "1s1s", "1m1",    "1H",        "-1s",
                           "+1s",  "1us",  "87601h", "87600h1ms", "99999999999999999999h",
                           "1msx"})
    EXPECT_FALSE(parse_duration(text)) << text;
  EXPECT_THAT(parse_duration("25").error().message,
              HasSubstr("'25' has no unit: write 25s for seconds"));
  EXPECT_THAT(parse_duration("-1s").error().message, HasSubstr("is negative"));
  EXPECT_THAT(parse_duration("87601h").error().message, HasSubstr("longer than ten years"));
}

TEST(ConfigNumber, ReadsDecimalAndHexadecimal) {
  EXPECT_EQ(*parse_whole_number("0", 0, 9), 0U);
  EXPECT_EQ(*parse_whole_number("9", 0, 9), 9U);
  EXPECT_EQ(*parse_whole_number("0xfF", 0, 255), 255U);
  EXPECT_EQ(*parse_whole_number("0X10", 0, 255), 16U);
  EXPECT_EQ(*parse_whole_number("18446744073709551615", 0, ~0ULL), ~0ULL);
}

TEST(ConfigNumber, SaysWhetherItIsNoNumberOrOutOfRange) {
  for (const char* text : {"10", "0x10", "-1", "99999999999999999999", "0xffffffffffffffffff"})
    EXPECT_THAT(parse_whole_number(text, 1, 9).error().message,
                HasSubstr("is out of range: write a whole number from 1 to 9"))
        << text;
  for (const char* text : {"", "x", "1.0", "1e3", "1 ", " 1", "+1", "0x", "0xg", "1_0", "--1", "-"})
    EXPECT_THAT(parse_whole_number(text, 1, 9).error().message, HasSubstr("is not a whole number"))
        << text;
  EXPECT_THAT(parse_whole_number("010", 1, 99).error().message, HasSubstr("octal"));
}

TEST(ConfigInterface, TakesWhatTheKernelAndNftablesTakeUnquoted) {
  for (const char* name : {"mesh0", "a", "wg-mesh_1.2", "A23456789012345", "0"})
    EXPECT_TRUE(check_interface_name(name)) << name;
  for (const char* name : {"", ".", "..", "all", "default", "lo", "a b", "a/b", "a\tb", "a:1",
                           "a%d", "mesh\"", "-x", "1234567890123456", "m\xc3\xa9sh"})
    EXPECT_FALSE(check_interface_name(name)) << name;
}

TEST(ConfigPrefix, RefusesRangesNoWorkloadCanHave) {
  for (const char* text : {"10.0.0.0/8", "192.0.2.1/32", "fd00::/8", "2001:db8::/32", "1.0.0.0/8"})
    EXPECT_TRUE(check_workload_prefix(*Cidr::parse(text))) << text;
  for (const char* text :
       {"0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "::/1", "127.0.0.0/8", "127.1.2.3/32",
        "169.254.0.0/24", "224.0.0.0/4", "239.1.0.0/16", "255.255.255.255/32", "0.0.0.0/32",
        "::1/128", "fe80::/64", "ff02::/16", "::ffff:10.0.0.0/104", "::/128"})
    EXPECT_FALSE(check_workload_prefix(*Cidr::parse(text))) << text;
}

TEST(ConfigListen, WantsAnAddressAndAPort) {
  for (const char* text : {"127.0.0.1:9586", "0.0.0.0:1", "[::]:65535", "[::1]:80"})
    EXPECT_TRUE(parse_listen_address(text)) << text;
  for (const char* text :
       {"9586", ":9586", "localhost:9586", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "::1:80",
        "[127.0.0.1]:80", "224.0.0.1:80", "127.0.0.1:80 "})
    EXPECT_FALSE(parse_listen_address(text)) << text;
}

TEST(ConfigEtcd, WantsASchemeAHostAndAPort) {
  for (const char* url : {"http://127.0.0.1:2379", "https://etcd-0.Example.org:2379",
                          "https://[2001:db8::1]:2379", "http://localhost:1"})
    EXPECT_TRUE(check_etcd_endpoint(url)) << url;
  for (const char* url :
       {"", "127.0.0.1:2379", "http://", "http://host", "http://host:", "http://host:0",
        "http://host:65536", "http://host:1/", "http://host:1/path", "unix:///x:1", "http://:1",
        "http://2001:db8::1:2379", "http://1.2.3:80", "http://256.0.0.1:80", "http://u:p@host:1",
        "http://ho st:1", "http://host:0x50"})
    EXPECT_FALSE(check_etcd_endpoint(url)) << url;
}

TEST(ConfigQuotes, KeepAMessageShortAndOnOneLine) {
  EXPECT_EQ(in_quotes("a"), "'a'");
  EXPECT_EQ(in_quotes("a\nb\x1b"), "'a?b?'");
  EXPECT_EQ(in_quotes(std::string(65, 'x')), "'" + std::string(64, 'x') + "...'");
}

}  // namespace
}  // namespace mesh
