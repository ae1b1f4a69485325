#include "meshd/dataplane/nftables_ruleset.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>

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
    {NftSet::kPinned, true, "counts what pinned connections sent to peers unencrypted"},
    {NftSet::kEncryptedHosts, true, "hosts sent to through WireGuard: else dropped and counted"},
    {NftSet::kRequiredHosts, true, "hosts that must encrypt: else dropped and counted"},
    {NftSet::kClosedHop, true, "encrypted peers: what would be forwarded to them is dropped"},
}};

constexpr std::array kFamilies{Family::kIpv4, Family::kIpv6};

struct NftRule {
  std::string match;
  std::string comment;  // nft allows 128 bytes; unique within the chain
};

struct Chain {
  std::string name;
  std::string hook;  // "" for a chain that is jumped to
  std::vector<NftRule> rules;
};

// FNV-1a: tells one text from another; nobody forges tables to meshd's own host.
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 14695981039346656037U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  return hash;
}

std::string_view protocol_word(Family family) { return family == Family::kIpv4 ? "ip" : "ip6"; }

// "ip saddr != @own4 …": {ip} and {n} are the family's words.
std::string for_family(Family family, std::string_view pattern) {
  std::string text(pattern);
  const auto replace = [&](std::string_view from, std::string_view to) {
    for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at))
      text.replace(at, from.size(), to);
  };
  replace("{ip}", protocol_word(family));
  replace("{n}", family == Family::kIpv4 ? "4" : "6");
  return text;
}

std::string keep_old_path(Family family, std::uint32_t mark) {
  return fmt::format("meta mark & {0:#010x} != {0:#010x} {1} meta mark set meta mark | {0:#010x}",
                     mark, for_family(family, "{ip} saddr != @own{n} {ip} daddr @foreign{n}"));
}

void append(std::vector<NftRule>& rules, std::vector<NftRule> more) {
  std::move(more.begin(), more.end(), std::back_inserter(rules));
}

bool pins(const NftSpec& spec) { return spec.pins && pin_mark(spec.fwmark) != 0; }

std::string is_pinned(const NftSpec& spec) {
  return fmt::format("ct mark & {0:#010x} == {0:#010x}", pin_mark(spec.fwmark));
}

// Node to node: none of it is counted, for WireGuard's own packets are among it. With host traffic,
// of whatever address of this host.
NftRule between_nodes(Family family, const NftSpec& spec, std::string_view peer,
                      std::string_view own_address, std::string_view any_address,
                      std::string_view guard_chain) {
  const std::string match = for_family(family, peer) + " ";
  if (!spec.host_traffic)
    return {match + for_family(family, own_address) + " return",
            "node to node, WireGuard's own packets too: neither counted nor guarded"};
  return {fmt::format("{}{} goto {}", match, any_address, for_family(family, guard_chain)),
          "node to node: guarded, but for what is exempt"};
}

Chain arrives(Family family, const NftSpec& spec) {
  const std::string mesh = fmt::format("iifname \"{}\"", spec.device);
  return {for_family(family, "arrives{n}"),
          "",
          {{mesh + for_family(family, " {ip} saddr @rx_wireguard{n} return"),
            "count: came through WireGuard"},
           {mesh + " return", "through WireGuard, from a prefix no peer has now"},
           {keep_old_path(family, spec.fwmark),
            "source not in this node's record: keeps the path it had without meshd"},
           between_nodes(family, spec, "{ip} saddr @peer_address{n}", "{ip} daddr @own_address{n}",
                         "fib daddr type local", "hosts_arrive{n}"),
           {for_family(family, "{ip} daddr @own{n} {ip} saddr @rx_required{n} drop"),
            "guard: had to come through WireGuard"},
           {for_family(family, "{ip} daddr @own{n} {ip} saddr @rx_plaintext{n} return"),
            "count: came unencrypted"}}};
}

