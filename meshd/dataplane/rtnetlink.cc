#include "meshd/dataplane/rtnetlink.h"

#include <linux/netlink.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "meshd/dataplane/rtnetlink_codec.h"

namespace mesh {
namespace {

constexpr std::array kFamilies{Family::kIpv4, Family::kIpv6};

// Reads a whole dump into values; a repeated read starts afresh.
template <class T, class Decode, class Wanted>
Result<std::vector<T>> read_all(NetlinkSocket& socket, NetlinkMessage& request, Decode decode,
                                Wanted wanted) {
  return retry_interrupted([&]() -> Result<std::vector<T>> {
    std::vector<T> values;
    auto dumped = socket.dump(request, [&](const nlmsghdr& message) -> Result<void> {
      auto value = decode(message);
      if (!value) return std::move(value).error();
      if (*value && wanted(**value)) values.push_back(std::move(**value));
      return {};
    });
    if (!dumped) return std::move(dumped).error();
    return values;
  });
}

template <class T, class Decode>
Result<std::vector<T>> read_all(NetlinkSocket& socket, NetlinkMessage request, Decode decode) {
  return read_all<T>(socket, request, decode, [](const T&) { return true; });
}

// Success where the state asked for is there already.
Result<void> forgive(Result<void> result, std::initializer_list<int> errors) {
  if (!result && std::find(errors.begin(), errors.end(), result.error().sys_errno) != errors.end())
    return {};
  return result;
}

Result<void> at(Result<void> result, std::string_view place) {
  if (result) return result;
  return result.error().at(place);
}

std::string describe(const Rule& rule) {
  return fmt::format("IPv{} rule {} (lookup {})", static_cast<int>(rule.family), rule.priority,
                     rule.table);
}

std::string describe(const Route& route) {
  return fmt::format("route {} in table {}", route.key.destination.to_string(), route.key.table);
}

// Whether the kernel could take `candidate` for `rule` when asked to remove `rule`: it compares
// what the request names only, never the inversion, and in some versions not the protocol.
bool removal_could_take(const Rule& rule, const Rule& candidate) {
  return candidate.priority == rule.priority && candidate.table == rule.table &&
         (rule.fwmark == 0 || candidate.fwmark == rule.fwmark) &&
         (rule.fwmask == 0 || candidate.fwmask == rule.fwmask) &&
         (!rule.source || candidate.source == rule.source) &&
         (!rule.destination || candidate.destination == rule.destination) &&
         (!rule.locally_made || candidate.locally_made) &&
         (rule.ip_protocol == IpProtocol::kAny || candidate.ip_protocol == rule.ip_protocol) &&
         (rule.source_ports.any() || candidate.source_ports == rule.source_ports) &&
         (rule.destination_ports.any() || candidate.destination_ports == rule.destination_ports);
}

}  // namespace

Result<Rtnetlink> Rtnetlink::open() {
  auto socket = NetlinkSocket::open(NETLINK_ROUTE);
  if (!socket) return socket.error().at("rtnetlink");
  return Rtnetlink(std::move(*socket));
}

Result<Link> Rtnetlink::create_link(const std::string& name, std::string_view kind) {
  NetlinkMessage request = encode_create_link(name, kind);
  const std::string place = fmt::format("create link {} of kind {}", name, kind);
  if (auto made = socket_.transact(request); !made) return made.error().at(place);
  auto link = find_link(name);
  if (!link) return std::move(link).error();
  if (!*link)
    return make_error(ErrorCode::kNotFound, "{}: it vanished as soon as it was made", place);
  return std::move(**link);
}

Result<void> Rtnetlink::delete_link(int ifindex) {
  NetlinkMessage request = encode_delete_link(ifindex);
  return at(forgive(socket_.transact(request), {ENODEV}), fmt::format("delete link {}", ifindex));
}

Result<void> Rtnetlink::change_link(int ifindex, std::uint32_t mtu, bool up) {
  NetlinkMessage request = encode_change_link(ifindex, mtu, up);
  return at(socket_.transact(request),
            fmt::format("set link {}{}{}", ifindex, mtu != 0 ? fmt::format(" mtu {}", mtu) : "",
                        up ? " up" : ""));
}

Result<void> Rtnetlink::rename_link(int ifindex, const std::string& name) {
  NetlinkMessage request = encode_rename_link(ifindex, name);
  auto result = socket_.transact(request);
  if (!result && result.error().sys_errno == EBUSY) {
    NetlinkMessage down = encode_set_link_down(ifindex);
    result = socket_.transact(down);
    NetlinkMessage again = encode_rename_link(ifindex, name);
    if (result) result = socket_.transact(again);
  }
  return at(std::move(result), fmt::format("rename link {} to {}", ifindex, name));
}

Result<std::optional<Link>> Rtnetlink::find_link(const std::string& name) {
  NetlinkMessage request = encode_get_link(name);
  std::optional<Link> found;
  auto result = socket_.query(request, [&](const nlmsghdr& message) -> Result<void> {
    auto link = decode_link(message);
    if (!link) return std::move(link).error();
    found = std::move(*link);
    return {};
  });
  result = forgive(std::move(result), {ENODEV});
  if (!result) return result.error().at(fmt::format("find link {}", name));
  return found;
}

Result<std::vector<Link>> Rtnetlink::read_links() {
  return read_all<Link>(socket_, encode_dump_links(), decode_link);
}

Result<void> Rtnetlink::add_address(int ifindex, const IpAddress& address) {
  NetlinkMessage request = encode_add_address(ifindex, address);
  auto result = forgive(socket_.transact(request), {EEXIST});
  if (result) return {};
  const std::string place = fmt::format("add address {} to link {}", address.to_string(), ifindex);
  if (address.family() == Family::kIpv6 && result.error().sys_errno == EACCES)
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: IPv6 is disabled on that link (set "
                             "net.ipv6.conf.<link>.disable_ipv6 to 0)",
                             place),
                 EACCES};
  return result.error().at(place);
}

