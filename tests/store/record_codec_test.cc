// Node records as text: what is read, what is refused and how that is said.
#include "meshd/store/record_codec.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "meshd/store/utf8.h"

namespace mesh {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::string_view kPlace = "/store/nodes/node-b.yaml";

Result<NodeRecord> from_yaml(std::string_view text) {
  return parse_record_yaml(text, kPlace, "node-b");
}
Result<NodeRecord> from_json(std::string_view text) {
  return parse_record_json(text, "etcd /meshd/nodes/node-b", "node-b");
}

// The record that both notations of one text must give.
NodeRecord read(std::string_view text) {
  auto record = from_yaml(text);
  EXPECT_TRUE(record.has_value()) << record.error().message << "\n" << text;
  return record ? *record : NodeRecord{};
}

std::string error_of(const Result<NodeRecord>& record) {
  EXPECT_FALSE(record.has_value());
  if (record) return "";
  EXPECT_EQ(record.error().code, ErrorCode::kInvalid);
  EXPECT_EQ(record.error().message.find('\n'), std::string::npos) << record.error().message;
  EXPECT_EQ(find_invalid_utf8(record.error().message), std::string_view::npos);
  EXPECT_LT(record.error().message.size(), 1024U);
  return record.error().message;
}

constexpr std::string_view kContract = R"(name: node-b
addresses: [192.0.2.2]
cidrs: [10.2.0.0/24]
labels: {role: web}
annotations:
  meshd.io/wireguard-public-key: "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="   # absent: no WireGuard
  meshd.io/wireguard-endpoint: "192.0.2.2:51820"
  meshd.io/wireguard-support: "none: REASON"
  meshd.io/host-traffic: "false"
)";

NodeRecord contract_record() {
  NodeRecord record;
  record.name = "node-b";
  record.addresses = {IpAddress::parse("192.0.2.2").value()};
  record.cidrs = {Cidr::parse("10.2.0.0/24").value()};
  record.labels = {{"role", "web"}};
  record.annotations = {
      {"meshd.io/wireguard-public-key", "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="},
      {"meshd.io/wireguard-endpoint", "192.0.2.2:51820"},
      {"meshd.io/wireguard-support", "none: REASON"},
      {"meshd.io/host-traffic", "false"}};
  return record;
}

TEST(RecordCodec, ReadsTheRecordOfTheContract) { EXPECT_EQ(read(kContract), contract_record()); }

TEST(RecordCodec, ReadsTheSameRecordFromJson) {
  const auto record = from_json(
      R"({"name": "node-b", "addresses": ["192.0.2.2"], "cidrs": ["10.2.0.0/24"],
          "labels": {"role": "web"},
          "annotations": {"meshd.io/wireguard-public-key": "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=",
                          "meshd.io/wireguard-endpoint": "192.0.2.2:51820",
                          "meshd.io/wireguard-support": "none: REASON",
                          "meshd.io/host-traffic": "false"}})");
  ASSERT_TRUE(record.has_value()) << record.error().message;
  EXPECT_EQ(*record, contract_record());
}

TEST(RecordCodec, WritesBlockStyleOneEntryALineWithAnnotationsInQuotes) {
  NodeRecord record = contract_record();
  record.addresses.push_back(IpAddress::parse("2001:db8::").value());
  EXPECT_EQ(format_record_yaml(record), R"(name: node-b
addresses:
  - 192.0.2.2
  - "2001:db8::"
cidrs:
  - 10.2.0.0/24
labels:
  role: web
annotations:
  meshd.io/host-traffic: "false"
  meshd.io/wireguard-endpoint: "192.0.2.2:51820"
  meshd.io/wireguard-public-key: "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
  meshd.io/wireguard-support: "none: REASON"
)");
  EXPECT_EQ(format_record_json(record).find('\n'), std::string::npos);
}

