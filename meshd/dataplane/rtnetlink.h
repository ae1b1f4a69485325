// Links, addresses, routes and rules of the kernel, over rtnetlink.
//
// Threads: one at a time. Opens its socket in the calling thread's network namespace and stays
// there. Cost: a read is one dump (tens of microseconds, and about a microsecond an object); a
// batch of changes costs about 10 µs each. Batches return one result for each object, in order, and
// a refused one stops none of the others.
//
// Errors: as errors.h translates errno, led by the object they are about. What is already so is
// success: an equal address or rule that is there, a route or rule to remove that is not. A read
// that the kernel interrupted is repeated, then kInterrupted.
//
// It never touches an object it was not given, and retries nothing but interrupted reads.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mesh/kernel.h"
#include "mesh/result.h"
#include "meshd/dataplane/netlink_socket.h"

namespace mesh {

class Rtnetlink {
 public:
  static Result<Rtnetlink> open();

  // Makes a link of a kind that needs no further words ("wireguard", "dummy"). kUnsupported when
  // the kernel does not know the kind, kExists when the name is taken, kPermission.
  Result<Link> create_link(const std::string& name, std::string_view kind);
  Result<void> delete_link(int ifindex);
  // mtu 0: leave; `up` is only ever set.
  Result<void> change_link(int ifindex, std::uint32_t mtu, bool up);
  // Takes the link down for the time of it where the kernel renames no link that is up (before
  // 6.2).
  Result<void> rename_link(int ifindex, const std::string& name);
  Result<std::optional<Link>> find_link(const std::string& name);
  Result<std::vector<Link>> read_links();

  // On the device as a host prefix (see encode_add_address).
  Result<void> add_address(int ifindex, const IpAddress& address);
  Result<void> remove_address(int ifindex, const IpAddress& address);
  Result<std::vector<LocalAddress>> read_addresses();

  // Creates, or replaces the route of the same key in one step: the table never holds neither or
  // both. (A lookup on another CPU that holds the old route while the kernel frees it fails closed:
  // at most one packet for a replacement, measured on 6.1 as one in some hundred of them against a
  // thread that does nothing but look up.)
  std::vector<Result<void>> put_routes(std::span<const Route> routes);
  // A route of the key with another type, device or protocol stays.
  std::vector<Result<void>> remove_routes(std::span<const Route> routes);
  Result<std::vector<Route>> read_routes(std::uint32_t table);  // both families
  Result<std::vector<Route>> read_own_routes();  // meshd's, of every table and both families
  Result<RouteLookup> lookup(const IpAddress& destination, std::uint32_t mark);

  Result<void> put_rule(const Rule& rule);
  // Exactly this rule: the kernel's own removal takes the first whose selectors include these.
  // kExists when somebody else's rule stands in the way of that.
  Result<void> remove_rule(const Rule& rule);
  Result<std::vector<Rule>> read_rules();  // both families, in the order the kernel tries them

 private:
  explicit Rtnetlink(NetlinkSocket socket) : socket_(std::move(socket)) {}
  Result<std::vector<Rule>> read_rules(Family family);

  NetlinkSocket socket_;
};

}  // namespace mesh