Result<void> Rtnetlink::remove_address(int ifindex, const IpAddress& address) {
  NetlinkMessage request = encode_remove_address(ifindex, address);
  return at(forgive(socket_.transact(request), {EADDRNOTAVAIL, ENODEV}),
            fmt::format("remove address {} from link {}", address.to_string(), ifindex));
}

Result<std::vector<LocalAddress>> Rtnetlink::read_addresses() {
  return read_all<LocalAddress>(socket_, encode_dump_addresses(), decode_address);
}

std::vector<Result<void>> Rtnetlink::put_routes(std::span<const Route> routes) {
  std::vector<NetlinkMessage> requests;
  requests.reserve(routes.size());
  for (const Route& route : routes) requests.push_back(encode_put_route(route));
  std::vector<Result<void>> results = socket_.transact(requests);
  for (std::size_t i = 0; i < routes.size(); ++i)
    if (!results[i]) results[i] = results[i].error().at("put " + describe(routes[i]));
  return results;
}

std::vector<Result<void>> Rtnetlink::remove_routes(std::span<const Route> routes) {
  std::vector<NetlinkMessage> requests;
  requests.reserve(routes.size());
  for (const Route& route : routes) requests.push_back(encode_remove_route(route));
  std::vector<Result<void>> results = socket_.transact(requests);
  for (std::size_t i = 0; i < routes.size(); ++i) {
    // ENODEV: its device went, and the route with it.
    results[i] = forgive(std::move(results[i]), {ESRCH, ENODEV});
    if (!results[i]) results[i] = results[i].error().at("remove " + describe(routes[i]));
  }
  return results;
}

Result<std::vector<Route>> Rtnetlink::read_routes(std::uint32_t table) {
  std::vector<Route> all;
  for (const Family family : kFamilies) {
    NetlinkMessage request = encode_dump_routes(family, table);
    // A kernel before 4.20 ignores the filter and sends every table.
    auto routes = read_all<Route>(socket_, request, decode_route,
                                  [&](const Route& route) { return route.key.table == table; });
    if (!routes) {
      // The table has never held a route, or the kernel has no IPv6.
      if (routes.error().sys_errno == ENOENT || routes.error().code == ErrorCode::kUnsupported)
        continue;
      return routes.error().at(fmt::format("read table {}", table));
    }
    all.insert(all.end(), routes->begin(), routes->end());
  }
  return all;
}