TEST(RecordCodec, WantsOnlyAName) {
  NodeRecord expected;
  expected.name = "node-b";
  EXPECT_EQ(read("name: node-b"), expected);
  EXPECT_EQ(read("{name: node-b, addresses: [], cidrs: , labels: {}, annotations: ~}"), expected);
  EXPECT_EQ(read("\xEF\xBB\xBF---\r\nname: node-b\r\n...\r\n"), expected);
  EXPECT_EQ(*from_json(R"({"name": "node-b", "cidrs": null})"), expected);
}

TEST(RecordCodec, IgnoresFieldsThatANewerVersionMayAdd) {
  NodeRecord expected;
  expected.name = "node-b";
  EXPECT_EQ(read("name: node-b\nfuture: {a: [1, {b: c}]}\nspec:\n  - x\n"), expected);
}

TEST(RecordCodec, TakesNumbersAndBoolsAsTheirText) {
  const auto record = read(
      "{name: node-b, labels: {a: 1, b: 1.0, c: true, d: 0x1F, e: 1e3, f: , g: '', h: no, 1: x}}");
  const std::map<std::string, std::string> expected = {{"a", "1"},    {"b", "1.0"}, {"c", "true"},
                                                       {"d", "0x1F"}, {"e", "1e3"}, {"f", ""},
                                                       {"g", ""},     {"h", "no"},  {"1", "x"}};
  EXPECT_EQ(record.labels, expected);
  const auto json = from_json(
      R"({"name": "node-b", "labels": {"a": 1, "b": 1.0, "c": true, "d": -5, "e": 1e3, "f": null}})");
  ASSERT_TRUE(json.has_value());
  EXPECT_EQ(json->labels,
            (std::map<std::string, std::string>{
                {"a", "1"}, {"b", "1.0"}, {"c", "true"}, {"d", "-5"}, {"e", "1e3"}, {"f", ""}}));
}

TEST(RecordCodec, ABadAddressOrPrefixCostsThatEntryOnly) {
  const std::string_view text = R"({"name": "node-b",
    "addresses": ["192.0.2.2", "192.0.2.", "fe80::1%eth0", "2001:db8::1", ["x"], null],
    "cidrs": ["10.2.0.0/24", "10.2.0.1/24", "10.0.0.0/33", {}, "nonsense", "10.9.0.1"]})";
  for (const auto& record : {from_yaml(text), from_json(text)}) {
    ASSERT_TRUE(record.has_value()) << record.error().message;
    EXPECT_EQ(record->addresses.size(), 2U);
    EXPECT_EQ(record->cidrs, (std::vector<Cidr>{Cidr::parse("10.2.0.0/24").value(),
                                                Cidr::parse("10.9.0.1/32").value()}));
    EXPECT_THAT(record->problems,
                ElementsAre(AllOf(StartsWith("addresses[1]: "), HasSubstr("'192.0.2.'")),
                            AllOf(StartsWith("addresses[2]: "), HasSubstr("fe80::1%eth0")),
                            AllOf(StartsWith("addresses[4]: "), HasSubstr("a list")),
                            AllOf(StartsWith("addresses[5]: "), HasSubstr("empty")),
                            AllOf(StartsWith("cidrs[1]: "), HasSubstr("write 10.2.0.0/24")),
                            AllOf(StartsWith("cidrs[2]: "), HasSubstr("0 to 32")),
                            AllOf(StartsWith("cidrs[3]: "), HasSubstr("a map")),
                            AllOf(StartsWith("cidrs[4]: "), HasSubstr("'nonsense'"))));
  }
}

TEST(RecordCodec, AProblemIsOneShortLineWhateverTheEntryHolds) {
  const auto record =
      read("name: node-b\naddresses: [\"a\\nb\\e[31m\", '" + std::string(100000, 'x') + "']\n");
  ASSERT_EQ(record.problems.size(), 2U);
  for (const std::string& problem : record.problems) {
    EXPECT_LT(problem.size(), 400U);
    for (const char c : problem) EXPECT_GE(static_cast<unsigned char>(c), 0x20U);
  }
}

