// The nftables ranges: disjoint, complete, owned by the most specific prefix, and the same however
// they came to be.
#include "core/accounting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "fakes/values.h"

namespace mesh {

void PrintTo(const NftElement& element, std::ostream* out) {
  *out << to_string(element.set) << " " << element.range.to_string();
}

namespace {

using test::cidr;
using test::ip;
using Elements = std::map<NftElement, std::string>;

// A space small enough to look at every address.
struct Space {
  const char* name;
  Cidr whole;
};
const Space kSpaces[] = {
    {"in the middle of IPv4", cidr("10.0.0.0/26")},
    {"at the first addresses of IPv4", cidr("0.0.0.0/26")},
    {"at the last addresses of IPv4", cidr("255.255.255.192/26")},
    {"in the middle of IPv6", cidr("fd00::/122")},
    {"at the first addresses of IPv6", cidr("::/122")},
    {"at the last addresses of IPv6", cidr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffc0/122")},
};

Accounting::Prefix workload(const std::string& node, bool required = false) {
  return {node, true, false, required};
}
Accounting::Prefix address(const std::string& node) { return {node, false, true, false}; }

std::map<IpRange, std::string> ranges_of(const Elements& elements, NftSet set) {
  std::map<IpRange, std::string> ranges;
  for (const auto& [element, node] : elements)
    if (element.set == set) ranges[element.range] = node;
  return ranges;
}

IpRange range(std::string_view first, std::string_view last) { return {ip(first), ip(last)}; }

class AccountingTest : public ::testing::Test {
 protected:
  std::map<IpRange, std::string> settle(NftSet set) {
    accounting_.settle(touched_);
    return ranges_of(accounting_.elements(), set);
  }
  Accounting accounting_;
  std::set<NftElement> touched_;
};

TEST_F(AccountingTest, OnePrefixIsOneRange) {
  accounting_.put(cidr("10.2.0.0/24"), workload("b"));
  EXPECT_THAT(settle(NftSet::kTxWireguard),
              ::testing::ElementsAre(std::pair(range("10.2.0.0", "10.2.0.255"), "b")));
}

TEST_F(AccountingTest, AMoreSpecificPrefixSplitsTheOneAroundIt) {
  accounting_.put(cidr("10.2.0.0/24"), workload("b"));
  accounting_.put(cidr("10.2.0.9/32"), workload("c"));
  EXPECT_THAT(settle(NftSet::kTxPlaintext),
              ::testing::ElementsAre(std::pair(range("10.2.0.0", "10.2.0.8"), "b"),
                                     std::pair(range("10.2.0.9", "10.2.0.9"), "c"),
                                     std::pair(range("10.2.0.10", "10.2.0.255"), "b")));
}

TEST_F(AccountingTest, PrefixesThatEndAtTheLastAddressDoNotWrapAround) {
  accounting_.put(cidr("255.255.255.0/24"), workload("b"));
  accounting_.put(cidr("255.255.255.255/32"), workload("c"));
  accounting_.put(cidr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120"), workload("d"));
  accounting_.put(cidr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"), workload("e"));
  EXPECT_EQ(settle(NftSet::kTxWireguard),
            (std::map<IpRange, std::string>{{range("255.255.255.0", "255.255.255.254"), "b"},
                                            {range("255.255.255.255", "255.255.255.255"), "c"},
                                            {range("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00",
                                                   "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"),
                                             "d"},
                                            {range("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                                                   "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                                             "e"}}));
}

TEST_F(AccountingTest, OnlyRequiredPrefixesAreInTheSetsThatDrop) {
  accounting_.put(cidr("10.2.0.0/24"), workload("b", true));
  accounting_.put(cidr("10.3.0.0/24"), workload("c", false));
  accounting_.put(cidr("192.0.2.2/32"), address("b"));
  EXPECT_THAT(settle(NftSet::kTxRequired),
              ::testing::ElementsAre(std::pair(range("10.2.0.0", "10.2.0.255"), "b")));
  EXPECT_EQ(settle(NftSet::kRxRequired), settle(NftSet::kTxRequired));
}

TEST_F(AccountingTest, AnUnderlayAddressDropsOnlyWhereItIsRequiredItself) {
  accounting_.put(cidr("10.2.0.0/24"), workload("b", true));
  accounting_.put(cidr("10.2.0.1/32"), address("b"));
  EXPECT_THAT(settle(NftSet::kTxRequired),
              ::testing::ElementsAre(std::pair(range("10.2.0.0", "10.2.0.0"), "b"),
                                     std::pair(range("10.2.0.2", "10.2.0.255"), "b")));
}

TEST_F(AccountingTest, HostsAreClosedByTheirOwnSetsAndWorkloadsNever) {
  Accounting::Prefix host = address("b");
  host.required = host.encrypted_host = host.required_host = true;
  accounting_.put(cidr("10.2.0.0/24"), workload("b", true));
  accounting_.put(cidr("192.0.2.2/32"), host);
  const auto only_the_address =
      ::testing::ElementsAre(std::pair(range("192.0.2.2", "192.0.2.2"), "b"));
  EXPECT_THAT(settle(NftSet::kEncryptedHosts), only_the_address);
  EXPECT_THAT(settle(NftSet::kRequiredHosts), only_the_address);
  EXPECT_EQ(settle(NftSet::kTxRequired).size(), 2U) << "workloads may not send to it in clear";
}

TEST_F(AccountingTest, AddressesAndPrefixesAreToldApart) {
  accounting_.put(cidr("10.2.0.0/24"), workload("b"));
  accounting_.put(cidr("192.0.2.2/32"), address("b"));
  EXPECT_THAT(settle(NftSet::kPeerAddress),
              ::testing::ElementsAre(std::pair(range("192.0.2.2", "192.0.2.2"), "b")));
  EXPECT_THAT(settle(NftSet::kForeign),
              ::testing::ElementsAre(std::pair(range("10.2.0.0", "10.2.0.255"), "b")));
  EXPECT_EQ(settle(NftSet::kRxPlaintext).size(), 2U);
}

TEST_F(AccountingTest, MyOwnPrefixesDoNotOverlapEachOther) {
  accounting_.set_own({cidr("10.1.0.0/16"), cidr("10.1.2.0/24"), cidr("fd00:1::/64")},
                      {ip("10.1.0.1"), ip("192.0.2.1")});
  EXPECT_THAT(
      settle(NftSet::kOwn),
      ::testing::ElementsAre(std::pair(range("10.1.0.0", "10.1.255.255"), ""),
                             std::pair(range("192.0.2.1", "192.0.2.1"), ""),
                             std::pair(range("fd00:1::", "fd00:1::ffff:ffff:ffff:ffff"), "")));
  EXPECT_THAT(settle(NftSet::kOwnAddress),
              ::testing::ElementsAre(std::pair(range("10.1.0.1", "10.1.0.1"), ""),
                                     std::pair(range("192.0.2.1", "192.0.2.1"), "")));
}

TEST_F(AccountingTest, APrefixIsRemovedByItsOwnerOnly) {
  accounting_.put(cidr("10.2.0.0/24"), workload("b"));
  accounting_.remove(cidr("10.2.0.0/24"), "c");
  EXPECT_EQ(settle(NftSet::kTxWireguard).size(), 1U);
  accounting_.remove(cidr("10.2.0.0/24"), "b");
  EXPECT_EQ(settle(NftSet::kTxWireguard).size(), 0U);
}

TEST_F(AccountingTest, SettlingAgainTouchesNothing) {
  accounting_.set_own({cidr("10.1.0.0/16")}, {});
  accounting_.put(cidr("10.2.0.0/24"), workload("b"));
  accounting_.settle(touched_);
  touched_.clear();
  accounting_.set_own({cidr("10.1.0.0/16")}, {});
  accounting_.put(cidr("10.2.0.0/24"), workload("b"));
  accounting_.settle(touched_);
  EXPECT_TRUE(touched_.empty());
}

TEST_F(AccountingTest, AChangeTouchesNothingOutsideTheWidestPrefixAroundIt) {
  for (int i = 0; i < 200; ++i)
    accounting_.put(Cidr(IpAddress::v4(0x0A000000U + (static_cast<std::uint32_t>(i) << 8U)), 24),
                    workload("n" + std::to_string(i)));
  accounting_.settle(touched_);
  touched_.clear();
  accounting_.put(cidr("10.0.7.8/32"), workload("x"));
  accounting_.settle(touched_);
  for (const NftElement& element : touched_)
    EXPECT_TRUE(cidr("10.0.7.0/24").contains(element.range.first));
}

// --- against a model that looks at every address ---

using Prefixes = std::map<Cidr, Accounting::Prefix>;

// What each address is counted as, found the slow way.
const Accounting::Prefix* owner_of(const Prefixes& prefixes, const IpAddress& address) {
  const Accounting::Prefix* owner = nullptr;
  int best = -1;
  for (const auto& [prefix, value] : prefixes)
    if (prefix.contains(address) && prefix.length() > best) {
      best = prefix.length();
      owner = &value;
    }
  return owner;
}

bool belongs(const Accounting::Prefix& prefix, NftSet set) {
  switch (set) {
    case NftSet::kForeign:
    case NftSet::kPinned:
      return prefix.workload;
    case NftSet::kPeerAddress:
      return prefix.address;
    case NftSet::kClosedHop:
      return prefix.address && prefix.closed;
    case NftSet::kTxRequired:
    case NftSet::kRxRequired:
      return prefix.required;
    case NftSet::kEncryptedHosts:
      return prefix.encrypted_host;
    case NftSet::kTxBlocked:
      return prefix.blocked;
    case NftSet::kRequiredHosts:
    case NftSet::kRxRequiredHosts:
      return prefix.required_host;
    case NftSet::kOwn:
    case NftSet::kOwnAddress:
      return false;
    default:
      return true;
  }
}

void expect_equal_to_naive(const Space& space, const Prefixes& prefixes, const Elements& elements) {
  std::vector<IpAddress> addresses{space.whole.base()};
  while (addresses.back() != space.whole.last()) addresses.push_back(addresses.back().next());
  std::vector<const Accounting::Prefix*> owners;
  for (const IpAddress& address : addresses) owners.push_back(owner_of(prefixes, address));

  for (int set = 0; set < kNftSetCount; ++set) {
    // Disjoint, in order, and each well formed: one walk over addresses and ranges together.
    const auto ranges = ranges_of(elements, static_cast<NftSet>(set));
    auto range = ranges.begin();
    for (std::size_t i = 0; i < addresses.size(); ++i) {
      const IpAddress& address = addresses[i];
      const bool owned = owners[i] != nullptr && belongs(*owners[i], static_cast<NftSet>(set));
      const bool counted = range != ranges.end() && range->first.first <= address;
      ASSERT_EQ(counted, owned) << address.to_string();
      if (!counted) continue;
      ASSERT_EQ(range->second, owners[i]->node) << address.to_string();
      ASSERT_LE(address, range->first.last);
      if (address == range->first.last) ++range;
    }
    ASSERT_EQ(range, ranges.end()) << "a range outside the space";
  }
}

class AccountingModel : public ::testing::TestWithParam<Space> {};

TEST_P(AccountingModel, RandomChangesEqualTheNaiveModelAndAFreshStart) {
  const Space space = GetParam();
  const int bits = address_bits(space.whole.family());
  for (unsigned seed = 1; seed <= 12; ++seed) {
    std::mt19937 random(seed);
    const auto pick = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    Accounting accounting;
    Prefixes prefixes;
    Elements kernel;  // what somebody who follows `touched` alone would hold
    for (int step = 0; step < 40; ++step) {
      for (int change = pick(1, 3); change > 0; --change) {
        IpAddress base = space.whole.base();
        for (int skip = pick(0, 63); skip > 0; --skip) base = base.next();
        const Cidr prefix(base, pick(bits - 6, bits));
        const auto known = prefixes.find(prefix);
        if (known != prefixes.end() && pick(0, 1) == 0) {
          accounting.remove(prefix, known->second.node);
          prefixes.erase(known);
          continue;
        }
        Accounting::Prefix value{"n" + std::to_string(pick(1, 4)), pick(0, 3) != 0, pick(0, 3) == 0,
                                 pick(0, 1) == 0, pick(0, 1) == 0};
        accounting.put(prefix, value);
        prefixes[prefix] = value;
      }
      std::set<NftElement> touched;
      accounting.settle(touched);
      ASSERT_NO_FATAL_FAILURE(expect_equal_to_naive(space, prefixes, accounting.elements()))
          << "seed " << seed << " step " << step;
      for (const NftElement& element : touched) {
        kernel.erase(element);
        if (const auto found = accounting.elements().find(element);
            found != accounting.elements().end())
          kernel.insert(*found);
      }
      ASSERT_EQ(kernel, accounting.elements()) << "seed " << seed << " step " << step;
    }
    Accounting fresh;
    for (const auto& [prefix, value] : prefixes) fresh.put(prefix, value);
    std::set<NftElement> touched;
    fresh.settle(touched);
    ASSERT_EQ(fresh.elements(), accounting.elements()) << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(AtBothEndsAndBetween, AccountingModel, ::testing::ValuesIn(kSpaces),
                         [](const auto& test) {
                           std::string name = test.param.name;
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

}  // namespace
}  // namespace mesh
