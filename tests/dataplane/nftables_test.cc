// Table "inet meshd" in the real kernel: the ruleset installs, its elements come and go, and what
// others do to it is noticed. What packets do in it is in nftables_packets_test.cc.
#include <gmock/gmock.h>

#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "dataplane/network_namespace.h"
#include "meshd/dataplane/nftables_elements.h"
#include "meshd/dataplane/nftables_ruleset.h"
#include "meshd/dataplane/nftables_table.h"

namespace mesh {
namespace {

using nlohmann::json;
using test::ip;
using test::run;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const NftSpec kSpec{.device = "mesh0", .fwmark = 0x2000};

IpRange range(const char* first, const char* last) { return {ip(first), ip(last)}; }
NftElement element(NftSet set, const char* first, const char* last) {
  return {set, range(first, last)};
}

class NftablesTest : public test::NamespaceTest {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    auto table = NftablesTable::open();
    ASSERT_TRUE(table) << table.error().message;
    table_.emplace(std::move(*table));
    auto elements = NftablesElements::open();
    ASSERT_TRUE(elements) << elements.error().message;
    elements_.emplace(std::move(*elements));
    const auto installed = table_->install(kSpec);
    ASSERT_TRUE(installed) << installed.error().message;
  }

  NftablesTable& table() { return *table_; }
  NftablesElements& elements() { return *elements_; }

  bool is_right(const NftSpec& spec) {
    const auto right = table().check(spec);
    return right && *right;
  }
  void apply(const std::vector<NftElementChange>& changes) {
    for (const auto& result : elements().apply(changes))
      EXPECT_TRUE(result) << result.error().message;
  }
  void put(const NftElement& wanted) { apply({{wanted, false}}); }
  void remove(const NftElement& wanted) { apply({{wanted, true}}); }
  std::vector<NftElement> read() {
    auto found = elements().read();
    EXPECT_TRUE(found) << found.error().message;
    return found ? *found : std::vector<NftElement>();
  }
  // What nft says of a set: "10.0.0.0-10.0.0.5 10.0.0.6".
  static std::string shown(const std::string& set) {
    const json listed = json::parse(run("nft -j list set inet meshd " + set));
    std::string text;
    for (const json& object : listed["nftables"]) {
      if (!object.contains("set") || !object["set"].contains("elem")) continue;
      for (const json& entry : object["set"]["elem"]) {
        const json& value = entry.contains("elem") ? entry["elem"]["val"] : entry;
        if (!text.empty()) text += " ";
        if (value.is_string())
          text += value.get<std::string>();
        else if (value.contains("range"))
          text += value["range"][0].get<std::string>() + "-" + value["range"][1].get<std::string>();
        else
          text += value["prefix"]["addr"].get<std::string>() + "/" +
                  std::to_string(value["prefix"]["len"].get<int>());
      }
    }
    return text;
  }