Chain leaves(Family family, const NftSpec& spec) {
  const std::string mesh = fmt::format("oifname \"{}\"", spec.device);
  const auto rule = [&](std::string_view pattern, std::string comment) {
    return NftRule{for_family(family, pattern), std::move(comment)};
  };
  Chain chain{
      for_family(family, "leaves{n}"),
      "",
      {rule(mesh + " {ip} daddr @tx_wireguard{n} return", "count: goes through WireGuard"),
       rule(mesh + " return", "through WireGuard, to a prefix no peer has now"),
       between_nodes(family, spec, "{ip} daddr @peer_address{n}", "{ip} saddr @own_address{n}",
                     "fib saddr type local", "hosts_leave{n}")}};
  if (pins(spec))
    chain.rules.push_back(rule(
        is_pinned(spec) +
            " {ip} daddr != @peer_address{n} {ip} daddr @tx_required{n} ct mark set ct mark & " +
            fmt::format("{:#010x} drop", ~pin_mark(spec.fwmark)),
        "guard: has to go through WireGuard, and is pinned no more"));
  append(chain.rules,
         {rule("{ip} saddr @own{n} {ip} daddr @tx_required{n} drop",
               "guard: has to go through WireGuard"),
          // What others send to a peer's host by way of this node is theirs to decide.
          rule("{ip} daddr != @peer_address{n} {ip} daddr @tx_required{n} drop",
               "guard: to a peer's workloads from whatever source"),
          rule("{ip} daddr @own{n} rt {ip} nexthop @closed_hop{n} drop",
               "guard: a prefix of this node, at another one by now: not there in plaintext")});
  if (pins(spec))
    chain.rules.push_back(
        rule(is_pinned(spec) + " ct direction original {ip} daddr @pinned{n} return",
             "count: goes unencrypted, as it began"));
  chain.rules.push_back(
      rule("{ip} saddr @own{n} {ip} daddr @tx_plaintext{n} return", "count: goes unencrypted"));
  return chain;
}

// "{ 22, 67-68 }" of the ports that are exempt for any address, joined where they touch: nft takes
// no overlaps. Empty when there are none.
std::string port_list(const NftSpec& spec, IpProtocol protocol) {
  std::vector<PortRange> ranges;
  for (const FailsafePort& port : spec.failsafe)
    if (port.protocol == protocol && !port.address) ranges.push_back(port.ports);
  std::sort(ranges.begin(), ranges.end());
  std::vector<PortRange> joined;
  for (const PortRange& range : ranges) {
    if (!joined.empty() && range.first <= joined.back().last + 1)
      joined.back().last = std::max(joined.back().last, range.last);
    else
      joined.push_back(range);
  }
  std::string text;
  for (const PortRange& range : joined) text += (text.empty() ? "" : ", ") + range.to_string();
  return text.empty() ? text : "{ " + text + " }";
}

// What is exempt by its ports, in either direction: `verdict` for each.
std::vector<NftRule> exempt_ports(Family family, const NftSpec& spec, const std::string& before,
                                  const std::string& verdict) {
  std::vector<NftRule> rules;
  for (const IpProtocol protocol : {IpProtocol::kTcp, IpProtocol::kUdp}) {
    const std::string ports = port_list(spec, protocol);
    if (ports.empty()) continue;
    for (const std::string_view side : {"dport", "sport"})
      rules.push_back(
          {fmt::format("{}{} {} {} {}", before, to_string(protocol), side, ports, verdict),
           for_family(family, fmt::format("IPv{{n}} failsafe: {} {}", to_string(protocol), side))});
  }
  for (const FailsafePort& port : spec.failsafe) {
    if (!port.address || port.address->family() != family) continue;
    for (const auto& [where, side] : {std::pair("daddr", "dport"), std::pair("saddr", "sport")})
      rules.push_back({fmt::format("{}{} {} {} {} {} {} {}", before, protocol_word(family), where,
                                   port.address->to_string(), to_string(port.protocol), side,
                                   port.ports.to_string(), verdict),
                       fmt::format("failsafe: {} {}", port.to_string(), side)});
  }
  return rules;
}

