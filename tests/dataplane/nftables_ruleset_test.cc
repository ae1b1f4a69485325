// The text of table "inet meshd" as an engineer reads it with `nft list table inet meshd`.
#include "meshd/dataplane/nftables_ruleset.h"

#include <gmock/gmock.h>

#include <set>

namespace mesh {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

const NftSpec kSpec{.device = "mesh0", .fwmark = 0x2000};

NftSpec host_spec() {
  NftSpec spec = kSpec;
  spec.listen_port = 51820;
  spec.host_traffic = true;
  spec.failsafe = default_failsafe_ports();
  spec.failsafe.push_back({IpProtocol::kTcp, {12379, 12379}, *IpAddress::parse("192.0.2.9")});
  spec.failsafe.push_back({IpProtocol::kTcp, {2380, 2400}, {}});
  return spec;
}

constexpr std::string_view kChains = R"(
	chain arrives4 {
		iifname "mesh0" ip saddr @rx_wireguard4 return comment "count: came through WireGuard"
		iifname "mesh0" return comment "through WireGuard, from a prefix no peer has now"
		ip saddr @own4 ip daddr @tx_blocked4 continue comment "count: the routes refuse it"
		ip saddr != @own4 ip daddr != @peer_address4 ip daddr @tx_required4 drop comment "guard: IPv4 source not in this node's record"
		meta mark & 0x00002000 != 0x00002000 ip saddr != @own4 ip daddr @foreign4 meta mark set meta mark | 0x00002000 comment "source not in this node's record: keeps the path it had without meshd"
		ip saddr @peer_address4 ip daddr @own_address4 return comment "node to node, WireGuard's own packets too: neither counted nor guarded"
		ip daddr @own4 ip saddr @rx_required4 drop comment "guard: had to come through WireGuard"
		ip daddr @own4 ip saddr @rx_plaintext4 return comment "count: came unencrypted"
	}

	chain arrives6 {
		iifname "mesh0" ip6 saddr @rx_wireguard6 return comment "count: came through WireGuard"
		iifname "mesh0" return comment "through WireGuard, from a prefix no peer has now"
		ip6 saddr @own6 ip6 daddr @tx_blocked6 continue comment "count: the routes refuse it"
		ip6 saddr != @own6 ip6 daddr != @peer_address6 ip6 daddr @tx_required6 drop comment "guard: IPv6 source not in this node's record"
		meta mark & 0x00002000 != 0x00002000 ip6 saddr != @own6 ip6 daddr @foreign6 meta mark set meta mark | 0x00002000 comment "source not in this node's record: keeps the path it had without meshd"
		ip6 saddr @peer_address6 ip6 daddr @own_address6 return comment "node to node, WireGuard's own packets too: neither counted nor guarded"
		ip6 daddr @own6 ip6 saddr @rx_required6 drop comment "guard: had to come through WireGuard"
		ip6 daddr @own6 ip6 saddr @rx_plaintext6 return comment "count: came unencrypted"
	}

	chain leaves4 {
		oifname "mesh0" ip daddr @tx_wireguard4 return comment "count: goes through WireGuard"
		oifname "mesh0" return comment "through WireGuard, to a prefix no peer has now"
		ip daddr @peer_address4 ip saddr @own_address4 return comment "node to node, WireGuard's own packets too: neither counted nor guarded"
		ip saddr @own4 ip daddr @tx_required4 drop comment "guard: has to go through WireGuard"
		ip daddr != @peer_address4 ip daddr @tx_required4 drop comment "guard: to a peer's workloads from whatever source"
		ip daddr @own4 rt ip nexthop @closed_hop4 drop comment "guard: a prefix of this node, at another one by now: not there in plaintext"
		ip saddr @own4 ip daddr @tx_plaintext4 return comment "count: goes unencrypted"
	}

