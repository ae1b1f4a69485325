#include "meshd/daemon/path_prober.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "meshd/daemon/log.h"

namespace mesh {
namespace {

constexpr Duration kPace = std::chrono::seconds(5);
constexpr Duration kPacePerPeer = std::chrono::milliseconds(25);
// The most that is sent, at a start of a large mesh for instance; so many at once.
constexpr Duration kBetweenProbes = std::chrono::milliseconds(10);
constexpr int kBurst = 20;
// A pass looks at every peer.
constexpr Duration kBetweenPasses = std::chrono::milliseconds(250);
// An answer that took longer is nobody's.
constexpr Duration kForgetAfter = std::chrono::seconds(10);
constexpr std::size_t kManySent = 4096;

// Where the kernel sends this peer's packets now; it may have roamed from what its record says.
std::optional<IpAddress> address_of(const Peer& peer, const Mirror& mirror) {
  if (peer.decision().path != Path::kWireguard || !peer.active()) return std::nullopt;
  const auto found = mirror.peers().find(peer.active()->key);
  if (found == mirror.peers().end() || !found->second.endpoint) return std::nullopt;
  return found->second.endpoint->address;
}

}  // namespace

Result<std::unique_ptr<PathProber>> PathProber::create(Result<std::unique_ptr<PathProbe>> probe,
                                                       const Clock& clock) {
  UniqueFd timer(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer)
    return Error{ErrorCode::kIo, fmt::format("cannot make a timer: {}", std::strerror(errno)),
                 errno};
  std::string why_not = probe ? "" : "it cannot be measured: " + probe.error().message;
  return std::unique_ptr<PathProber>(new PathProber(probe ? std::move(*probe) : nullptr,
                                                    std::move(why_not), std::move(timer), clock));
}

PathProber::PathProber(std::unique_ptr<PathProbe> probe, std::string why_not, UniqueFd timer,
                       const Clock& clock)
    : probe_(std::move(probe)),
      why_not_(std::move(why_not)),
      timer_(std::move(timer)),
      clock_(clock) {}

// --- the loop ---

bool PathProber::run() {
  std::uint64_t expirations = 0;
  (void)!read(timer_.get(), &expirations, sizeof expirations);
  const MonotonicTime now = clock_.now().monotonic;
  take_news(now);
  send_due(now);
  const bool pass = urgent_ && now >= next_pass_;
  if (pass) {
    urgent_ = false;
    next_pass_ = now + kBetweenPasses;
  }
  arm_timer();
  return pass;
}

void PathProber::take_news(MonotonicTime now) {
  if (!probe_) return;
  for (const ProbeNews& news : probe_->receive()) {
    const auto sent = sent_.find(news.number);
    if (sent == sent_.end() || now - sent->second.at > kForgetAfter) continue;
    const auto found = targets_.find(sent->second.node);
    if (found == targets_.end() || found->second.address != news.peer) continue;
    PathMtuSearch& search = found->second.search;
    const auto before = search.path_mtu();
    const std::uint32_t size = sent->second.size;
    if (news.kind == ProbeNews::Kind::kRefused) {
      search.on_refusal(size, news.limit, now);
    } else if (news.size == size) {
      search.on_answer(size, now - sent->second.at, now);
      sent_.erase(sent);
    }
    note_path(found->first, found->second, before);
    schedule(found->first, found->second, search.due());
  }
}

void PathProber::note_path(const std::string& node, const Target& target,
                           std::optional<std::uint32_t> before) {
  const auto found = target.search.path_mtu();
  if (!found || found == before) return;
  // Most ways are as wide as the link, and were taken for that.
  if (!before && found == target.search.top()) return;
  urgent_ = true;
  log::info("measured the way to a peer", {{"peer", node},
                                           {"address", target.address.to_string()},
                                           {"path-mtu", std::to_string(*found)},
                                           {"link-mtu", std::to_string(target.search.top())}});
}

// At most so many at once, and then one every kBetweenProbes: `spent_until_` runs ahead of the
// clock by what was sent.
void PathProber::send_due(MonotonicTime now) {
  spent_until_ = std::max(spent_until_, now - kBurst * kBetweenProbes);
  while (!due_.empty() && due_.begin()->first <= now && spent_until_ <= now) {
    const auto found = targets_.find(due_.begin()->second);
    Target& target = found->second;
    const auto before = target.search.path_mtu();
    const auto size = target.search.step(now);
    note_path(found->first, target, before);
    if (size) {
      send(found->first, target, *size, now);
      spent_until_ += kBetweenProbes;
    }
    schedule(found->first, target, target.search.due());
  }
}

void PathProber::send(const std::string& node, const Target& target, std::uint32_t size,
                      MonotonicTime now) {
  if (sent_.size() >= kManySent)
    std::erase_if(sent_, [&](const auto& item) { return now - item.second.at > kForgetAfter; });
  const std::uint16_t number = next_number_++;
  sent_[number] = {node, size, now};
  probe_->send({target.address, size, number});
}

void PathProber::schedule(const std::string& node, Target& target, MonotonicTime time) {
  due_.erase({target.due, node});
  target.due = time;
  due_.emplace(time, node);
}

std::optional<MonotonicTime> PathProber::next() const {
  if (due_.empty()) return std::nullopt;
  const MonotonicTime probe = std::max(due_.begin()->first, spent_until_);
  return urgent_ ? std::min(probe, next_pass_) : probe;
}

void PathProber::arm_timer() {
  itimerspec when{};  // zero: off
  if (const auto time = next()) {
    const auto since_boot = std::max(time->time_since_epoch(), Duration(1));
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_boot);
    when.it_value.tv_sec = static_cast<time_t>(seconds.count());
    when.it_value.tv_nsec = static_cast<long>((since_boot - seconds).count());
  }
  (void)timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

// --- the pass ---

void PathProber::tell(MeshModel& model) const {
  for (const auto& [node, target] : targets_) {
    if (const auto mtu = target.search.path_mtu()) {
      model.set_path(node, MeasuredPath{*mtu, target.address.family()});
    } else if (target.moved && target.search.standing() == PathMtuSearch::Standing::kUnanswered) {
      model.set_path(node, std::nullopt);  // what was true of its former address
    }
  }
}

void PathProber::follow(const MeshModel& model, const Mirror& mirror) {
  const LocalNode& local = model.local();
  fixed_ = local.mtu_fixed;
  if (!probe_) return;
  if (mark_ != local.fwmark) probe_->set_mark(mark_ = local.fwmark);
  const MonotonicTime now = clock_.now().monotonic;
  ++follows_;
  if (!fixed_ && local.underlay_mtu != 0) {
    for (const auto& [node, peer] : model.peers()) {
      const auto address = address_of(peer, mirror);
      if (!address) continue;
      follow_peer(node, peer, *address, local.underlay_mtu, now);
    }
  }
  std::erase_if(targets_, [&](const auto& item) {
    if (item.second.followed == follows_) return false;
    due_.erase({item.second.due, item.first});
    return true;
  });
  const Duration pace = std::max(kPace, kPacePerPeer * static_cast<int>(targets_.size()));
  for (auto& [node, target] : targets_) target.search.set_pace(pace);
  arm_timer();
}

void PathProber::follow_peer(const std::string& node, const Peer& peer, const IpAddress& address,
                             std::uint32_t top, MonotonicTime now) {
  const bool encrypted = peer.decision().state == State::kEncrypted;
  const auto search = [&] { return PathMtuSearch(smallest_path_mtu(address.family()), top, now); };
  const auto known = targets_.find(node);
  if (known == targets_.end()) {
    Target& fresh =
        targets_.emplace(node, Target{address, search(), now, follows_, encrypted}).first->second;
    return schedule(node, fresh, now);
  }
  Target& target = known->second;
  target.followed = follows_;
  if (target.address != address || target.search.top() != top) {
    target.moved = target.moved || target.address != address;
    target.address = address;
    target.search = search();
    schedule(node, target, now);
  } else if (encrypted && !target.encrypted) {  // back from a silence, perhaps by another way
    target.search.restart(now);
    schedule(node, target, now);
  }
  target.encrypted = encrypted;
}

// --- what is so ---

std::optional<std::uint32_t> PathProber::path_mtu(const std::string& node) const {
  const auto found = targets_.find(node);
  return found == targets_.end() ? std::nullopt : found->second.search.path_mtu();
}

std::string PathProber::why_unsure(const std::string& node) const {
  if (fixed_) return "not measured: wireguard.mtu is set";
  if (!probe_) return why_not_;
  const auto found = targets_.find(node);
  if (found == targets_.end()) return "not measured: nothing is sent to it through WireGuard";
  switch (found->second.search.standing()) {
    case PathMtuSearch::Standing::kUnmeasured:
      return "not measured yet";
    case PathMtuSearch::Standing::kUnanswered:
      return found->second.search.path_mtu() ? "it answers no echo requests now"
                                             : "not measured: it answers no echo requests";
    case PathMtuSearch::Standing::kMeasured:
      break;
  }
  return "";
}

}  // namespace mesh