// WireGuard's own ports, as a set.
std::string wireguard_ports(const NftSpec& spec) {
  std::string text = fmt::format("{{ {}", spec.listen_port);
  for (const std::uint16_t port : spec.former_ports) text += fmt::format(", {}", port);
  return text + " }";
}

void add_neighbour_discovery(Family family, std::vector<NftRule>& rules) {
  if (family == Family::kIpv4) return;
  rules.push_back(
      {"icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, "
       "nd-neighbor-advert, nd-redirect } ip6 hoplimit 255 return",
       "neighbour discovery: of this link, by its hop limit"});
}

std::string echo_request(Family family) {
  return family == Family::kIpv4 ? "icmp type echo-request" : "icmpv6 type echo-request";
}

Chain hosts_leave(Family family, const NftSpec& spec) {
  const std::string marked = fmt::format("meta mark & {0:#010x} == {0:#010x} ", spec.fwmark);
  Chain chain{for_family(family, "hosts_leave{n}"), "", {}};
  chain.rules = {{marked + "udp sport " + wireguard_ports(spec) + " return", "WireGuard's own"},
                 {marked + echo_request(family) + " return", "measures the path's MTU"}};
  add_neighbour_discovery(family, chain.rules);
  append(chain.rules, exempt_ports(family, spec, "", "return"));
  append(
      chain.rules,
      {{for_family(family, "{ip} saddr @own{n} {ip} daddr @encrypted_hosts{n} drop"),
        "guard: this host's go through WireGuard"},
       {for_family(family, "{ip} daddr @required_hosts{n} drop"), "guard: hosts that must encrypt"},
       {for_family(family,
                   "{ip} saddr @own{n} {ip} saddr != @own_address{n} {ip} daddr @tx_required{n} "
                   "drop"),
        "guard: from an address among the workloads'"}});
  return chain;
}

// Before reassembly: of a datagram in fragments the first one has the port and is judged, and
// without it the others are nothing.
Chain hosts_arrive(Family family, const NftSpec& spec) {
  Chain chain{for_family(family, "hosts_arrive{n}"), "", {}};
  chain.rules = {
      {family == Family::kIpv4 ? "ip frag-off & 0x1fff != 0 return" : "frag frag-off != 0 return",
       "later fragments"},
      {"udp dport " + wireguard_ports(spec) + " return", "WireGuard's own"},
      {echo_request(family) + " return", "measures the path's MTU"}};
  add_neighbour_discovery(family, chain.rules);
  append(chain.rules, exempt_ports(family, spec, "", "return"));
  append(
      chain.rules,
      {{for_family(family, "{ip} saddr @required_hosts{n} drop"), "guard: hosts that must encrypt"},
       {for_family(family,
                   "{ip} daddr @own{n} {ip} daddr != @own_address{n} {ip} saddr @rx_required{n} "
                   "drop"),
        "guard: to an address among the workloads'"}});
  return chain;
}

// Some lookups know no ports: when an address was translated or a mark changed after the first one.
// What is exempt then finds its way here; so does what has a source that the peer would refuse.
Chain hosts_output(const NftSpec& spec) {
  // After DNAT (-100), of which nft has no name here.
  Chain chain{"hosts_output", "type route hook output priority -99; policy accept;", {}};
  const std::string verdict = fmt::format("meta mark set meta mark | {:#010x}", spec.fwmark);
  for (const Family family : kFamilies) {
    const std::string before = fmt::format("oifname \"{}\" ", spec.device) +
                               for_family(family, "{ip} daddr @peer_address{n} ");
    append(chain.rules, exempt_ports(family, spec, before, verdict));
    chain.rules.push_back({before + for_family(family, "{ip} saddr != @own{n} ") + verdict,
                           for_family(family, "IPv{n} source not in this node's record")});
  }
  return chain;
}