	chain leaves6 {
		oifname "mesh0" ip6 daddr @tx_wireguard6 return comment "count: goes through WireGuard"
		oifname "mesh0" return comment "through WireGuard, to a prefix no peer has now"
		ip6 daddr @peer_address6 ip6 saddr @own_address6 return comment "node to node, WireGuard's own packets too: neither counted nor guarded"
		ip6 saddr @own6 ip6 daddr @tx_required6 drop comment "guard: has to go through WireGuard"
		ip6 daddr != @peer_address6 ip6 daddr @tx_required6 drop comment "guard: to a peer's workloads from whatever source"
		ip6 daddr @own6 rt ip6 nexthop @closed_hop6 drop comment "guard: a prefix of this node, at another one by now: not there in plaintext"
		ip6 saddr @own6 ip6 daddr @tx_plaintext6 return comment "count: goes unencrypted"
	}

	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		iifname "lo" return comment "this host to itself"
		meta nfproto ipv4 jump arrives4 comment "everything else of IPv4"
		meta nfproto ipv6 jump arrives6 comment "everything else of IPv6"
	}

	chain prerouting_last {
		type filter hook prerouting priority security; policy accept;
		iifname != "mesh0" ip saddr @peer4 ip daddr != @peer4 meta mark set meta mark | 0x00002000 comment "came past the mesh: so does the reverse-path check"
	}

	chain input_first {
		type filter hook input priority raw; policy accept;
		iifname != "mesh0" ip saddr @peer4 ip daddr != @peer4 meta mark set meta mark & 0xffffdfff comment "routed: the mark has done"
	}

	chain forward_first {
		type filter hook forward priority raw; policy accept;
		iifname != "mesh0" ip saddr @peer4 ip daddr != @peer4 meta mark set meta mark & 0xffffdfff comment "routed: the mark has done"
	}

	chain output {
		type route hook output priority mangle; policy accept;
		oifname != "lo" ip saddr != @own4 ip daddr != @peer_address4 ip daddr @tx_required4 drop comment "guard: IPv4 source not in this node's record"
		oifname != "lo" meta mark & 0x00002000 != 0x00002000 ip saddr != @own4 ip daddr @foreign4 meta mark set meta mark | 0x00002000 comment "IPv4 source not in this node's record: keeps the path it had without meshd"
		oifname != "lo" ip6 saddr != @own6 ip6 daddr != @peer_address6 ip6 daddr @tx_required6 drop comment "guard: IPv6 source not in this node's record"
		oifname != "lo" meta mark & 0x00002000 != 0x00002000 ip6 saddr != @own6 ip6 daddr @foreign6 meta mark set meta mark | 0x00002000 comment "IPv6 source not in this node's record: keeps the path it had without meshd"
	}

	chain input {
		type filter hook input priority mangle; policy accept;
		iifname "lo" return comment "this host to itself"
		icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect } ip6 hoplimit 255 return comment "neighbour discovery: of this link, by its hop limit"
		iifname != "mesh0" ip saddr != @peer_address4 ip saddr @rx_required4 drop comment "guard: IPv4 had to come through WireGuard, whatever it was sent to"
		iifname != "mesh0" ip6 saddr != @peer_address6 ip6 saddr @rx_required6 drop comment "guard: IPv6 had to come through WireGuard, whatever it was sent to"
	}

	chain forward {
		type filter hook forward priority mangle; policy accept;
		iifname != "mesh0" ip saddr != @peer_address4 ip daddr @own4 ip saddr @rx_required4 drop comment "guard: IPv4 had to come through WireGuard, whatever it was sent to"
		iifname != "mesh0" ip6 saddr != @peer_address6 ip6 daddr @own6 ip6 saddr @rx_required6 drop comment "guard: IPv6 had to come through WireGuard, whatever it was sent to"
		iifname "mesh0" oifname != "mesh0" rt ip nexthop @closed_hop4 drop comment "guard: IPv4 that came encrypted does not leave to an encrypted peer in plaintext"
		iifname "mesh0" oifname != "mesh0" rt ip6 nexthop @closed_hop6 drop comment "guard: IPv6 that came encrypted does not leave to an encrypted peer in plaintext"
		oifname "mesh0" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu comment "TCP into the mesh: segments that fit its MTU"
		iifname "mesh0" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu comment "TCP out of the mesh: segments that fit its MTU"
	}

	chain postrouting {
		type filter hook postrouting priority filter; policy accept;
		oifname "lo" return comment "this host to itself"
		meta nfproto ipv4 jump leaves4 comment "everything else of IPv4"
		meta nfproto ipv6 jump leaves6 comment "everything else of IPv6"
	}
)";