struct Refusal {
  std::string_view text;
  std::string_view at;  // what follows the place
  std::string_view says;
};

TEST(RecordCodec, SaysWhereAndWhatIsWrong) {
  const std::vector<Refusal> refusals = {
      {"", ":1:1: ", "empty"},
      {"# nothing but a comment\n", ":1:1: ", "empty"},
      {"just text", ":1:1: ", "must be a map"},
      {"- a\n- b\n", ":1:1: ", "must be a map"},
      {"---\n", ":", "must be a map"},
      {"addresses: [192.0.2.1]\n", ":1:1: ", "add `name: node-b`"},
      {"name: node-c\n", ":1:7: ", "'node-c'"},
      {"name:\n", ":", "name must be text"},
      {"name: [node-b]\n", ":1:7: ", "a list"},
      {"name: Node-B\n", ":1:7: ", "make them equal"},
      {"name: node-b\naddresses: 192.0.2.1\n", ":2:12: ", "addresses must be a list"},
      {"name: node-b\ncidrs: {a: b}\n", ":2:8: ", "cidrs must be a list"},
      {"name: node-b\nlabels: [a]\n", ":2:9: ", "labels must be a map"},
      {"name: node-b\nlabels: a\n", ":2:9: ", "labels must be a map"},
      {"name: node-b\nannotations:\n  a: [b]\n", ":3:6: ", "'a' must be text"},
      {"name: node-b\nannotations:\n  a: {b: c}\n", ":3:6: ", "a map"},
      {"name: node-b\nlabels: {'': x}\n", ":2:", "an empty key"},
      {"name: node-b\nlabels: {\"a\\tb\": x}\n", ":2:", "control character"},
      {"name: node-b\nlabels: {[a]: x}\n", ":2:", "a key must be text"},
      {"name: node-b\nlabels: {~: x}\n", ":2:", "key is missing"},
      {"name: node-b\nname: node-b\n", ":2:1: ", "'name' stands here a second time"},
      {"name: node-b\nlabels:\n  a: 1\n  a: 2\n", ":4:3: ", "'a' stands here a second time"},
      {"name: node-b\nfuture: {x: 1, x: 2}\n", ":2:", "second time"},
      {"name: node-b\n---\nname: node-b\n", ":", "second document"},
      {"name: &a node-b\n", ":1:", "anchors"},
      {"name: node-b\nlabels: &l {a: b}\nannotations: *l\n", ":2:", "anchors"},
      {"name: node-b\nlabels: {a: \"\\0\"}\n", ":2:", "NUL"},
      {"name: node-b\ncidrs: [10.2.0.0/24\n", ":", "not YAML"},
      {"name: node-b\n  bad: indent\n", ":", "not YAML"},
      {"name: node-b\nlabels: {a: \"b}\n", ":", "not YAML"},
      {"name: node-b\nlabels:\n  a: \"b\\\"\n", ":3:6: ", "not closed"},
      {"name: node-b\nlabels:\n  a: 'b''\n \n", ":3:6: ", "not closed"},
      {"name: !!str node-b\n", ":1:7: ", "tags"},
      {"name: node-b\ncidrs: !x []\n", ":2:8: ", "tags"},
      {"%YAML 9.9\n---\nname: node-b\n", ":", "not YAML"},
      {"name: node-b\nlabels: {a: \"\\ud800\"}\n", ":2:", "not YAML"},
  };
  for (const Refusal& refusal : refusals)
    EXPECT_THAT(error_of(from_yaml(refusal.text)),
                AllOf(StartsWith(fmt::format("{}{}", kPlace, refusal.at)), HasSubstr(refusal.says)))
        << refusal.text;
}

