// EventMonitor: what changed in the kernel, as it happens: links, addresses, routes of the watched
// tables, rules, and changes that others made to nftables table "inet meshd".
//
// One thread at a time; in the network namespace it was opened in. fd() is readable while events
// wait. Cost: foreign routes (a router may have a million) are dropped after a look at their table,
// without an allocation. Logs nothing.
//
// Order: rtnetlink's events keep the kernel's order among themselves; nftables' come behind those
// of the same drain. When the kernel had to drop some (its buffer for us was full), OverrunEvent
// comes first and everything must be read again.
//
// What the kernel does not say: when a link goes down or away, it removes IPv4 routes by it without
// an event for each. A LinkEvent whose link is not up, or is removed, means: read the routes again.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "mesh/kernel.h"
#include "mesh/result.h"
#include "meshd/dataplane/netlink_socket.h"
#include "meshd/dataplane/unique_fd.h"

namespace mesh {

class EventMonitor {
 public:
  // nftables' events are left out when the kernel has no nf_tables.
  static Result<EventMonitor> open();

  int fd() const { return epoll_.get(); }
  void watch_tables(std::set<std::uint32_t> tables) { tables_ = std::move(tables); }
  // Whose nftables transactions are our own: those from this netlink port, or of this process (as
  // nf_tables names it). 0: none.
  void ignore_nft_changes_of(std::uint32_t port, std::uint32_t process);

  // Moves what waits in the sockets to memory, so that a long batch of our own changes does not
  // overrun them.
  void pump();
  // All that waits, in order; never blocks.
  std::vector<KernelEvent> drain();

 private:
  EventMonitor(NetlinkSocket route, UniqueFd epoll)
      : route_(std::move(route)), epoll_(std::move(epoll)) {}
  // Of events in memory: more than the largest plan makes.
  static constexpr std::size_t kMaxWaiting = std::size_t{1} << 18;

  Result<void> add_to_epoll(int fd);
  void keep(KernelEvent event);
  void take_route_message(const nlmsghdr& message);
  void take_nft_message(const nlmsghdr& message);
  bool is_own_transaction(const nlmsghdr& new_generation) const;

  NetlinkSocket route_;
  std::vector<NetlinkSocket> nft_;  // none or one
  UniqueFd epoll_;
  UniqueFd pending_;  // an eventfd, readable while events_ holds what pump() moved
  std::set<std::uint32_t> tables_;
  std::uint32_t own_port_ = 0;
  std::uint32_t own_process_ = 0;
  bool our_table_touched_ = false;  // by the transaction whose messages are arriving
  bool overrun_ = false;
  bool nft_changed_ = false;
  std::vector<KernelEvent> events_;
};

}  // namespace mesh
