#include "meshd/dataplane/netlink_socket.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>

#include "meshd/dataplane/errors.h"

namespace mesh {
namespace {

constexpr std::size_t kInitialBuffer =
    std::size_t{64} * 1024;                // dumps come in parts of at most 32 KiB
constexpr int kReceiveBuffer = 8 << 20;    // a burst of route events, not memory in use
constexpr std::size_t kAckCost = 2048;     // what one queued ack counts against SO_RCVBUF, at most
constexpr std::size_t kSendOverhead = 32;  // netlink_sendmsg refuses more than sk_sndbuf - 32
constexpr std::size_t kMaxIovecs = 1024;   // UIO_MAXIOV

int socket_option(int fd, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : 0;
}

// Raises a buffer beyond the sysctl's limit where we may, else up to it.
void raise_buffer(int fd, int option_force, int option, int bytes) {
  if (setsockopt(fd, SOL_SOCKET, option_force, &bytes, sizeof bytes) != 0)
    (void)setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof bytes);
}

// What NLMSG_ERROR or NLMSG_DONE says: 0 or a positive errno, and the kernel's text.
struct Verdict {
  int error = 0;
  std::string text;
};

// The attributes that NETLINK_EXT_ACK adds. Their place depends on whether the request is echoed
// before them (linux/netlink.h, struct nlmsgerr).
std::string ack_text(const nlmsghdr& message) {
  if ((message.nlmsg_flags & NLM_F_ACK_TLVS) == 0) return {};
  std::size_t skip = sizeof(int);
  if (message.nlmsg_type == NLMSG_ERROR) {
    const auto echo = family_header<nlmsgerr>(message);
    if (!echo) return {};
    skip = sizeof(nlmsgerr);
    if ((message.nlmsg_flags & NLM_F_CAPPED) == 0 && echo->msg.nlmsg_len > NLMSG_HDRLEN)
      skip += echo->msg.nlmsg_len - NLMSG_HDRLEN;
  }
  AttributeReader reader(attributes_of(message, skip));
  while (const auto attribute = reader.next())
    if (attribute->type == NLMSGERR_ATTR_MSG) return std::string(attribute->as_string());
  return {};
}

Verdict verdict_of(const nlmsghdr& message) {
  const auto code = family_header<int>(message);
  if (!code) return {message.nlmsg_type == NLMSG_DONE ? 0 : EBADMSG, {}};
  return {*code < 0 ? -*code : 0, ack_text(message)};
}

Result<void> to_result(const Verdict& verdict) {
  if (verdict.error == 0) return {};
  return error_from_errno(verdict.error, verdict.text.empty() ? "the kernel" : verdict.text);
}

Error no_answer() {
  return {ErrorCode::kTimeout, "the kernel gave no answer over netlink", ETIMEDOUT};
}

Error answers_lost() {
  return {ErrorCode::kInterrupted, "netlink answers were lost; reading again", ENOBUFS};
}

}  // namespace

Result<NetlinkSocket> NetlinkSocket::open(int bus, std::initializer_list<unsigned> groups) {
  NetlinkSocket socket;
  socket.bus_ = bus;
  socket.buffer_.resize(kInitialBuffer);
  if (auto result = socket.configure(groups); !result) return result.error();
  return socket;
}