Result<std::vector<Route>> Rtnetlink::read_own_routes() {
  std::vector<Route> all;
  for (const Family family : kFamilies) {
    NetlinkMessage request = encode_dump_routes(family, 0);
    auto routes = read_all<Route>(socket_, request, decode_route,
                                  [](const Route& route) { return route.protocol == kProtocol; });
    if (!routes && routes.error().code == ErrorCode::kUnsupported) continue;  // no IPv6
    if (!routes) return routes.error().at("read the routes");
    all.insert(all.end(), routes->begin(), routes->end());
  }
  return all;
}

Result<RouteLookup> Rtnetlink::lookup(const IpAddress& destination, std::uint32_t mark) {
  NetlinkMessage request = encode_lookup(destination, mark);
  std::optional<RouteLookup> found;
  auto result = socket_.query(request, [&](const nlmsghdr& message) -> Result<void> {
    auto lookup = decode_lookup(message);
    if (!lookup) return std::move(lookup).error();
    found = *lookup;
    return {};
  });
  const std::string place = fmt::format("look up the route to {}", destination.to_string());
  if (!result) return result.error().at(place);
  if (!found) return Error{ErrorCode::kUnavailable, place + ": there is none", ENETUNREACH};
  return *found;
}

Result<std::vector<Rule>> Rtnetlink::read_rules(Family family) {
  return read_all<Rule>(socket_, encode_dump_rules(family), decode_rule);
}

Result<std::vector<Rule>> Rtnetlink::read_rules() {
  std::vector<Rule> all;
  for (const Family family : kFamilies) {
    auto rules = read_rules(family);
    if (!rules) {
      if (rules.error().code == ErrorCode::kUnsupported) continue;  // a kernel without IPv6
      return rules.error().at("read rules");
    }
    all.insert(all.end(), rules->begin(), rules->end());
  }
  return all;
}

Result<void> Rtnetlink::put_rule(const Rule& rule) {
  const std::string place = "put " + describe(rule);
  // NLM_F_EXCL would not do: it takes a rule that differs in its inversion alone for an equal one.
  auto rules = read_rules(rule.family);
  if (!rules) return rules.error().at(place);
  if (std::find(rules->begin(), rules->end(), rule) != rules->end()) return {};
  NetlinkMessage request = encode_put_rule(rule);
  return at(socket_.transact(request), place);
}

Result<void> Rtnetlink::remove_rule(const Rule& rule) {
  const std::string place = "remove " + describe(rule);
  auto rules = read_rules(rule.family);
  if (!rules) return rules.error().at(place);
  const auto exact = std::find(rules->begin(), rules->end(), rule);
  if (exact == rules->end()) return {};

  // Those before it that the kernel would take first. A second copy of each is added behind, so
  // that none is missing while the removals take the first copies and then the rule itself.
  std::vector<NetlinkMessage> copies;
  for (auto other = rules->begin(); other != exact; ++other) {
    if (!removal_could_take(rule, *other)) continue;
    if (other->more_selectors)
      return make_error(ErrorCode::kExists,
                        "{}: another rule of that priority stands before it and would be removed "
                        "instead (see `ip rule`; move that rule to another priority)",
                        place);
    copies.push_back(encode_put_rule(*other));
  }
  for (const auto& copied : socket_.transact(copies))
    if (!copied) return copied.error().at(place);
  std::vector<NetlinkMessage> removals(copies.size() + 1, encode_remove_rule(rule));
  for (auto& removed : socket_.transact(removals))
    if (auto checked = forgive(std::move(removed), {ENOENT}); !checked)
      return checked.error().at(place);
  return {};
}

}  // namespace mesh
