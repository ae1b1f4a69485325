#include "meshd/dataplane/event_monitor.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>

#include "meshd/dataplane/errors.h"
#include "meshd/dataplane/nftables_ruleset.h"
#include "meshd/dataplane/rtnetlink_codec.h"

namespace mesh {
namespace {

std::uint16_t nft_type(const nlmsghdr& message) {
  return static_cast<std::uint16_t>(message.nlmsg_type & 0xff);
}

// The first attribute of tables, chains, rules, sets and elements is the table's name
// (NFTA_TABLE_NAME, NFTA_CHAIN_TABLE… are all 1).
bool is_about_our_table(const nlmsghdr& message) {
  const auto header = family_header<nfgenmsg>(message);
  if (!header || header->nfgen_family != NFPROTO_INET) return false;
  AttributeReader reader(attributes_of(message, sizeof(nfgenmsg)));
  while (const auto attribute = reader.next())
    if (attribute->type == NFTA_TABLE_NAME) return attribute->as_string() == kNftTable;
  return false;
}

}  // namespace

Result<EventMonitor> EventMonitor::open() {
  auto route = NetlinkSocket::open(
      NETLINK_ROUTE, {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
                      RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE});
  if (!route) return route.error().at("kernel events");
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return error_from_errno(errno, "kernel events: epoll");
  EventMonitor monitor(std::move(*route), std::move(epoll));
  monitor.pending_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!monitor.pending_) return error_from_errno(errno, "kernel events: eventfd");
  if (auto nft = NetlinkSocket::open(NETLINK_NETFILTER, {NFNLGRP_NFTABLES}))
    monitor.nft_.push_back(std::move(*nft));
  for (const int fd : {monitor.route_.fd(), monitor.pending_.get()})
    if (auto added = monitor.add_to_epoll(fd); !added) return added.error();
  for (const NetlinkSocket& nft : monitor.nft_)
    if (auto added = monitor.add_to_epoll(nft.fd()); !added) return added.error();
  return monitor;
}

Result<void> EventMonitor::add_to_epoll(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return error_from_errno(errno, "kernel events: epoll_ctl");
  return {};
}

void EventMonitor::ignore_nft_changes_of(std::uint32_t port, std::uint32_t process) {
  own_port_ = port;
  own_process_ = process;
}

void EventMonitor::take_route_message(const nlmsghdr& message) {
  // A message that does not decode is as good as lost: what it said must be read.
  const auto take = [&](auto decoded, auto make_event) {
    if (!decoded)
      overrun_ = true;
    else if (*decoded)
      keep(make_event(std::move(**decoded)));
  };
  switch (message.nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      return take(decode_link(message), [&](Link link) {
        return LinkEvent{std::move(link), message.nlmsg_type == RTM_DELLINK};
      });
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return take(decode_address(message), [&](LocalAddress address) {
        return AddressEvent{address, message.nlmsg_type == RTM_DELADDR};
      });
    case RTM_NEWRULE:
    case RTM_DELRULE:
      return take(decode_rule(message), [&](const Rule& rule) {
        return RuleEvent{rule, message.nlmsg_type == RTM_DELRULE};
      });
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      const auto table = table_of_route(message);
      if (!table || !tables_.contains(*table)) return;
      return take(decode_route(message), [&](const Route& route) {
        return RouteEvent{route, message.nlmsg_type == RTM_DELROUTE};
      });
    }
    default:
      return;
  }
}

// Somebody who makes links in a loop must not fill our memory: past the limit it is an overrun.
void EventMonitor::keep(KernelEvent event) {
  if (events_.size() >= kMaxWaiting) {
    events_.clear();
    overrun_ = true;
  }
  events_.push_back(std::move(event));
}

bool EventMonitor::is_own_transaction(const nlmsghdr& new_generation) const {
  if (own_port_ != 0 && new_generation.nlmsg_pid == own_port_) return true;
  AttributeReader reader(attributes_of(new_generation, sizeof(nfgenmsg)));
  while (const auto attribute = reader.next())
    if (attribute->type == NFTA_GEN_PROC_PID)
      return own_process_ != 0 && ntohl(attribute->as<std::uint32_t>().value_or(0)) == own_process_;
  return false;
}

// A transaction's messages come first; NFT_MSG_NEWGEN ends them and says whose they were.
void EventMonitor::take_nft_message(const nlmsghdr& message) {
  if (message.nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES) return;
  if (nft_type(message) != NFT_MSG_NEWGEN) {
    our_table_touched_ = our_table_touched_ || is_about_our_table(message);
    return;
  }
  if (our_table_touched_ && !is_own_transaction(message)) nft_changed_ = true;
  our_table_touched_ = false;
}

void EventMonitor::pump() {
  if (route_.drain([&](const nlmsghdr& message) { take_route_message(message); })) overrun_ = true;
  for (NetlinkSocket& nft : nft_) {
    if (!nft.drain([&](const nlmsghdr& message) { take_nft_message(message); })) continue;
    overrun_ = true;
    our_table_touched_ = false;
  }
  if (events_.empty() && !overrun_ && !nft_changed_) return;
  const std::uint64_t one = 1;
  (void)!write(pending_.get(), &one, sizeof one);  // fails only when it is readable already
}

std::vector<KernelEvent> EventMonitor::drain() {
  pump();
  std::uint64_t count = 0;
  (void)!read(pending_.get(), &count, sizeof count);
  std::vector<KernelEvent> events;
  if (std::exchange(overrun_, false)) events.emplace_back(OverrunEvent{});
  std::move(events_.begin(), events_.end(), std::back_inserter(events));
  events_.clear();
  if (std::exchange(nft_changed_, false)) events.emplace_back(NftEvent{});
  return events;
}

}  // namespace mesh