// The kernel's reverse-path check (IPv4 only) refuses what arrives on a link without an IPv4
// address unless the route back leads over that link, even where it is loose. What a peer sends
// past the mesh while our own way to it is the mesh would be lost there. Such a packet bears the
// mark for the time of its routing: set by the last in prerouting, after DNAT, taken off by the
// first behind the routing. Nobody else can see it, so that no connection, socket or reply inherits
// a way past the mesh. It changes no forward route: table W says of no destination outside @peer
// more than `throw`.
Chain reverse_path(std::string name, std::string_view hook, std::string_view change,
                   std::string comment, const NftSpec& spec) {
  return {std::move(name),
          fmt::format("type filter hook {}; policy accept;", hook),
          {{fmt::format("iifname != \"{}\" ip saddr @peer4 ip daddr != @peer4 meta mark set meta "
                        "mark {}",
                        spec.device, change),
            std::move(comment)}}};
}

std::vector<Chain> reverse_path_chains(const NftSpec& spec) {
  const std::string set = fmt::format("| {:#010x}", spec.fwmark);
  const std::string clear = fmt::format("& {:#010x}", ~spec.fwmark);
  return {
      reverse_path("prerouting_last", "prerouting priority security", set,
                   "came past the mesh: so does the reverse-path check", spec),
      reverse_path("input_first", "input priority raw", clear, "routed: the mark has done", spec),
      reverse_path("forward_first", "forward priority raw", clear, "routed: the mark has done",
                   spec)};
}

// Peers that have not heard of the new port reach it by the old one. Not by connection tracking,
// which would not look at flows that it knows; and only once somebody listens on the new one: the
// device moves after these rules stand, and the kernel's opens the new socket before it closes the
// old.
Chain moved_port(const NftSpec& spec) {
  Chain chain{"moved_port", "type filter hook prerouting priority raw; policy accept;", {}};
  const std::string here = "fib daddr type local udp dport ";
  for (const std::uint16_t port : spec.former_ports)
    chain.rules.push_back({fmt::format("{}{} udp dport set {}", here, port, spec.listen_port),
                           fmt::format("WireGuard listened on {} before", port)});
  chain.rules.push_back({fmt::format("{}{} socket wildcard <= 1 accept", here, spec.listen_port),
                         "somebody listens there"});
  chain.rules.push_back(
      {fmt::format("{}{} udp dport set {}", here, spec.listen_port, spec.former_ports.back()),
       "nobody listens there yet"});
  return chain;
}

// A masqueraded connection is known by its source being an address of the device it leaves by. It
// is pinned from its first packet, whatever its peer is, and by that to what it would do anyway; it
// matters once the peer is encrypted.
Chain pins_leave(const NftSpec& spec) {
  Chain chain{"pins_leave", "type filter hook postrouting priority srcnat + 1; policy accept;", {}};
  const std::uint32_t pin = pin_mark(spec.fwmark);
  const std::string masqueraded = fmt::format(
      "oifname != {{ \"lo\", \"{}\" }} ct mark & {:#010x} == 0 ct direction original "
      "ct status snat fib saddr . oif type local ",
      spec.device, pin);
  const std::string set_pin = fmt::format(" ct mark set ct mark | {:#010x}", pin);
  for (const Family family : kFamilies) {
    const auto rule = [&](std::string_view pattern, std::string_view comment) {
      return NftRule{fmt::format("{}{}{}", masqueraded, for_family(family, pattern), set_pin),
                     for_family(family, comment)};
    };
    chain.rules.push_back(rule("ct original {ip} saddr @own{n} {ip} daddr @peer{n}",
                               "IPv{n} of this node's own: counted before"));
    // What came from elsewhere to a peer's prefix keeps its path by its source.
    chain.rules.push_back(
        rule("ct original {ip} saddr != @own{n} ct original {ip} daddr != @peer{n} "
             "{ip} daddr @pinned{n}",
             "IPv{n} from elsewhere, count: goes unencrypted"));
  }
  return chain;
}