TEST(NftablesRuleset, TheChainsAreThese) {
  const auto ruleset = make_ruleset(kSpec);
  ASSERT_TRUE(ruleset) << ruleset.error().message;
  EXPECT_THAT(ruleset->chains, HasSubstr(std::string(kChains.substr(1))));
}

TEST(NftablesRuleset, WithPinsMasqueradedConnectionsKeepTheirPathUnlessEncryptionIsRequired) {
  NftSpec spec = kSpec;
  spec.pins = true;
  const auto ruleset = make_ruleset(spec);
  ASSERT_TRUE(ruleset) << ruleset.error().message;
  EXPECT_THAT(ruleset->chains,
              HasSubstr("ct mark & 0x00001000 == 0x00001000 ip daddr != @peer_address4 ip daddr "
                        "@tx_required4 ct mark set ct mark & 0xffffefff drop"));
  EXPECT_THAT(ruleset->chains, HasSubstr("ct mark & 0x00001000 == 0x00001000 ct direction original "
                                         "meta mark set meta mark | 0x00002000"));
  EXPECT_THAT(make_ruleset(kSpec)->chains, Not(HasSubstr("ct mark")))
      << "connection tracking is turned on for nobody";
}

TEST(NftablesRuleset, ThePinIsOneBitBesideTheMarkAndNeverOneOfItsOwn) {
  EXPECT_EQ(pin_mark(0x2000), 0x1000U);
  EXPECT_EQ(pin_mark(0x6000), 0x1000U);
  EXPECT_EQ(pin_mark(1), 2U);
  EXPECT_EQ(pin_mark(7), 8U);
  EXPECT_EQ(pin_mark(0xffffffff), 0U);
  NftSpec spec{.device = "mesh0", .fwmark = 0xffffffff};
  spec.pins = true;
  EXPECT_THAT(make_ruleset(spec)->chains, Not(HasSubstr("ct mark")));
}

TEST(NftablesRuleset, OneTransactionReplacesTheTableOrItsRulesAlone) {
  const NftRuleset ruleset = *make_ruleset(kSpec);
  EXPECT_THAT(whole_table(ruleset),
              StartsWith("table inet meshd\ndelete table inet meshd\ntable inet meshd {\n"));
  const auto rules = rules_alone(ruleset, {"arrives4", "theirs"});
  ASSERT_TRUE(rules);
  EXPECT_THAT(*rules, StartsWith("flush chain inet meshd arrives4\nflush chain inet meshd theirs\n"
                                 "delete chain inet meshd theirs\n"
                                 "table inet meshd {\n\tchain arrives4 {"));
  EXPECT_THAT(*rules, Not(HasSubstr("\tset ")));
  for (const char* name : {"", "a b", "a;flush ruleset", "a\nb"})
    EXPECT_FALSE(rules_alone(ruleset, {name})) << name;
}

