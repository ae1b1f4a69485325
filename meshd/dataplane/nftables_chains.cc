#include "meshd/dataplane/nftables_chains.h"

#include <fmt/format.h>

#include <cstdint>

#include "meshd/dataplane/nftables_ruleset.h"

namespace mesh::nft {
namespace {

std::string keep_old_path(Family family, std::uint32_t mark) {
  return fmt::format("meta mark & {0:#010x} != {0:#010x} {1} meta mark set meta mark | {0:#010x}",
                     mark, for_family(family, "{ip} saddr != @own{n} {ip} daddr @foreign{n}"));
}

// A source that is not in this node's record, on its way to a peer that must encrypt: nobody could
// send it there, and it counts as dropped, not as a leak.
Rule foreign_to_required(Family family) {
  return {for_family(family,
                     "{ip} saddr != @own{n} {ip} daddr != @peer_address{n} {ip} daddr "
                     "@tx_required{n} drop"),
          for_family(family, "guard: IPv{n} source not in this node's record")};
}

// Node to node: none of it is counted, for WireGuard's own packets are among it. With host traffic,
// of whatever address of this host; where the kernel cannot tell those, of its record's.
Rule between_nodes(Family family, const NftSpec& spec, std::string_view peer,
                   std::string_view own_address, std::string_view any_address,
                   std::string_view guard_chain) {
  const std::string match = for_family(family, peer) + " ";
  if (!spec.host_traffic)
    return {match + for_family(family, own_address) + " return",
            "node to node, WireGuard's own packets too: neither counted nor guarded"};
  const std::string here =
      spec.kernel_has.fib ? std::string(any_address) : for_family(family, own_address);
  return {fmt::format("{}{} goto {}", match, here, for_family(family, guard_chain)),
          "node to node: guarded, but for what is exempt"};
}

Chain arrives(Family family, const NftSpec& spec) {
  const std::string mesh = fmt::format("iifname \"{}\"", spec.device);
  return {for_family(family, "arrives{n}"),
          "",
          {{mesh + for_family(family, " {ip} saddr @rx_wireguard{n} return"),
            "count: came through WireGuard"},
           {mesh + " return", "through WireGuard, from a prefix no peer has now"},
           {for_family(family, "{ip} saddr @own{n} {ip} daddr @tx_blocked{n} continue"),
            "count: the routes refuse it"},
           foreign_to_required(family),
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
    return Rule{for_family(family, pattern), std::move(comment)};
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
  const auto add = [&](const std::string& here, std::string_view whose) {
    for (const std::uint16_t port : spec.former_ports)
      chain.rules.push_back({fmt::format("{}{} udp dport set {}", here, port, spec.listen_port),
                             fmt::format("{}WireGuard listened on {} before", whose, port)});
    if (!spec.kernel_has.socket) return;
    chain.rules.push_back({fmt::format("{}{} socket wildcard <= 1 accept", here, spec.listen_port),
                           fmt::format("{}somebody listens there", whose)});
    chain.rules.push_back(
        {fmt::format("{}{} udp dport set {}", here, spec.listen_port, spec.former_ports.back()),
         fmt::format("{}nobody listens there yet", whose)});
  };
  if (spec.kernel_has.fib) {
    add("fib daddr type local udp dport ", "");
  } else {
    for (const Family family : kFamilies)
      add(for_family(family, "{ip} daddr @own_address{n} udp dport "),
          for_family(family, "IPv{n}: "));
  }
  return chain;
}

// A rule for each family, and no map of verdicts: the elements of a map leave in the moment in
// which rules are replaced, and a packet among the old rules would find nothing.
Chain by_family(std::string name, std::string_view hook, const char* lo, std::string_view chain) {
  Chain base{std::move(name), fmt::format("type filter hook {}; policy accept;", hook), {}};
  base.rules.push_back({fmt::format("{} \"lo\" return", lo), "this host to itself"});
  for (const Family family : kFamilies)
    base.rules.push_back(
        {for_family(family, fmt::format("meta nfproto ipv{{n}} jump {}{{n}}", chain)),
         for_family(family, "everything else of IPv{n}")});
  return base;
}

Chain output(const NftSpec& spec) {
  Chain chain{"output", "type route hook output priority mangle; policy accept;", {}};
  chain.rules.reserve(2 * kFamilies.size());
  for (const Family family : kFamilies) {
    Rule guard = foreign_to_required(family);
    guard.match = "oifname != \"lo\" " + guard.match;
    chain.rules.push_back(std::move(guard));
    chain.rules.push_back(
        {"oifname != \"lo\" " + keep_old_path(family, spec.fwmark),
         for_family(
             family,
             "IPv{n} source not in this node's record: keeps the path it had without meshd")});
  }
  return chain;
}

// What came unencrypted to an address that stands in no record, such as a service's: it is known
// only behind DNAT and the routing for whom it is. A peer's own address may have been put on it by
// that peer, and is the hosts' affair.
Rule had_to_be_encrypted(Family family, const NftSpec& spec, std::string_view where) {
  return {
      fmt::format("iifname != \"{}\" {}", spec.device,
                  for_family(family, fmt::format("{{ip}} saddr != @peer_address{{n}} {}{{ip}} "
                                                 "saddr @rx_required{{n}} drop",
                                                 where))),
      for_family(family, "guard: IPv{n} had to come through WireGuard, whatever it was sent to")};
}

Chain input(const NftSpec& spec) {
  Chain chain{"input",
              "type filter hook input priority mangle; policy accept;",
              {{"iifname \"lo\" return", "this host to itself"}}};
  add_neighbour_discovery(Family::kIpv6, chain.rules);  // workloads may live on this very link
  for (const Family family : kFamilies)
    chain.rules.push_back(had_to_be_encrypted(family, spec, ""));
  return chain;
}

Chain forward(const NftSpec& spec) {
  Chain chain{"forward", "type filter hook forward priority mangle; policy accept;", {}};
  for (const Family family : kFamilies)
    chain.rules.push_back(had_to_be_encrypted(family, spec, "{ip} daddr @own{n} "));
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

}  // namespace

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

std::vector<Chain> chains_of(const NftSpec& spec) {
  std::vector<Chain> chains;
  if (spec.host_traffic) append(chains, host_chains(spec));
  for (const Family family : kFamilies) chains.push_back(arrives(family, spec));
  for (const Family family : kFamilies) chains.push_back(leaves(family, spec));
  chains.push_back(by_family("prerouting", "prerouting priority mangle", "iifname", "arrives"));
  if (!spec.former_ports.empty()) chains.push_back(moved_port(spec));
  append(chains, reverse_path_chains(spec));
  if (pins(spec)) append(chains, pin_chains(spec));
  chains.push_back(output(spec));
  chains.push_back(input(spec));
  chains.push_back(forward(spec));
  chains.push_back(by_family("postrouting", "postrouting priority filter", "oifname", "leaves"));
  return chains;
}

}  // namespace mesh::nft