TEST(RecordCodec, SaysWhereAndWhatIsWrongInJson) {
  const std::vector<Refusal> refusals = {
      {"", ":1:1: ", "empty"},
      {" \n\t", ":1:1: ", "empty"},
      {"[]", ": ", "must be a map"},
      {"{\"name\": \"node-b\"", ":1:", "ends too early"},
      {"{\"name\": \"node-b\"} {}", ":1:20: ", "not JSON"},
      {"{\n \"name\": nope}", ":2:", "not JSON"},
      {"{\"name\": \"node-c\"}", ": ", "'node-c'"},
      {"{\"name\": 7}", ": ", "'7'"},
      {"{\"name\": \"node-b\", \"name\": \"node-b\"}", ": ", "second time"},
      {"{\"name\": \"node-b\", \"cidrs\": \"x\"}", ": ", "cidrs must be a list"},
      {"{\"name\": \"node-b\", \"labels\": {\"a\": {}}}", ": ", "'a' must be text"},
      {"{\"name\": \"node-b\", \"labels\": {\"a\": \"\\u0000\"}}", ": ", "NUL"},
      {"{\"name\": \"node-b\", \"labels\": {\"a\": \"\\ud800\"}}", ":", "not JSON"},
      {"{\"name\": \"node-b\", \"x\": 1e999}", ":", "not JSON"},
  };
  for (const Refusal& refusal : refusals)
    EXPECT_THAT(error_of(from_json(refusal.text)),
                AllOf(StartsWith(fmt::format("etcd /meshd/nodes/node-b{}", refusal.at)),
                      HasSubstr(refusal.says)))
        << refusal.text;
}

TEST(RecordCodec, RefusesBytesThatAreNoText) {
  EXPECT_THAT(error_of(from_yaml(std::string("name: node-b\nlabels: {a: \0}\n", 27))),
              AllOf(HasSubstr(":2:13: "), HasSubstr("control character")));
  for (const std::string_view bad : {"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff",
                                     "\xe2\x82", "\xf0\x9f\x98"}) {
    EXPECT_THAT(error_of(from_yaml(fmt::format("name: node-b # {}", bad))), HasSubstr("UTF-8"));
    EXPECT_THAT(error_of(from_json(fmt::format("{{\"name\": \"{}\"}}", bad))), HasSubstr("UTF-8"));
  }
  using namespace std::string_literals;
  EXPECT_FALSE(from_yaml("\xff\xfen\0a\0m\0e\0"s).has_value()) << "UTF-16";
}

TEST(RecordCodec, RefusesWhatIsLargerThanARecord) {
  std::string text = "name: node-b\n#";
  text.resize(kMaxRecordBytes, 'x');
  EXPECT_TRUE(from_yaml(text).has_value());
  text += 'x';
  EXPECT_THAT(error_of(from_yaml(text)), HasSubstr("1048576"));
  EXPECT_THAT(error_of(from_json(text)), HasSubstr("1048576"));
}

std::string many(std::string_view field, std::size_t count, std::string_view form) {
  std::string text = fmt::format("{{\"name\": \"node-b\", \"{}\": {}", field, form.front());
  for (std::size_t i = 0; i < count; ++i)
    text += fmt::format("{}{}", i == 0 ? "" : ", ",
                        form == "[]" ? fmt::format("\"10.{}.{}.0/24\"", i / 256, i % 256)
                                     : fmt::format("\"k{}\": \"v\"", i));
  return text + std::string(1, form.back()) + "}";
}

TEST(RecordCodec, BoundsTheNumberOfEntries) {
  for (const auto& [field, form, limit] : {std::tuple{"cidrs", "[]", kMaxRecordCidrs},
                                           std::tuple{"addresses", "[]", kMaxRecordAddresses},
                                           std::tuple{"labels", "{}", kMaxRecordLabels},
                                           std::tuple{"annotations", "{}", kMaxRecordLabels}}) {
    EXPECT_TRUE(from_yaml(many(field, limit, form)).has_value()) << field;
    EXPECT_TRUE(from_json(many(field, limit, form)).has_value()) << field;
    for (const auto& record :
         {from_yaml(many(field, limit + 1, form)), from_json(many(field, limit + 1, form))})
      EXPECT_THAT(error_of(record),
                  AllOf(HasSubstr(field), HasSubstr(fmt::format("at most {}", limit))));
  }
}