// Whatever a kernel lacks, each guard and each counter stays; only what stands on it goes.
TEST(NftablesRuleset, WithoutOptionalExpressionsTheGuardsAndCountersStay) {
  NftSpec spec = host_spec();
  spec.pins = true;
  spec.former_ports = {51819};
  const NftRuleset whole = *make_ruleset(spec);
  spec.kernel_has = {false, false, false};
  const NftRuleset bare = *make_ruleset(spec);
  for (const char* optional :
       {"ct mark", "ct status", "fib daddr", "fib saddr", "socket wildcard"}) {
    EXPECT_THAT(whole.chains, HasSubstr(optional));
    EXPECT_THAT(bare.chains, Not(HasSubstr(optional)));
  }
  for (const NftRuleLabel& rule : whole.rules) {
    const bool needed = rule.comment.starts_with("guard") || rule.comment.starts_with("count") ||
                        rule.comment.find("failsafe") != std::string::npos;
    const bool of_pins = rule.comment.find("pinned") != std::string::npos ||
                         rule.comment == "count: goes unencrypted, as it began";
    if (!needed || of_pins) continue;
    EXPECT_THAT(bare.rules, testing::Contains(rule)) << rule.chain << ": " << rule.comment;
  }
  EXPECT_THAT(bare.chains,
              HasSubstr("ip daddr @peer_address4 ip saddr @own_address4 goto hosts_leave4"));
  EXPECT_THAT(bare.chains,
              HasSubstr("ip6 daddr @own_address6 udp dport 51819 udp dport set 51820"));
  spec.kernel_has = {true, false, true};
  EXPECT_THAT(make_ruleset(spec)->chains, Not(HasSubstr("ct mark"))) << "a pin needs both";
}

TEST(NftablesRuleset, EverySetIsThereOncePerFamilyAndCountsWhereItSays) {
  const std::string text = make_ruleset(kSpec)->sets;
  for (int i = 0; i < kNftSetCount; ++i)
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
      const auto set = static_cast<NftSet>(i);
      const std::string start = fmt::format("\tset {} {{\n\t\ttype {}\n\t\tflags interval\n\t\t{}",
                                            nft_set_name(set, family),
                                            family == Family::kIpv4 ? "ipv4_addr" : "ipv6_addr",
                                            nft_set_counts(set) ? "counter" : "comment");
      EXPECT_THAT(text, HasSubstr(start));
    }
  EXPECT_FALSE(nft_set_counts(NftSet::kOwn));
  EXPECT_TRUE(nft_set_counts(NftSet::kRxRequired));
}

// A counter counts whenever its set is looked at: nothing may be able to refuse the packet
// afterwards.
TEST(NftablesRuleset, ACountedLookupIsTheLastMatchOfItsRule) {
  NftSpec pinned = kSpec;
  pinned.pins = true;
  for (const NftSpec& spec : {kSpec, host_spec(), pinned}) {
    const std::string text = make_ruleset(spec)->chains;
    for (int i = 0; i < kNftSetCount; ++i) {
      const auto set = static_cast<NftSet>(i);
      if (!nft_set_counts(set)) continue;
      for (const Family family : {Family::kIpv4, Family::kIpv6}) {
        const std::string lookup = "@" + nft_set_name(set, family) + " ";
        std::size_t found = 0;
        for (std::size_t at = text.find(lookup); at != std::string::npos;
             at = text.find(lookup, at + 1)) {
          ++found;
          const std::string_view rest = std::string_view(text).substr(at + lookup.size());
          EXPECT_TRUE(rest.starts_with("return") || rest.starts_with("drop") ||
                      rest.starts_with("continue") || rest.starts_with("meta mark set") ||
                      rest.starts_with("ct mark set"))
              << lookup;
        }
        const bool of_hosts = set == NftSet::kEncryptedHosts || set == NftSet::kRequiredHosts ||
                              set == NftSet::kRxRequiredHosts;
        const bool of_pins = set == NftSet::kPinned;
        EXPECT_EQ(found > 0, (spec.host_traffic || !of_hosts) && (spec.pins || !of_pins)) << lookup;
      }
    }
  }
}

TEST(NftablesRuleset, HostTrafficIsGuardedButForWhatIsExempt) {
  EXPECT_THAT(make_ruleset(kSpec)->chains, Not(HasSubstr("hosts_")));
  const std::string text = make_ruleset(host_spec())->chains;
  for (const char* rule :
       {"ip daddr @peer_address4 fib saddr type local goto hosts_leave4",
        "ip6 saddr @peer_address6 fib daddr type local goto hosts_arrive6",
        "meta mark & 0x00002000 == 0x00002000 udp sport { 51820 } return",
        "udp dport { 51820 } return", "ip frag-off & 0x1fff != 0 return",
        "tcp dport { 22, 53, 179, 2379-2400, 6443 } return", "udp sport { 53, 67-68 } return",
        "ip daddr 192.0.2.9 tcp dport 12379 return", "ip saddr 192.0.2.9 tcp sport 12379 return",
        "ip daddr @required_hosts4 drop", "ip6 saddr @own6 ip6 daddr @encrypted_hosts6 drop"})
    EXPECT_THAT(text, HasSubstr(rule));
}

