#include "meshd/dataplane/nftables_ruleset.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "meshd/dataplane/nftables_chains.h"

namespace mesh {
namespace {

struct SetInfo {
  NftSet set;
  bool counts;
  std::string_view comment;
};

constexpr std::array<SetInfo, kNftSetCount> kSets{{
    {NftSet::kOwn, false, "the prefixes and addresses of this node's record"},
    {NftSet::kOwnAddress, false, "this node's underlay addresses"},
    {NftSet::kPeerAddress, false, "the peers' underlay addresses"},
    {NftSet::kPeer, false, "the peers' prefixes and addresses"},
    {NftSet::kForeign, true, "peers' prefixes; counts what went there from a source outside own"},
    {NftSet::kTxWireguard, true, "counts what was sent to peers through WireGuard"},
    {NftSet::kRxWireguard, true, "counts what came from peers through WireGuard"},
    {NftSet::kTxPlaintext, true, "counts what was sent to peers unencrypted"},
    {NftSet::kRxPlaintext, true, "counts what came from peers unencrypted"},
    {NftSet::kTxRequired, true, "sent to these unencrypted: dropped and counted"},
    {NftSet::kRxRequired, true, "received from these unencrypted: dropped and counted"},
    {NftSet::kTxBlocked, true, "counts what own sends to these, which the routes refuse"},
    {NftSet::kPinned, true, "counts what pinned connections sent to peers unencrypted"},
    {NftSet::kEncryptedHosts, true, "hosts sent to through WireGuard: else dropped and counted"},
    {NftSet::kRequiredHosts, true, "sent to hosts that must encrypt: else dropped and counted"},
    {NftSet::kRxRequiredHosts, true, "received from hosts that must encrypt: the same"},
    {NftSet::kClosedHop, true, "encrypted peers: what would be forwarded to them is dropped"},
}};

// FNV-1a: tells one text from another; nobody forges tables to meshd's own host.
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 14695981039346656037U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  return hash;
}

std::string set_text(const SetInfo& info, Family family) {
  return fmt::format("\n\tset {} {{\n\t\ttype {}\n\t\tflags interval\n{}\t\tcomment \"{}\"\n\t}}\n",
                     nft_set_name(info.set, family),
                     family == Family::kIpv4 ? "ipv4_addr" : "ipv6_addr",
                     info.counts ? "\t\tcounter\n" : "", info.comment);
}

std::string chain_text(const nft::Chain& chain) {
  std::string text = fmt::format("\n\tchain {} {{\n", chain.name);
  if (!chain.hook.empty()) text += fmt::format("\t\t{}\n", chain.hook);
  for (const nft::Rule& rule : chain.rules)
    text += fmt::format("\t\t{} comment \"{}\"\n", rule.match, rule.comment);
  return text + "\t}\n";
}

// What nft takes as a plain name between quotes: a '*' at the end would match every name that
// starts so.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() < 16 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_' || c == ':' || c == '@' || c == '+';
  });
}

constexpr std::string_view kTagStart = "meshd 3 ";
constexpr std::size_t kMostFormerPorts = 4;  // each is several rules
// Nothing jumps there: its one rule says from which text the others are.
constexpr std::string_view kTextChain = "made_from";

// As nft writes them; others might have made any.
bool is_plain_chain(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  });
}

Result<void> check_spec(const NftSpec& spec) {
  if (!is_plain_name(spec.device))
    return make_error(ErrorCode::kInvalid,
                      "nftables: the device name '{}' cannot be matched by a ruleset (use letters, "
                      "digits and . - _ : @ +)",
                      spec.device.substr(0, 64));
  if (spec.fwmark == 0)
    return make_error(ErrorCode::kInvalid, "nftables: the mark 0 would be on every packet");
  if (spec.former_ports.size() > kMostFormerPorts ||
      std::ranges::find(spec.former_ports, spec.listen_port) != spec.former_ports.end())
    return make_error(ErrorCode::kInvalid, "nftables: at most {} ports can have moved",
                      kMostFormerPorts);
  return {};
}

}  // namespace

std::string nft_set_name(NftSet set, Family family) {
  return fmt::format("{}{}", to_string(set), static_cast<int>(family));
}

std::uint32_t pin_mark(std::uint32_t fwmark) {
  const std::uint32_t lowest = fwmark & (~fwmark + 1);
  if (lowest > 1) return lowest >> 1U;
  return ~fwmark & (fwmark + 1);
}

bool nft_set_counts(NftSet set) {
  for (const SetInfo& info : kSets)
    if (info.set == set) return info.counts;
  return false;
}

Result<NftRuleset> make_ruleset(const NftSpec& spec) {
  if (auto valid = check_spec(spec); !valid) return valid.error();
  NftRuleset ruleset;
  for (const SetInfo& info : kSets)
    for (const Family family : nft::kFamilies) ruleset.sets += set_text(info, family);
  std::vector<nft::Chain> chains = nft::chains_of(spec);
  for (const nft::Chain& chain : chains) ruleset.chains += chain_text(chain);
  const std::string version = fmt::format("{:016x}", hash_of(ruleset.chains));
  chains.push_back({std::string(kTextChain), "", {{"return", version}}});
  ruleset.chains += chain_text(chains.back());
  for (const nft::Chain& chain : chains)
    for (const nft::Rule& rule : chain.rules) ruleset.rules.push_back({chain.name, rule.comment});
  std::stable_sort(ruleset.rules.begin(), ruleset.rules.end(),
                   [](const NftRuleLabel& a, const NftRuleLabel& b) { return a.chain < b.chain; });
  ruleset.tag = fmt::format("{}{} {:016x}", kTagStart, spec.device, hash_of(ruleset.sets));
  return ruleset;
}

std::string whole_table(const NftRuleset& ruleset) {
  return fmt::format(
      "table inet {0}\ndelete table inet {0}\ntable inet {0} {{\n\tcomment \"{1}\"\n{2}{3}}}\n",
      kNftTable, ruleset.tag, ruleset.sets, ruleset.chains);
}

Result<std::string> rules_alone(const NftRuleset& ruleset, const std::vector<std::string>& there) {
  std::string text;
  // All are emptied before one is deleted: they jump to each other.
  for (const char* act : {"flush", "delete"})
    for (const std::string& chain : there) {
      if (!is_plain_chain(chain))
        return make_error(ErrorCode::kInvalid,
                          "nftables: somebody else's chain in table inet {} has a name that cannot "
                          "be written",
                          kNftTable);
      // A base chain that stays keeps its hook: one made anew beside it is not there for a packet
      // that is between the two already, and the old one is empty by then.
      const bool stays =
          ruleset.chains.find(fmt::format("chain {} {{", chain)) != std::string::npos;
      if (stays && std::string_view(act) == "delete") continue;
      text += fmt::format("{} chain inet {} {}\n", act, kNftTable, chain);
    }
  return text + fmt::format("table inet {} {{{}}}\n", kNftTable, ruleset.chains);
}

std::optional<std::string> device_of_ruleset_tag(std::string_view tag) {
  constexpr std::string_view kMaker = "meshd ";
  if (!tag.starts_with(kMaker)) return std::nullopt;
  const std::string_view rest = tag.substr(kMaker.size());
  const std::size_t version_end = rest.find(' ');
  if (version_end == std::string_view::npos) return std::nullopt;
  const std::string_view device = rest.substr(version_end + 1);
  return std::string(device.substr(0, device.find(' ')));
}

}  // namespace mesh
