// NetlinkSocket: the one netlink transport, for rtnetlink, generic netlink and nfnetlink.
//
// Threads: one at a time; a socket belongs to its thread. Cost: the kernel answers inside sendmsg,
// so a request costs two system calls and never waits on another process; a batch costs about one
// system call in and one out for each hundred messages. A receive timeout bounds every call all the
// same. Performance: the receive buffer is 64 KiB, allocated once, never cleared. Logs nothing.
//
// Errors: the kernel's own, with its extended-ack text, as errors.h translates them; kInterrupted
// when a dump changed under us or answers were lost (read again: retry_interrupted), kTimeout when
// no answer came. Answers to earlier requests, and messages that the kernel did not send, are
// discarded.
//
// A socket that joined multicast groups is for drain() only; requests go over one that did not.
#pragma once

#include <libmnl/libmnl.h>

#include <chrono>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "mesh/result.h"
#include "meshd/dataplane/netlink_message.h"

namespace mesh {

class NetlinkSocket {
 public:
  // Sees one complete message. An error ends the request with that error; the rest of the answer is
  // read and dropped.
  using Callback = std::function<Result<void>(const nlmsghdr&)>;

  static constexpr std::chrono::seconds kAnswerTimeout{5};

  // `bus`: NETLINK_ROUTE, NETLINK_GENERIC, NETLINK_NETFILTER. `groups`: numbers (RTNLGRP_LINK), not
  // a mask. Opens in the calling thread's network namespace and stays there.
  static Result<NetlinkSocket> open(int bus, std::initializer_list<unsigned> groups = {});

  // A NLM_F_DUMP request: every message of the answer goes to `callback`. kInterrupted: what it saw
  // is not one consistent picture.
  Result<void> dump(NetlinkMessage& request, const Callback& callback);
  // A request answered by at most a few messages (RTM_GETROUTE, CTRL_CMD_GETFAMILY).
  Result<void> query(NetlinkMessage& request, const Callback& callback);
  // Independent changes; one result for each, in order. All are tried: a failed one stops none of
  // the others.
  std::vector<Result<void>> transact(std::span<NetlinkMessage> requests);
  Result<void> transact(NetlinkMessage& request);
  // An nfnetlink transaction, from NFNL_MSG_BATCH_BEGIN to NFNL_MSG_BATCH_END: one sendmsg, done
  // whole or not at all. The error names the first message refused, counting BEGIN as 0.
  Result<void> commit(std::span<NetlinkMessage> batch);

  // Multicast: hands over all that waits, without blocking. True: some were lost before or among
  // them (ENOBUFS), so what they would have said must be read again.
  bool drain(const std::function<void(const nlmsghdr&)>& callback);

  // For answers that carry a secret: clears what the socket has of them.
  void wipe_buffer() { explicit_bzero(buffer_.data(), buffer_.size()); }

  int fd() const { return mnl_socket_get_fd(socket_.get()); }
  std::uint32_t port_id() const { return mnl_socket_get_portid(socket_.get()); }

 private:
  struct Closer {
    void operator()(mnl_socket* socket) const { (void)mnl_socket_close(socket); }
  };
  // Outcome of one recvmsg.
  enum class Received { kMessages, kNothing, kLost, kFailed };

  NetlinkSocket() = default;
  Result<void> configure(std::initializer_list<unsigned> groups);
  void reopen();
  Result<void> grow_send_buffer(std::size_t bytes);
  Result<void> send(std::span<NetlinkMessage> requests);
  Received receive(int flags);
  std::span<NetlinkMessage> next_batch(std::span<NetlinkMessage> requests) const;
  void collect_acks(std::span<NetlinkMessage> requests, std::span<Result<void>> results);
  Result<void> run(NetlinkMessage& request, const Callback& callback);
  template <class F>
  void for_each_received(F&& callback);

  std::unique_ptr<mnl_socket, Closer> socket_;
  int bus_ = 0;
  std::uint32_t sequence_ = 0;
  std::size_t send_limit_ = 0;  // bytes that one sendmsg may carry
  std::size_t ack_limit_ = 0;   // requests whose answers fit the receive buffer
  int receive_errno_ = 0;       // of the last Received::kFailed
  std::vector<std::uint8_t> buffer_;
  std::size_t received_ = 0;  // bytes of buffer_ that the last receive filled
};

// Calls `read` until it gives anything but kInterrupted, at most `attempts` times.
template <class F>
auto retry_interrupted(F&& read, int attempts = 8) {
  auto result = read();
  for (int i = 1; i < attempts && !result && result.error().code == ErrorCode::kInterrupted; ++i)
    result = read();
  return result;
}

}  // namespace mesh