TEST(NftablesRuleset, CommentsAreUniqueWithinAChainAndShortEnoughForNft) {
  for (const NftSpec& spec : {kSpec, host_spec()}) {
    std::set<NftRuleLabel> seen;
    const auto ruleset = make_ruleset(spec);
    for (const NftRuleLabel& rule : ruleset->rules) {
      EXPECT_TRUE(seen.insert(rule).second) << rule.chain << ": " << rule.comment;
      EXPECT_LE(rule.comment.size(), 127U);
    }
    EXPECT_GT(seen.size(), 20U);
  }
}

TEST(NftablesRuleset, TheTagSaysWhoseTheTableIsAndOneRuleFromWhichTextTheOthersAre) {
  const auto version = [](const NftSpec& spec) {
    const NftRuleset ruleset = *make_ruleset(spec);
    for (const NftRuleLabel& rule : ruleset.rules)
      if (rule.chain == "made_from") return rule.comment;
    return std::string();
  };
  EXPECT_NE(version(kSpec), "");
  EXPECT_NE(version(kSpec), version({"mesh0", 0x4000}));
  NftSpec other = host_spec();
  other.failsafe.pop_back();
  EXPECT_NE(version(host_spec()), version(other)) << "also where no comment differs";
  EXPECT_EQ(make_ruleset(kSpec)->tag, make_ruleset(other)->tag) << "the sets are the same";
  EXPECT_NE(make_ruleset(kSpec)->tag, make_ruleset({"mesh1", 0x2000})->tag);
  EXPECT_LE(make_ruleset({"verylongname-15", 0xffff0000})->tag.size(), 127U);
}

TEST(NftablesRuleset, AFormerPortLeadsToTheNewOneOnceSomebodyListensThere) {
  EXPECT_THAT(make_ruleset(kSpec)->chains, Not(HasSubstr("moved_port")));
  const auto moved = make_ruleset({"mesh0", 0x2000, 51821, {51820}});
  ASSERT_TRUE(moved);
  EXPECT_THAT(moved->chains, HasSubstr("udp dport 51820 udp dport set 51821"));
  EXPECT_THAT(moved->chains, HasSubstr("udp dport 51821 socket wildcard <= 1 accept"));
  EXPECT_THAT(moved->chains, HasSubstr("udp dport 51821 udp dport set 51820"));
  EXPECT_FALSE(make_ruleset({"mesh0", 0x2000, 51820, {51820}})) << "a port cannot lead to itself";
}

TEST(NftablesRuleset, TheMakersDeviceIsReadFromTheTagOfAnyVersion) {
  EXPECT_EQ(device_of_ruleset_tag(make_ruleset(kSpec)->tag), "mesh0");
  EXPECT_EQ(device_of_ruleset_tag("meshd 9 mesh7 what comes later"), "mesh7");
  for (const char* tag : {"", "meshd", "meshd 1", "meshdx 1 mesh0", "somebody 1 mesh0"})
    EXPECT_EQ(device_of_ruleset_tag(tag), std::nullopt) << tag;
}

TEST(NftablesRuleset, NamesThatNftWouldReadAsSomethingElseAreRefused) {
  for (const char* name : {"", "mesh*", "me\"sh", "me\\sh", "me sh", "me;sh", "sixteencharacter"}) {
    const auto ruleset = make_ruleset({name, 0x2000});
    ASSERT_FALSE(ruleset) << name;
    EXPECT_EQ(ruleset.error().code, ErrorCode::kInvalid);
  }
  EXPECT_FALSE(make_ruleset({"mesh0", 0}));
}

}  // namespace
}  // namespace mesh
