// The decoders of links, addresses, routes and rules. The input is one or more netlink messages as
// they come in a receive buffer. What decodes and can be said again decodes to the same again.
#include <linux/rtnetlink.h>

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "meshd/dataplane/rtnetlink_codec.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check_route(const nlmsghdr& message) {
  (void)mesh::decode_lookup(message);
  const auto table = mesh::table_of_route(message);
  const auto route = mesh::decode_route(message);
  if (!route || !*route) return;
  require(table == (*route)->key.table);
  if ((*route)->type == mesh::RouteType::kOther) return;
  mesh::Route sayable = **route;
  if (sayable.type != mesh::RouteType::kUnicast) sayable.oif = 0;
  auto again = mesh::encode_put_route(sayable);
  const auto decoded = mesh::decode_route(again.header());
  require(decoded && *decoded == sayable);
}

void check_rule(const nlmsghdr& message) {
  const auto rule = mesh::decode_rule(message);
  if (!rule || !*rule || (*rule)->more_selectors) return;
  if ((*rule)->fwmask == 0 && (*rule)->fwmark != 0) return;  // a mark that is not looked at
  auto again = mesh::encode_put_rule(**rule);
  const auto decoded = mesh::decode_rule(again.header());
  require(decoded && *decoded == **rule);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 256 * 1024) return 0;
  std::vector<std::uint8_t> buffer(data, data + size);  // aligned, and exactly as long as its input
  mesh::MessageReader reader(buffer);
  while (const nlmsghdr* message = reader.next()) {
    check_route(*message);
    check_rule(*message);
    if (const auto link = mesh::decode_link(*message); link && *link)
      require(!(*link)->name.empty() && (*link)->name.size() < 16);
    if (const auto address = mesh::decode_address(*message); address && *address)
      require((*address)->prefix_length <= mesh::address_bits((*address)->address.family()));
  }
  return 0;
}
