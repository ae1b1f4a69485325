// The text of nftables table "inet meshd": sets, chains and rules, without elements. Pure; any
// thread.
//
// What the rules promise:
// - A packet from a source outside @own to a prefix in @foreign gets the mark M before it is
// routed,
//   so that it keeps the path it had without meshd: a peer would refuse it inside WireGuard.
// - An IPv4 packet that a peer sent past the mesh bears M while it is routed, and at no other time,
//   so that the reverse-path check of a link that heeds marks (LinkSysctl::kSrcValidMark) looks for
//   the way back past the mesh too.
// - Every packet that a peer sent us or that we send to a peer is looked up in at most one counting
//   set per direction, exactly once; what goes between the nodes' own underlay addresses
//   (WireGuard's own packets among it) in none, but that of hosts when it is dropped. A counted
//   lookup is therefore the last match of its rule.
// - What must be encrypted and is not is dropped, on arrival and on leaving, whichever socket or
//   route it came from, and whatever address it was sent to: chains input and forward see behind
//   DNAT what the receiving chain could not know.
// - What own sends to a peer that is blocked is counted on its way to the route that refuses it.
// - With pins, a masqueraded connection that began past the mesh goes on there: the kernel drops a
//   packet of it that leaves by another device. Never where encryption is required. Its mark is one
//   bit of the connection's, pin_mark(); the others are never written.
// - With host traffic, what two nodes say to each other is held to the mesh by nftables alone
//   (chains hosts_*), but for WireGuard's own packets, probes of the path's MTU, neighbour
//   discovery and the failsafe ports.
// - What came through the mesh, and what goes to a prefix of @own, is not handed to a peer in
//   @closed_hop past the mesh: a prefix that moves is for a moment where its packets no longer are.
// - The maximum segment size of forwarded TCP connections through the mesh fits its MTU.
// - What a kernel may lack (NftExpressions) is left out; no guard and no counter needs any of it.
//
// Review notes: a rule that looks at a counting set must have every other condition before it. The
// receiving chain runs before DNAT and sees what the sender addressed; the sending one runs before
// SNAT and sees who really sent.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mesh/kernel.h"
#include "mesh/result.h"

namespace mesh {

inline constexpr std::string_view kNftTable = "meshd";

// "tx_wireguard4": the name of the kernel's set.
std::string nft_set_name(NftSet set, Family family);
bool nft_set_counts(NftSet set);

// One rule as the kernel gives it back: its chain and the comment we gave it, which is unique
// within the chain.
struct NftRuleLabel {
  std::string chain;
  std::string comment;
  friend auto operator<=>(const NftRuleLabel&, const NftRuleLabel&) = default;
};

// The bit of a connection's mark that pins it: the one below the lowest of M, or else the lowest
// not in M. Not M itself, which others may copy from a packet to its connection. 0: there is none
// left.
std::uint32_t pin_mark(std::uint32_t fwmark);

struct NftRuleset {
  std::string sets;
  std::string chains;
  std::string tag;                  // the table's comment: whose it is, and with which sets
  std::vector<NftRuleLabel> rules;  // sorted by chain; within a chain in the order of evaluation.
                                    // One of them tells one text of the chains from another.
};

// kInvalid: the device's name cannot be written in a ruleset, or the mark is 0.
Result<NftRuleset> make_ruleset(const NftSpec& spec);

// One transaction that drops the table if it is there, and makes it anew.
std::string whole_table(const NftRuleset& ruleset);
// One that replaces the chains of the table that is there, which are these, and leaves its sets
// with their elements and counters as they are. kInvalid: one of them cannot be written in a
// ruleset.
Result<std::string> rules_alone(const NftRuleset& ruleset, const std::vector<std::string>& there);

// The device that a table's comment names, whichever version of meshd wrote it; nothing when it is
// not meshd's.
std::optional<std::string> device_of_ruleset_tag(std::string_view tag);

}  // namespace mesh
