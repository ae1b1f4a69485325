#include "tests/dataplane/sandbox.h"

#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace mesh::sandbox {
namespace {

[[noreturn]] void die(const std::string& what) {
  (void)std::fprintf(stderr, "sandbox: %s\n", what.c_str());
  std::abort();
}

Result<void> ask(NetlinkMessage& request) {
  auto socket = NetlinkSocket::open(NETLINK_ROUTE);
  if (!socket) die(socket.error().message);
  return socket->transact(request);
}

void must(NetlinkMessage& request, const std::string& what) {
  if (const auto result = ask(request); !result) die(what + ": " + result.error().message);
}

int index_of(const std::string& name) {
  const unsigned index = if_nametoindex(name.c_str());
  if (index == 0) die("no link " + name);
  return static_cast<int>(index);
}

NetlinkMessage link_request(std::uint16_t type, std::uint16_t flags, int index, unsigned up) {
  NetlinkMessage request(type, flags);
  ifinfomsg header{};
  header.ifi_index = index;
  header.ifi_flags = up;
  header.ifi_change = up;
  request.put_header(header);
  return request;
}

NetlinkMessage make_link_request(const std::string& name, const std::string& kind) {
  NetlinkMessage request = link_request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, 0);
  request.put_string(IFLA_IFNAME, name);
  const auto info = request.begin_nest(IFLA_LINKINFO);
  request.put_string(IFLA_INFO_KIND, kind);
  request.end_nest(info);
  return request;
}

}  // namespace

NetworkNamespace::NetworkNamespace() {
  if (unshare(CLONE_NEWNET) != 0) die("unshare");
  fd_ = UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!fd_) die("open /proc/thread-self/ns/net");
  set_up("lo");
}

void NetworkNamespace::enter() const {
  if (setns(fd_.get(), CLONE_NEWNET) != 0) die("setns");
}

void make_link(const std::string& name, const std::string& kind) {
  NetlinkMessage request = make_link_request(name, kind);
  must(request, "make " + name);
}

bool kernel_knows_link(const std::string& kind) {
  NetlinkMessage request = make_link_request("probe0", kind);
  if (const auto made = ask(request); !made) {
    if (made.error().code == ErrorCode::kUnsupported) return false;
    die("make probe0: " + made.error().message);
  }
  delete_link("probe0");
  return true;
}

void make_veth(const std::string& name, const std::string& peer, const NetworkNamespace& peer_at) {
  NetlinkMessage request = link_request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, 0);
  request.put_string(IFLA_IFNAME, name);
  const auto info = request.begin_nest(IFLA_LINKINFO);
  request.put_string(IFLA_INFO_KIND, "veth");
  const auto data = request.begin_nest(IFLA_INFO_DATA);
  const auto other = request.begin_nest(VETH_INFO_PEER);
  request.put_header(ifinfomsg{});
  request.put_string(IFLA_IFNAME, peer);
  request.put_value(IFLA_NET_NS_FD, static_cast<std::uint32_t>(peer_at.fd()));
  for (const auto nest : {other, data, info}) request.end_nest(nest);
  must(request, "make veth " + name);
}

void delete_link(const std::string& name) {
  NetlinkMessage request = link_request(RTM_DELLINK, 0, index_of(name), 0);
  must(request, "delete " + name);
}

void set_up(const std::string& name) {
  NetlinkMessage request = link_request(RTM_NEWLINK, 0, index_of(name), IFF_UP);
  must(request, "set up " + name);
}

void add_address(const std::string& name, const IpAddress& address, int length) {
  NetlinkMessage request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
  ifaddrmsg header{};
  header.ifa_family = static_cast<std::uint8_t>(to_af(address.family()));
  header.ifa_prefixlen = static_cast<std::uint8_t>(length);
  header.ifa_flags = IFA_F_NODAD;
  header.ifa_index = static_cast<unsigned>(index_of(name));
  request.put_header(header);
  request.put(IFA_LOCAL, address.bytes());
  request.put(IFA_ADDRESS, address.bytes());
  must(request, "add address to " + name);
}

}  // namespace mesh::sandbox
