// rtnetlink messages of links, addresses, routes and rules: values to bytes and back. Pure; any
// thread. Decoding allocates nothing for routes, rules and addresses.
//
// A decoder gives nothing for a message that is well formed and not ours to see (a bridge port, a
// multicast rule, a cached route), and an Error (kInvalid) for one that is malformed. Attributes it
// does not know are ignored, as newer kernels add some.
//
// Sources: linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/fib_rules.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "mesh/kernel.h"
#include "mesh/result.h"
#include "meshd/dataplane/netlink_message.h"

namespace mesh {

// Links.
NetlinkMessage encode_create_link(std::string_view name, std::string_view kind);
NetlinkMessage encode_delete_link(int ifindex);
// mtu 0: leave. `up` is only ever set, never cleared.
NetlinkMessage encode_change_link(int ifindex, std::uint32_t mtu, bool up);
NetlinkMessage encode_rename_link(int ifindex, std::string_view name);
NetlinkMessage encode_set_link_down(int ifindex);
NetlinkMessage encode_get_link(std::string_view name);
NetlinkMessage encode_dump_links();
Result<std::optional<Link>> decode_link(const nlmsghdr& message);

// Addresses, as host prefixes without a connected route and without duplicate detection: what
// routes to a mesh address is decided by the rules and tables alone.
NetlinkMessage encode_add_address(int ifindex, const IpAddress& address);
NetlinkMessage encode_remove_address(int ifindex, const IpAddress& address);
NetlinkMessage encode_dump_addresses();
Result<std::optional<LocalAddress>> decode_address(const nlmsghdr& message);

// Routes. Precondition of put and remove: the type is not kOther.
// Put creates, or replaces the route of the same key in one step whatever its type was.
NetlinkMessage encode_put_route(const Route& route);
// Removes only a route of this key, type (IPv6: reject or not), device and protocol.
NetlinkMessage encode_remove_route(const Route& route);
NetlinkMessage encode_dump_routes(Family family, std::uint32_t table);
// Routes of several next hops, of a next-hop object or with an encapsulation are kOther, as a Route
// cannot express them.
Result<std::optional<Route>> decode_route(const nlmsghdr& message);
// The table alone, found without decoding the rest; nothing for what decode_route skips as well.
std::optional<std::uint32_t> table_of_route(const nlmsghdr& message);

NetlinkMessage encode_lookup(const IpAddress& destination, std::uint32_t mark);
// Nothing: the answer is a reject route.
Result<std::optional<RouteLookup>> decode_lookup(const nlmsghdr& message);

// Rules. The kernel makes a second rule beside an equal one: the caller looks first.
NetlinkMessage encode_put_rule(const Rule& rule);
// The kernel removes the first rule that has these selectors, which may have others too, may be
// inverted or not, and (before 6.18) may carry another protocol: the caller looks first.
NetlinkMessage encode_remove_rule(const Rule& rule);
NetlinkMessage encode_dump_rules(Family family);
Result<std::optional<Rule>> decode_rule(const nlmsghdr& message);

}  // namespace mesh