Result<void> NetlinkSocket::configure(std::initializer_list<unsigned> groups) {
  socket_.reset(mnl_socket_open2(bus_, SOCK_CLOEXEC));
  if (!socket_) return error_from_errno(errno, "open a netlink socket");

  raise_buffer(fd(), SO_RCVBUFFORCE, SO_RCVBUF, kReceiveBuffer);
  const auto set = [&](int option) {  // each is a later addition: without it we still work
    int on = 1;
    (void)mnl_socket_setsockopt(socket_.get(), option, &on, sizeof on);
  };
  set(NETLINK_EXT_ACK);
  set(NETLINK_CAP_ACK);
  set(NETLINK_GET_STRICT_CHK);
  const timeval timeout{.tv_sec = kAnswerTimeout.count(), .tv_usec = 0};
  if (setsockopt(fd(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0)
    return error_from_errno(errno, "set the netlink socket's timeout");

  // Binds to a free port id and reads it back with getsockname: it is not the process id when that
  // is taken already.
  if (mnl_socket_bind(socket_.get(), 0, MNL_SOCKET_AUTOPID) != 0)
    return error_from_errno(errno, "bind a netlink socket");
  for (unsigned group : groups)
    if (mnl_socket_setsockopt(socket_.get(), NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0)
      return error_from_errno(errno, fmt::format("join netlink group {}", group));

  send_limit_ = static_cast<std::size_t>(socket_option(fd(), SO_SNDBUF)) - kSendOverhead;
  ack_limit_ = std::clamp<std::size_t>(
      static_cast<std::size_t>(socket_option(fd(), SO_RCVBUF)) / kAckCost, 16, kMaxIovecs);
  return {};
}

// A dump that was not read to its end leaves the socket unfit for the next one (EBUSY): a new
// socket costs less than to find out. Keeps the old one when none can be had.
void NetlinkSocket::reopen() {
  auto old = std::move(socket_);
  if (auto result = configure({}); !result) socket_ = std::move(old);
}

NetlinkSocket::Received NetlinkSocket::receive(int flags) {
  sockaddr_nl sender{};
  iovec part{buffer_.data(), buffer_.size()};
  msghdr message{};
  message.msg_name = &sender;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  for (;;) {
    message.msg_namelen = sizeof sender;
    // MSG_TRUNC: the full length is returned even when the buffer was too small for it.
    const ssize_t size = recvmsg(fd(), &message, flags | MSG_TRUNC);
    if (size < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return Received::kNothing;
      if (errno == ENOBUFS) return Received::kLost;
      receive_errno_ = errno;
      return Received::kFailed;
    }
    if (sender.nl_pid != 0) continue;  // another process, not the kernel
    if (static_cast<std::size_t>(size) > buffer_.size()) {
      wipe_buffer();  // growing leaves the old bytes behind
      buffer_.resize(static_cast<std::size_t>(size) * 2);
      return Received::kLost;
    }
    received_ = static_cast<std::size_t>(size);
    return Received::kMessages;
  }
}

template <class F>
void NetlinkSocket::for_each_received(F&& callback) {
  MessageReader reader(Bytes(buffer_).first(received_));
  while (const nlmsghdr* message = reader.next()) callback(*message);
}

Result<void> NetlinkSocket::send(std::span<NetlinkMessage> requests) {
  std::vector<iovec> parts;
  parts.reserve(requests.size());
  for (NetlinkMessage& request : requests) {
    nlmsghdr& header = request.header();
    header.nlmsg_seq = ++sequence_;
    header.nlmsg_pid = port_id();
    parts.push_back({&header, request.size()});
  }
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  msghdr message{};
  message.msg_name = &kernel;
  message.msg_namelen = sizeof kernel;
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  while (sendmsg(fd(), &message, 0) < 0)
    if (errno != EINTR) return error_from_errno(errno, "send to the kernel over netlink");
  return {};
}

Result<void> NetlinkSocket::dump(NetlinkMessage& request, const Callback& callback) {
  request.header().nlmsg_flags |= NLM_F_DUMP;
  return run(request, callback);
}

Result<void> NetlinkSocket::query(NetlinkMessage& request, const Callback& callback) {
  request.header().nlmsg_flags |= NLM_F_ACK;
  return run(request, callback);
}

Result<void> NetlinkSocket::run(NetlinkMessage& request, const Callback& callback) {
  if (auto sent = send({&request, 1}); !sent) return sent;
  bool interrupted = false;
  Result<void> refused;  // the callback's first error
  std::optional<Verdict> verdict;
  while (!verdict) {
    switch (receive(0)) {
      case Received::kMessages:
        break;
      case Received::kNothing:
        reopen();
        return no_answer();
      case Received::kLost:
        reopen();
        return answers_lost();
      case Received::kFailed:
        return error_from_errno(receive_errno_, "receive from the kernel over netlink");
    }
    for_each_received([&](const nlmsghdr& message) {
      if (message.nlmsg_seq != sequence_ || message.nlmsg_pid != port_id() || verdict) return;
      interrupted = interrupted || (message.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (message.nlmsg_type == NLMSG_DONE || message.nlmsg_type == NLMSG_ERROR)
        verdict = verdict_of(message);
      else if (message.nlmsg_type >= NLMSG_MIN_TYPE && refused)
        refused = callback(message);
    });
  }
  if (verdict->error != 0) return to_result(*verdict);
  if (interrupted)
    return Error{ErrorCode::kInterrupted, "the kernel's state changed while it was read", EINTR};
  return refused;
}

std::span<NetlinkMessage> NetlinkSocket::next_batch(std::span<NetlinkMessage> requests) const {
  std::size_t bytes = 0;
  std::size_t count = 0;
  while (count < requests.size() && count < ack_limit_ &&
         (count == 0 || bytes + requests[count].size() <= send_limit_))
    bytes += requests[count++].size();
  return requests.first(count);
}

std::vector<Result<void>> NetlinkSocket::transact(std::span<NetlinkMessage> requests) {
  std::vector<Result<void>> results(requests.size());
  std::span<Result<void>> open_results(results);
  while (!requests.empty()) {
    const std::span<NetlinkMessage> batch = next_batch(requests);
    for (NetlinkMessage& request : batch) request.header().nlmsg_flags |= NLM_F_ACK;
    const std::span<Result<void>> batch_results = open_results.first(batch.size());
    Result<void> sent = batch.front().size() > send_limit_ ? grow_send_buffer(batch.front().size())
                                                           : Result<void>();
    if (sent) sent = send(batch);
    if (sent)
      collect_acks(batch, batch_results);
    else
      std::fill(batch_results.begin(), batch_results.end(), sent);
    requests = requests.subspan(batch.size());
    open_results = open_results.subspan(batch.size());
  }
  return results;
}

Result<void> NetlinkSocket::transact(NetlinkMessage& request) {
  return std::move(transact({&request, 1}).front());
}

// The batch's sequence numbers are consecutive and end with sequence_.
void NetlinkSocket::collect_acks(std::span<NetlinkMessage> requests,
                                 std::span<Result<void>> results) {
  const std::uint32_t first = sequence_ - static_cast<std::uint32_t>(requests.size()) + 1;
  std::vector<bool> answered(requests.size(), false);
  std::size_t missing = requests.size();
  std::optional<Error> failure;
  bool done = false;
  while (missing > 0 && !done) {
    // The kernel has answered before sendmsg returned: after a loss, what is left waits already.
    switch (receive(failure ? MSG_DONTWAIT : 0)) {
      case Received::kMessages:
        for_each_received([&](const nlmsghdr& message) {
          const std::size_t index = message.nlmsg_seq - first;  // wraps for stray answers
          if (message.nlmsg_type != NLMSG_ERROR || message.nlmsg_pid != port_id() ||
              index >= requests.size() || answered[index])
            return;
          answered[index] = true;
          --missing;
          results[index] = to_result(verdict_of(message));
        });
        break;
      case Received::kLost:
        failure = error_from_errno(ENOBUFS, "the kernel's answers to a batch");
        break;
      case Received::kNothing:
        if (!failure) failure = no_answer();
        done = true;
        break;
      case Received::kFailed:
        failure = error_from_errno(receive_errno_, "receive from the kernel over netlink");
        done = true;
        break;
    }
  }
  for (std::size_t i = 0; failure && i < requests.size(); ++i)
    if (!answered[i]) results[i] = *failure;
}

Result<void> NetlinkSocket::grow_send_buffer(std::size_t bytes) {
  raise_buffer(fd(), SO_SNDBUFFORCE, SO_SNDBUF, static_cast<int>(bytes + 2 * kSendOverhead));
  send_limit_ = static_cast<std::size_t>(socket_option(fd(), SO_SNDBUF)) - kSendOverhead;
  if (send_limit_ >= bytes) return {};
  return Error{ErrorCode::kPermission,
               fmt::format("a netlink transaction of {} bytes needs a larger send buffer: run as "
                           "root, or raise net.core.wmem_max",
                           bytes),
               EMSGSIZE};
}

Result<void> NetlinkSocket::commit(std::span<NetlinkMessage> batch) {
  if (batch.size() < 2) return {};   // no BEGIN and END: nothing asked
  std::vector<std::uint8_t> joined;  // one buffer: a transaction may have more parts than iovecs
  std::size_t bytes = 0;
  for (const NetlinkMessage& message : batch) bytes += message.size();
  joined.reserve(bytes);
  if (bytes > send_limit_)
    if (auto grown = grow_send_buffer(bytes); !grown) return grown;

  // Only the last message before END asks for an ack: kernels differ on whether BEGIN and END are
  // acknowledged. Errors come for any message.
  const std::uint32_t first = sequence_ + 1;
  const std::size_t last = batch.size() > 2 ? batch.size() - 2 : 0;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    nlmsghdr& header = batch[i].header();
    header.nlmsg_seq = ++sequence_;
    header.nlmsg_pid = port_id();
    if (i == last)
      header.nlmsg_flags = static_cast<std::uint16_t>(header.nlmsg_flags | NLM_F_ACK);
    else
      header.nlmsg_flags = static_cast<std::uint16_t>(header.nlmsg_flags & ~NLM_F_ACK);
    const Bytes part = batch[i].bytes();
    joined.insert(joined.end(), part.begin(), part.end());
  }
  while (mnl_socket_sendto(socket_.get(), joined.data(), joined.size()) < 0)
    if (errno != EINTR) return error_from_errno(errno, "send a transaction to the kernel");

  // Everything was answered before sendto returned: the first error, or the ack of the last.
  for (;;) {
    switch (receive(0)) {
      case Received::kMessages:
        break;
      case Received::kNothing:
        return no_answer();
      case Received::kLost:
        return error_from_errno(ENOBUFS, "the kernel's answers to a transaction");
      case Received::kFailed:
        return error_from_errno(receive_errno_, "receive from the kernel over netlink");
    }
    std::optional<Result<void>> outcome;
    for_each_received([&](const nlmsghdr& message) {
      const std::size_t index = message.nlmsg_seq - first;
      if (message.nlmsg_type != NLMSG_ERROR || message.nlmsg_pid != port_id() ||
          index >= batch.size() || outcome)
        return;
      const Verdict verdict = verdict_of(message);
      if (verdict.error != 0)
        outcome = to_result(verdict).error().at(fmt::format("message {} of the batch", index));
      else if (index == last)
        outcome = Result<void>();
    });
    if (outcome) return *outcome;
  }
}

bool NetlinkSocket::drain(const std::function<void(const nlmsghdr&)>& callback) {
  bool lost = false;
  for (;;) {
    switch (receive(MSG_DONTWAIT)) {
      case Received::kMessages:
        for_each_received(callback);
        break;
      case Received::kLost:
        lost = true;
        break;
      case Received::kNothing:
        return lost;
      case Received::kFailed:
        return true;
    }
  }
}

}  // namespace mesh
