// The chains of nftables table "inet meshd", by subject, as values; nftables_ruleset.h says what
// they promise. For nftables_*.cc alone. Pure; any thread.
#pragma once

#include <array>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mesh/kernel.h"

namespace mesh::nft {

inline constexpr std::array kFamilies{Family::kIpv4, Family::kIpv6};

struct Rule {
  std::string match;
  std::string comment;  // nft allows 128 bytes; unique within the chain
};

struct Chain {
  std::string name;
  std::string hook;  // "" for a chain that is jumped to
  std::vector<Rule> rules;
};

// "ip", "ip6".
std::string_view protocol_word(Family family);
// "ip saddr != @own4 …": {ip} and {n} are the family's words.
std::string for_family(Family family, std::string_view pattern);

template <class T>
void append(std::vector<T>& to, std::vector<T> more) {
  std::move(more.begin(), more.end(), std::back_inserter(to));
}

// All that a spec asks for; chains that are jumped to come before those that jump.
std::vector<Chain> chains_of(const NftSpec& spec);

// What two nodes themselves say to each other: chains hosts_*.
std::vector<Chain> host_chains(const NftSpec& spec);

// Of IPv6 alone: lets it pass, of this link.
void add_neighbour_discovery(Family family, std::vector<Rule>& rules);

// Masqueraded connections that keep the path they began on.
bool pins(const NftSpec& spec);
std::string is_pinned(const NftSpec& spec);
std::vector<Chain> pin_chains(const NftSpec& spec);

}  // namespace mesh::nft