TEST(RecordCodec, BoundsDepthAndNumberOfValues) {
  for (const char open : {'[', '{'}) {
    const std::string deep = "name: node-b\nx: " + std::string(500000, open);
    EXPECT_THAT(error_of(from_yaml(deep)), HasSubstr(":2:")) << open;
  }
  EXPECT_THAT(
      error_of(from_yaml("name: node-b\nx: " + std::string(100, '[') + std::string(100, ']'))),
      HasSubstr("nested too deeply"));
  EXPECT_THAT(error_of(from_json("{\"x\": " + std::string(500000, '['))), HasSubstr("nested"));
  std::string dashes;
  for (int i = 0; i < 100000; ++i) dashes += "- ";
  EXPECT_FALSE(from_yaml(dashes).has_value());
  std::string wide = "{\"name\": \"node-b\", \"x\": [1";
  for (int i = 0; i < 40000; ++i) wide += ",1";
  EXPECT_THAT(error_of(from_yaml(wide + "]}")), HasSubstr("values"));
  EXPECT_THAT(error_of(from_json(wide + "]}")), HasSubstr("values"));
}

TEST(RecordCodec, ATextThatStandsForAnEnormousOneCostsNothing) {
  std::string bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 20; ++i)
    bomb += fmt::format("a{}: &a{} [*a{},*a{},*a{},*a{},*a{},*a{},*a{},*a{}]\n", i, i, i - 1, i - 1,
                        i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
  EXPECT_THAT(error_of(from_yaml(bomb + "name: node-b\n")), HasSubstr("anchors"));
}

// ---- parse(format(record)) == record ----

std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> kPieces = {
      "a",      "Z",      "7",      "-",      "_",      ".",          "/",          " ",
      "  ",     "\t",     "\n",     "\r\n",   "\"",     "'",          "\\",         ":",
      ": ",     " #",     "#",      "{",      "}",      "[",          "]",          ",",
      "&",      "*",      "!",      "|",      ">",      "%",          "@",          "`",
      "?",      "~",      "<<",     "=",      "null",   "true",       "no",         "1e3",
      "0x1",    "\x01",   "\x1b",   "\x7f",   "\u0085", "\u00a0",     "\u00e9",     "\u2028",
      "\u2029", "\ufeff", "\ufffe", "\u202e", "\u4e2d", "\U0001F310", "\U0010FFFF", "---",
      "..."};
  std::string text;
  const auto count = std::uniform_int_distribution<int>(0, 12)(random);
  for (int i = 0; i < count; ++i)
    text += kPieces[std::uniform_int_distribution<std::size_t>(0, kPieces.size() - 1)(random)];
  return text;
}

std::string random_key(std::mt19937& random) {
  while (true) {
    const std::string text = random_text(random);
    bool usable = !text.empty();
    for (std::string_view rest = text; !rest.empty();) {
      const CodePoint c = decode_utf8(rest);
      usable = usable && !is_control(c.value);
      rest.remove_prefix(c.size);
    }
    if (usable) return text;
  }
}