// Where the way is chosen: for what is forwarded, and for what this host makes.
std::vector<Chain> pin_chains(const NftSpec& spec) {
  const NftRule rule{is_pinned(spec) + fmt::format(" ct direction original meta mark set meta mark "
                                                   "| {:#010x}",
                                                   spec.fwmark),
                     "pinned: keeps the path it began on"};
  return {
      {"pins_arrive", "type filter hook prerouting priority mangle + 1; policy accept;", {rule}},
      {"pins_output", "type route hook output priority mangle + 1; policy accept;", {rule}},
      pins_leave(spec)};
}

std::string by_family(std::string_view verb_and_chain) {
  return fmt::format("meta nfproto vmap {{ ipv4 : {0}4, ipv6 : {0}6 }}", verb_and_chain);
}

Chain output(const NftSpec& spec) {
  Chain chain{"output", "type route hook output priority mangle; policy accept;", {}};
  chain.rules.reserve(kFamilies.size());
  for (const Family family : kFamilies)
    chain.rules.push_back(
        {"oifname != \"lo\" " + keep_old_path(family, spec.fwmark),
         for_family(
             family,
             "IPv{n} source not in this node's record: keeps the path it had without meshd")});
  return chain;
}

Chain forward(const NftSpec& spec) {
  Chain chain{"forward", "type filter hook forward priority mangle; policy accept;", {}};
  for (const Family family : kFamilies)
    chain.rules.push_back(
        {fmt::format("iifname \"{0}\" oifname != \"{0}\" {1}", spec.device,
                     for_family(family, "rt {ip} nexthop @closed_hop{n} drop")),
         for_family(family,
                    "guard: IPv{n} that came encrypted does not leave to an encrypted peer "
                    "in plaintext")});
  for (const auto& [direction, comment] :
       {std::pair("oifname", "TCP into the mesh: segments that fit its MTU"),
        std::pair("iifname", "TCP out of the mesh: segments that fit its MTU")})
    chain.rules.push_back({fmt::format("{} \"{}\" tcp flags & (syn | rst) == syn tcp option maxseg "
                                       "size set rt mtu",
                                       direction, spec.device),
                           comment});
  return chain;
}

// Chains that are jumped to come before those that jump.
std::vector<Chain> all_chains(const NftSpec& spec) {
  std::vector<Chain> chains;
  if (spec.host_traffic) {
    for (const Family family : kFamilies) chains.push_back(hosts_arrive(family, spec));
    for (const Family family : kFamilies) chains.push_back(hosts_leave(family, spec));
    chains.push_back(hosts_output(spec));
  }
  for (const Family family : kFamilies) chains.push_back(arrives(family, spec));
  for (const Family family : kFamilies) chains.push_back(leaves(family, spec));
  chains.push_back({"prerouting",
                    "type filter hook prerouting priority mangle; policy accept;",
                    {{"iifname \"lo\" return", "this host to itself"},
                     {by_family("jump arrives"), "everything else"}}});
  if (!spec.former_ports.empty()) chains.push_back(moved_port(spec));
  for (Chain& chain : reverse_path_chains(spec)) chains.push_back(std::move(chain));
  if (pins(spec))
    for (Chain& chain : pin_chains(spec)) chains.push_back(std::move(chain));
  chains.push_back(output(spec));
  chains.push_back(forward(spec));
  chains.push_back({"postrouting",
                    "type filter hook postrouting priority filter; policy accept;",
                    {{"oifname \"lo\" return", "this host to itself"},
                     {by_family("jump leaves"), "everything else"}}});
  return chains;
}

