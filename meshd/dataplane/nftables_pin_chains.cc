#include <fmt/format.h>

#include <cstdint>

#include "meshd/dataplane/nftables_chains.h"
#include "meshd/dataplane/nftables_ruleset.h"

namespace mesh::nft {
namespace {

// A masqueraded connection is known by its source being an address of the device it leaves by. It
// is pinned from its first packet, whatever its peer is, and by that to what it would do anyway; it
// matters once the peer is encrypted.
Chain pins_leave(const NftSpec& spec) {
  Chain chain{"pins_leave", "type filter hook postrouting priority srcnat + 1; policy accept;", {}};
  const std::uint32_t pin = pin_mark(spec.fwmark);
  const std::string masqueraded = fmt::format(
      "oifname != \"lo\" oifname != \"{}\" ct mark & {:#010x} == 0 ct direction original "
      "ct status snat fib saddr . oif type local ",
      spec.device, pin);
  const std::string set_pin = fmt::format(" ct mark set ct mark | {:#010x}", pin);
  for (const Family family : kFamilies) {
    const auto rule = [&](std::string_view pattern, std::string_view comment) {
      return Rule{fmt::format("{}{}{}", masqueraded, for_family(family, pattern), set_pin),
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

}  // namespace

bool pins(const NftSpec& spec) {
  return spec.pins && spec.kernel_has.ct && spec.kernel_has.fib && pin_mark(spec.fwmark) != 0;
}

std::string is_pinned(const NftSpec& spec) {
  return fmt::format("ct mark & {0:#010x} == {0:#010x}", pin_mark(spec.fwmark));
}

// Where the way is chosen: for what is forwarded, and for what this host makes.
std::vector<Chain> pin_chains(const NftSpec& spec) {
  const Rule rule{is_pinned(spec) + fmt::format(" ct direction original meta mark set meta mark "
                                                "| {:#010x}",
                                                spec.fwmark),
                  "pinned: keeps the path it began on"};
  return {
      {"pins_arrive", "type filter hook prerouting priority mangle + 1; policy accept;", {rule}},
      {"pins_output", "type route hook output priority mangle + 1; policy accept;", {rule}},
      pins_leave(spec)};
}

}  // namespace mesh::nft