 private:
  std::optional<NftablesTable> table_;
  std::optional<NftablesElements> elements_;
};

// The table

TEST_F(NftablesTest, InstallsWithEverySetEmptyAndIsRecognised) {
  const auto right = table().check(kSpec);
  ASSERT_TRUE(right) << right.error().message;
  EXPECT_TRUE(*right);
  EXPECT_THAT(read(), IsEmpty());
  const std::string listed = run("nft list table inet meshd");
  for (int set = 0; set < kNftSetCount; ++set)
    for (const Family family : {Family::kIpv4, Family::kIpv6})
      EXPECT_THAT(listed, HasSubstr("set " + nft_set_name(static_cast<NftSet>(set), family)));
  EXPECT_THAT(listed, HasSubstr("priority mangle"));
}

TEST_F(NftablesTest, InstallingAgainReplacesTheTableAndLeavesForeignTablesAlone) {
  run("nft add table ip others && nft add chain ip others mine && "
      "nft add rule ip others mine tcp dport 22 counter accept");
  const std::string before = run("nft -s list table ip others");
  put(element(NftSet::kOwn, "10.1.0.0", "10.1.0.255"));
  const NftSpec other{.device = "mesh1", .fwmark = 0x4000};
  ASSERT_TRUE(table().install(other));
  EXPECT_TRUE(is_right(other));
  EXPECT_THAT(read(), IsEmpty());
  EXPECT_EQ(run("nft -s list table ip others"), before);
}

TEST_F(NftablesTest, AMissingTableIsNotFound) {
  run("nft flush ruleset");
  const auto right = table().check(kSpec);
  ASSERT_FALSE(right);
  EXPECT_EQ(right.error().code, ErrorCode::kNotFound);
  const auto found = elements().read();
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(table().install(kSpec, true).error().code, ErrorCode::kNotFound);
}

// What others do to the rules is put right while the guards' elements, and what they counted, stay.
TEST_F(NftablesTest, RulesThatOthersChangedAreReplacedUnderTheSetsAsTheyAre) {
  const NftElement one = element(NftSet::kTxRequired, "10.2.0.0", "10.2.0.255");
  put(one);
  for (const char* change :
       {"nft flush chain inet meshd arrives4", "nft add rule inet meshd forward accept",
        "nft insert rule inet meshd leaves6 return", "nft flush table inet meshd",
        "nft 'table inet meshd { chain mine { type filter hook input priority 0; counter; jump "
        "leaves4; }; }'",
        "nft delete rule inet meshd output handle $(nft -a list chain inet meshd output | grep -o "
        "'handle [0-9]*' | tail -1 | cut -d' ' -f2)"}) {
    ASSERT_TRUE(is_right(kSpec)) << change;
    run(change);
    const auto right = table().check(kSpec);
    ASSERT_TRUE(right) << right.error().message;
    EXPECT_FALSE(*right) << change;
    const auto installed = table().install(kSpec, true);
    ASSERT_TRUE(installed) << change << ": " << installed.error().message;
    EXPECT_THAT(read(), ElementsAre(one)) << change;
  }
  EXPECT_TRUE(is_right(kSpec));
}

TEST_F(NftablesTest, EveryTextFollowsEveryOtherUnderTheSameSets) {
  NftSpec pinned = kSpec;
  pinned.pins = true;
  NftSpec hosts = kSpec;
  hosts.listen_port = 51820;
  hosts.host_traffic = true;
  hosts.failsafe = default_failsafe_ports();
  NftSpec bare = hosts;
  bare.pins = true;
  bare.former_ports = {51819};
  bare.kernel_has = {false, false, false};
  const NftElement one = element(NftSet::kTxRequired, "10.2.0.0", "10.2.0.255");
  put(one);
  for (const NftSpec& from : {kSpec, pinned, hosts, bare, {"mesh0", 0x4000, 51821, {51820}}})
    for (const NftSpec& to : {kSpec, pinned, hosts, bare}) {
      ASSERT_TRUE(table().install(from, true));
      EXPECT_EQ(is_right(to), from == to);
      const auto installed = table().install(to, true);
      ASSERT_TRUE(installed) << installed.error().message;
      EXPECT_TRUE(is_right(to));
    }
  EXPECT_THAT(read(), ElementsAre(one));
}

TEST_F(NftablesTest, ATableThatSomebodyTurnedOffIsMadeAnew) {
  run("nft add table inet meshd '{ flags dormant; }'");
  const auto right = table().check(kSpec);
  ASSERT_FALSE(right);
  EXPECT_EQ(right.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(right.error().message, HasSubstr("dormant"));
  ASSERT_TRUE(table().install(kSpec));
  const auto again = table().check(kSpec);
  EXPECT_TRUE(again && *again);
  EXPECT_THAT(run("nft list table inet meshd"), Not(HasSubstr("dormant")));
  run("nft add table inet meshd '{ flags dormant; }'");
  const auto removed = table().remove();
  EXPECT_TRUE(removed && *removed == "mesh0") << "it is ours all the same";
}

TEST_F(NftablesTest, ATableOfSomebodyElsesIsNotOurs) {
  for (const char* comment : {"", "comment \"meshd 1 mesh0 0x2000 0000000000000000\";",
                              "comment \"meshd 9 whatever\";", "comment \"other\";"}) {
    run("nft delete table inet meshd");
    run(fmt::format("nft 'table inet meshd {{ {} }}'", comment));
    EXPECT_EQ(table().check(kSpec).error().code, ErrorCode::kNotFound) << comment;
    EXPECT_EQ(table().install(kSpec, true).error().code, ErrorCode::kNotFound) << comment;
  }
}

TEST_F(NftablesTest, TheKernelIsAskedForWhatItMayLackAndKeepsNothingOfTheQuestion) {
  const std::string before = run("nft list ruleset");
  EXPECT_EQ(table().probe({true, true, true}), (NftExpressions{true, true, true}))
      << "this kernel has them all";
  EXPECT_TRUE(table().takes("accept"));
  EXPECT_FALSE(table().takes("accept\njump nowhere")) << "as of what the kernel does not know";
  EXPECT_EQ(run("nft list ruleset"), before);
}

// Elements

TEST_F(NftablesTest, EverySetInBothFamiliesTakesReadsAndGivesBackAnElement) {
  std::vector<NftElementChange> puts;
  std::vector<NftElement> wanted;
  for (int set = 0; set < kNftSetCount; ++set)
    for (const auto& one : {range("10.2.0.0", "10.2.0.255"), range("fd02::", "fd02::ffff")}) {
      wanted.push_back({static_cast<NftSet>(set), one});
      puts.push_back({wanted.back(), false});
    }
  apply(puts);
  EXPECT_EQ(read(), wanted);
  EXPECT_EQ(shown("tx_plaintext4"), "10.2.0.0/24");
  EXPECT_EQ(shown("rx_required6"), "fd02::/112");
  for (auto& change : puts) change.remove = true;
  apply(puts);
  EXPECT_THAT(read(), IsEmpty());
}

struct Ends {
  const char* description;
  const char *a, *a_last, *b, *b_last, *c, *c_last;
};
class AdjacentRanges : public NftablesTest, public testing::WithParamInterface<Ends> {};

// Three ranges that touch, at the ends of the address space too; put in every order, and each
// removed from among the others.
TEST_P(AdjacentRanges, AreSeparateElementsInWhateverOrderTheyCome) {
  const Ends& e = GetParam();
  const std::array all{element(NftSet::kTxPlaintext, e.a, e.a_last),
                       element(NftSet::kTxPlaintext, e.b, e.b_last),
                       element(NftSet::kTxPlaintext, e.c, e.c_last)};
  std::array order{0U, 1U, 2U};
  do {
    for (const unsigned i : order) put(all[i]);
    EXPECT_THAT(read(), ElementsAre(all[0], all[1], all[2]));
    const auto counters = elements().read_counters();
    ASSERT_TRUE(counters);
    EXPECT_EQ(counters->size(), 3U);
    for (const unsigned i : order) {
      remove(all[i]);
      EXPECT_EQ(read().size(), 2U);
      put(all[i]);
      EXPECT_THAT(read(), ElementsAre(all[0], all[1], all[2]));
    }
    for (const unsigned i : order) remove(all[i]);
    EXPECT_THAT(read(), IsEmpty());
  } while (std::next_permutation(order.begin(), order.end()));
}

INSTANTIATE_TEST_SUITE_P(
    Ends, AdjacentRanges,
    testing::Values(
        Ends{"middle, IPv4", "10.0.0.0", "10.0.0.5", "10.0.0.6", "10.0.0.6", "10.0.0.7",
             "10.0.0.255"},
        Ends{"start, IPv4", "0.0.0.0", "0.0.0.0", "0.0.0.1", "0.0.0.255", "0.0.1.0",
             "9.255.255.255"},
        Ends{"end, IPv4", "255.255.255.0", "255.255.255.127", "255.255.255.128", "255.255.255.254",
             "255.255.255.255", "255.255.255.255"},
        Ends{"whole, IPv4", "0.0.0.0", "9.255.255.255", "10.0.0.0", "10.0.0.0", "10.0.0.1",
             "255.255.255.255"},
        Ends{"middle, IPv6", "fd00::", "fd00::5", "fd00::6", "fd00::6", "fd00::7", "fd00::ffff"},
        Ends{"start, IPv6", "::", "::", "::1", "::ff", "::100", "1::"},
        Ends{"end, IPv6", "ffff::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffef",
             "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
             "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}),
    [](const auto& instance) {
      std::string name = instance.param.description;
      name.erase(std::remove_if(name.begin(), name.end(), [](char c) { return !isalnum(c); }),
                 name.end());
      return name;
    });

TEST_F(NftablesTest, ElementsThatNftMadeAreReadAsTheyAre) {
  run("nft add element inet meshd own4 '{ 10.0.0.0-10.0.0.5, 10.0.0.6, 192.168.0.0/16, "
      "255.255.255.0/24 }' && nft add element inet meshd own6 '{ fd00::/64, ffff::/16 }'");
  EXPECT_THAT(read(), ElementsAre(element(NftSet::kOwn, "10.0.0.0", "10.0.0.5"),
                                  element(NftSet::kOwn, "10.0.0.6", "10.0.0.6"),
                                  element(NftSet::kOwn, "192.168.0.0", "192.168.255.255"),
                                  element(NftSet::kOwn, "255.255.255.0", "255.255.255.255"),
                                  element(NftSet::kOwn, "fd00::", "fd00::ffff:ffff:ffff:ffff"),
                                  element(NftSet::kOwn,
                                          "ffff::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")));
}

TEST_F(NftablesTest, WhatWeMadeNftReadsAsItIs) {
  apply({{element(NftSet::kOwn, "10.0.0.0", "10.0.0.5"), false},
         {element(NftSet::kOwn, "10.0.0.6", "10.0.0.6"), false},
         {element(NftSet::kOwn, "255.255.255.0", "255.255.255.255"), false}});
  EXPECT_EQ(shown("own4"), "10.0.0.0-10.0.0.5 10.0.0.6 255.255.255.0/24");
}

TEST_F(NftablesTest, PuttingWhatIsThereAndRemovingWhatIsNotAreSuccess) {
  const NftElement one = element(NftSet::kTxRequired, "10.2.0.0", "10.2.0.255");
  put(one);
  put(one);
  EXPECT_THAT(read(), ElementsAre(one));
  remove(one);
  remove(one);
  EXPECT_THAT(read(), IsEmpty());
}

TEST_F(NftablesTest, ARangeIsSplitAndJoinedInOneTransaction) {
  const NftElement whole = element(NftSet::kTxRequired, "10.2.0.0", "10.2.0.255");
  const NftElement left = element(NftSet::kTxRequired, "10.2.0.0", "10.2.0.99");
  const NftElement middle = element(NftSet::kTxRequired, "10.2.0.100", "10.2.0.100");
  const NftElement right = element(NftSet::kTxRequired, "10.2.0.101", "10.2.0.255");
  put(whole);
  apply({{whole, true}, {left, false}, {middle, false}, {right, false}});
  EXPECT_THAT(read(), ElementsAre(left, middle, right));
  apply({{left, true}, {middle, true}, {right, true}, {whole, false}});
  EXPECT_THAT(read(), ElementsAre(whole));
  EXPECT_EQ(shown("tx_required4"), "10.2.0.0/24");
}

TEST_F(NftablesTest, OneBadElementCostsOneElement) {
  put(element(NftSet::kOwn, "10.1.0.0", "10.1.0.255"));
  std::vector<NftElementChange> changes;
  for (int i = 0; i < 64; ++i) {
    const IpAddress address = IpAddress::v4(0x0a020000U + static_cast<std::uint32_t>(i) * 256);
    changes.push_back({{NftSet::kOwn, {address, address.last_in(24)}}, false});
  }
  changes[40].element.range = range("10.1.0.128", "10.1.1.5");
  const auto results = elements().apply(changes);
  for (std::size_t i = 0; i < results.size(); ++i) EXPECT_EQ(results[i].has_value(), i != 40) << i;
  EXPECT_EQ(results[40].error().code, ErrorCode::kExists);
  EXPECT_THAT(results[40].error().message, HasSubstr("10.1.0.128-10.1.1.5"));
  EXPECT_EQ(read().size(), 64U);
}

TEST_F(NftablesTest, AnOverlapInsideAnotherRangeIsRefused) {
  put(element(NftSet::kOwn, "10.1.0.0", "10.1.0.255"));
  for (const auto& overlap : {element(NftSet::kOwn, "10.1.0.5", "10.1.0.9"),
                              element(NftSet::kOwn, "10.1.0.0", "10.1.0.9"),
                              element(NftSet::kOwn, "10.0.0.0", "10.2.0.0"),
                              element(NftSet::kOwn, "10.1.0.255", "10.1.1.0")})
    EXPECT_FALSE(elements().apply({{{overlap, false}}}).front()) << overlap.range.to_string();
  EXPECT_THAT(read(), ElementsAre(element(NftSet::kOwn, "10.1.0.0", "10.1.0.255")));
}

TEST_F(NftablesTest, WithoutTheTablePutsFailQuicklyAndRemovalsSucceed) {
  run("nft delete table inet meshd");
  std::vector<NftElementChange> changes;
  for (std::uint32_t i = 0; i < 5000; ++i) {
    const IpAddress address = IpAddress::v4(0x0a020000U + i);
    changes.push_back({{NftSet::kOwn, {address, address}}, false});
  }
  for (const auto& result : elements().apply(changes)) {
    ASSERT_FALSE(result);
    ASSERT_EQ(result.error().code, ErrorCode::kNotFound);
  }
  remove(changes[0].element);
}

// Not asserted: a number for people.
TEST_F(NftablesTest, TwentyThousandElements) {
  std::vector<NftElementChange> changes;
  for (std::uint32_t i = 0; i < 10000; ++i) {
    const IpAddress four = IpAddress::v4(0x0b000000U + (i << 8));
    changes.push_back({{NftSet::kTxPlaintext, {four, four.last_in(24)}}, false});
    std::array<std::uint8_t, 16> bytes{0xfd, 0x0a};
    bytes[4] = static_cast<std::uint8_t>(i >> 8);
    bytes[5] = static_cast<std::uint8_t>(i);
    const IpAddress six = *IpAddress::from_bytes(bytes);
    changes.push_back({{NftSet::kTxPlaintext, {six, six.last_in(64)}}, false});
  }
  using Clock = std::chrono::steady_clock;
  const auto took = [](Clock::time_point since) {
    return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
  };
  auto start = Clock::now();
  apply(changes);
  const double put_ms = took(start);
  start = Clock::now();
  ASSERT_TRUE(table().install({.device = "mesh0", .fwmark = 0x4000}, true));
  const double rules_ms = took(start);
  start = Clock::now();
  EXPECT_EQ(elements().read_counters()->size(), changes.size());
  const double read_ms = took(start);
  const NftElement one = element(NftSet::kTxPlaintext, "10.200.0.0", "10.200.0.255");
  start = Clock::now();
  put(one);
  const double one_ms = took(start);
  remove(one);
  for (auto& change : changes) change.remove = true;
  start = Clock::now();
  apply(changes);
  const double remove_ms = took(start);
  EXPECT_THAT(read(), IsEmpty());
  std::cout << fmt::format(
      "20,000 elements: put {:.0f} ms, other rules under them {:.0f} ms, read with counters {:.0f} "
      "ms, "
      "one more {:.2f} ms, remove {:.0f} ms\n",
      put_ms, rules_ms, read_ms, one_ms, remove_ms);
}

}  // namespace
}  // namespace mesh