TEST(RecordCodec, ReadsBackWhatItWroteWhateverTheText) {
  std::mt19937 random(20261122);
  std::set<std::string> seen;
  for (int i = 0; i < 3000; ++i) {
    NodeRecord record;
    record.name = "node-b";
    record.addresses = {IpAddress::v4(static_cast<std::uint32_t>(random()))};
    record.cidrs = {
        Cidr(IpAddress::parse("2001:db8::").value(), static_cast<int>(random() % 129)),
        Cidr(IpAddress::v4(static_cast<std::uint32_t>(random())), static_cast<int>(random() % 33))};
    for (int entry = 0; entry < 3; ++entry) {
      record.labels[random_key(random)] = random_text(random);
      record.annotations[random_key(random)] = random_text(random);
      seen.insert(record.labels.begin()->second);
    }
    const std::string yaml = format_record_yaml(record);
    EXPECT_EQ(read(yaml), record) << yaml;
    EXPECT_EQ(find_invalid_utf8(yaml), std::string_view::npos);
    const auto json = from_json(format_record_json(record));
    ASSERT_TRUE(json.has_value()) << json.error().message;
    EXPECT_EQ(*json, record);
  }
  EXPECT_GT(seen.size(), 1000U) << "the texts were different ones";
}

TEST(RecordCodec, ReadsBackKeysOfTheLongestKind) {
  for (const std::string& piece : {std::string("k"), std::string("\""), std::string("\u2028")}) {
    NodeRecord record;
    record.name = "node-b";
    std::string key;
    while (key.size() + piece.size() <= kMaxLabelKeyBytes) key += piece;
    record.labels[key] = "v";
    EXPECT_EQ(read(format_record_yaml(record)), record) << piece;
    record.labels = {{key + "xxx", "v"}};
    EXPECT_THAT(error_of(from_yaml(format_record_yaml(record))), HasSubstr("317"));
  }
}

TEST(RecordCodec, WritesNodeNamesThatLookLikeSomethingElse) {
  for (const char* name : {"1", "0x1f", "true", "null", "no", "1e3", "1.5", "2026-11-22", "y"}) {
    NodeRecord record;
    record.name = name;
    const auto yaml = parse_record_yaml(format_record_yaml(record), "test", name);
    ASSERT_TRUE(yaml.has_value()) << yaml.error().message;
    EXPECT_EQ(*yaml, record);
    EXPECT_THAT(format_record_yaml(record), StartsWith(fmt::format("name: \"{}\"\n", name)));
  }
}

TEST(RecordCodec, WritesBytesThatAreNotUtf8AsTheReplacementCharacter) {
  NodeRecord record;
  record.name = "node-b";
  record.labels["a"] = "x\xff\xc3y";
  EXPECT_EQ(read(format_record_yaml(record)).labels["a"], "x\uFFFD\uFFFDy");
  EXPECT_EQ(from_json(format_record_json(record))->labels["a"], "x\uFFFD\uFFFDy");
}

TEST(RecordCodec, ATruncatedRecordIsRefusedOrAPartOfTheWhole) {
  const NodeRecord whole = read(kContract);
  int refused = 0;
  for (std::size_t size = 0; size < kContract.size(); ++size)
    for (const char* end : {"", "\n", "\n\n"}) {
      const auto part = from_yaml(std::string(kContract.substr(0, size)) + end);
      refused += part ? 0 : 1;
      if (!part) continue;
      for (const auto& [key, value] : part->annotations)
        EXPECT_TRUE(value.empty() || whole.annotations.at(key) == value)
            << key << ": " << value << ", made of " << size << " bytes";
    }
  EXPECT_GT(refused, 100);
}

TEST(Utf8, PrintableTextIsOneHarmlessLine) {
  EXPECT_EQ(printable("plain \u00e9", 64), "plain \u00e9");
  EXPECT_EQ(printable("a\nb\x1b[31m\x7f", 64), "a\\x0ab\\x1b[31m\\x7f");
  EXPECT_EQ(printable("\xff\xe2\x82", 64), "???");
  EXPECT_EQ(printable("\u202etxt", 64), "?txt");
  EXPECT_EQ(printable(std::string(100, 'x'), 10), std::string(10, 'x') + "\u2026");
}

}  // namespace
}  // namespace mesh