std::string set_text(const SetInfo& info, Family family) {
  return fmt::format("\n\tset {} {{\n\t\ttype {}\n\t\tflags interval\n{}\t\tcomment \"{}\"\n\t}}\n",
                     nft_set_name(info.set, family),
                     family == Family::kIpv4 ? "ipv4_addr" : "ipv6_addr",
                     info.counts ? "\t\tcounter\n" : "", info.comment);
}

std::string chain_text(const Chain& chain) {
  std::string text = fmt::format("\n\tchain {} {{\n", chain.name);
  if (!chain.hook.empty()) text += fmt::format("\t\t{}\n", chain.hook);
  for (const NftRule& rule : chain.rules)
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

constexpr std::string_view kTagStart = "meshd 1 ";
constexpr std::string_view kPinsTag = "+pins";
constexpr std::size_t kMostFormerPorts = 4;  // a table's comment is short

// " 51821<51820,51819 HASH", or " HASH".
bool read_ports(std::string_view text, NftSpec& spec) {
  const std::size_t less = text.find('<');
  if (less == std::string_view::npos) return true;
  const auto read = [](std::string_view& rest, std::uint16_t& port) {
    if (rest.empty()) return false;
    rest.remove_prefix(1);
    const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), port);
    rest.remove_prefix(static_cast<std::size_t>(parsed.ptr - rest.data()));
    return parsed.ec == std::errc() && port != 0;
  };
  std::string_view rest = text;
  if (!read(rest, spec.listen_port)) return false;
  while (!rest.empty() && rest.front() != ' ') {
    std::uint16_t port = 0;
    if (!read(rest, port)) return false;
    spec.former_ports.push_back(port);
  }
  return true;
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
  NftRuleset ruleset;
  std::string body;
  for (const SetInfo& info : kSets)
    for (const Family family : kFamilies) body += set_text(info, family);
  for (const Chain& chain : all_chains(spec)) {
    body += chain_text(chain);
    for (const NftRule& rule : chain.rules) ruleset.rules.push_back({chain.name, rule.comment});
  }
  std::stable_sort(ruleset.rules.begin(), ruleset.rules.end(),
                   [](const NftRuleLabel& a, const NftRuleLabel& b) { return a.chain < b.chain; });
  std::string ports;  // " 51821<51820,51819"
  for (const std::uint16_t port : spec.former_ports)
    ports +=
        ports.empty() ? fmt::format(" {}<{}", spec.listen_port, port) : fmt::format(",{}", port);
  ruleset.tag = fmt::format("{}{} {:#x}{}{} {:016x}", kTagStart, spec.device, spec.fwmark,
                            spec.pins ? kPinsTag : "", ports, hash_of(body));
  ruleset.text = fmt::format(
      "table inet {0}\ndelete table inet {0}\ntable inet {0} {{\n\tcomment \"{1}\"\n{2}}}\n",
      kNftTable, ruleset.tag, body);
  return ruleset;
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

std::optional<NftSpec> parse_ruleset_tag(std::string_view tag) {
  if (!tag.starts_with(kTagStart)) return std::nullopt;
  const std::string_view rest = tag.substr(kTagStart.size());
  const std::size_t space = rest.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const std::string_view mark = rest.substr(space + 1);
  if (!mark.starts_with("0x")) return std::nullopt;
  NftSpec spec{.device = std::string(rest.substr(0, space)), .fwmark = 0};
  const auto parsed = std::from_chars(mark.data() + 2, mark.data() + mark.size(), spec.fwmark, 16);
  if (parsed.ec != std::errc()) return std::nullopt;
  std::string_view more(parsed.ptr,
                        static_cast<std::size_t>(mark.data() + mark.size() - parsed.ptr));
  spec.pins = more.starts_with(kPinsTag);
  if (spec.pins) more.remove_prefix(kPinsTag.size());
  if (!read_ports(more, spec)) return std::nullopt;
  const auto ruleset = make_ruleset(spec);
  if (!ruleset || ruleset->tag != tag) return std::nullopt;  // of another text
  return spec;
}

}  // namespace mesh
