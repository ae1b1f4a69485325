#include "lab/pinger.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>

#include "lab/error.h"
#include "lab/socket_address.h"

namespace mesh::lab {
namespace {

struct Probe {
  std::uint64_t run = 0;
  std::uint32_t sequence = 0;
  std::uint32_t warm_up = 0;       // 1: not counted
  std::array<char, 48> padding{};  // 64 bytes in all, as a ping's
};

constexpr std::uint32_t kCatchUpLimit = 64;  // sent at once after the thread was kept from running

std::uint64_t random_run() {
  std::random_device random;
  return static_cast<std::uint64_t>(random()) << 32 | random();
}

std::string to_text(const Direction& direction) {
  std::string text = fmt::format("{} sent, {} received, {} lost", direction.sent,
                                 direction.received, direction.lost);
  if (direction.refused > 0) text += fmt::format(" ({} refused locally)", direction.refused);
  if (direction.duplicates > 0) text += fmt::format(", {} duplicates", direction.duplicates);
  for (const auto& range : direction.lost_ranges)
    text += fmt::format("; {}..{} at {} ms", range.first, range.last, range.at.count());
  return text;
}

}  // namespace

std::string PingReport::to_string() const {
  return fmt::format("there: {}; back: {}", to_text(there), to_text(back));
}

// One end: what it sent, and what it received of the other's.
struct Pinger::Side {
  UniqueFd socket;
  SocketAddress own;
  std::vector<milliseconds> sent_at;  // by sequence number
  std::vector<std::uint8_t> arrived;  // how often, by the other's sequence number
  std::vector<bool> refused;
  std::set<IpAddress> sources;
  bool warmed_up = false;  // a warm-up probe of the other has arrived
  std::atomic<Clock::time_point> last_arrival{Clock::now()};

  void open(const NetworkNamespace& network, const IpAddress& address) {
    socket = network.socket(to_af(address.family()), SOCK_DGRAM | SOCK_NONBLOCK, 0);
    const int buffer = 8 << 20;
    (void)::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
    const SocketAddress any_port(address, 0);
    check(::bind(socket.get(), any_port.raw(), any_port.size()), "bind to " + address.to_string());
    check(::getsockname(socket.get(), own.raw(), own.capacity()), "getsockname");
  }

  bool send(const Probe& probe, const SocketAddress& to) {
    return ::sendto(socket.get(), &probe, sizeof probe, 0, to.raw(), to.size()) ==
           static_cast<ssize_t>(sizeof probe);
  }

  void receive(std::uint64_t run) {
    for (;;) {
      Probe probe;
      SocketAddress from;
      const ssize_t size =
          ::recvfrom(socket.get(), &probe, sizeof probe, 0, from.raw(), from.capacity());
      if (size < 0) return;
      if (size != static_cast<ssize_t>(sizeof probe) || probe.run != run) continue;
      sources.insert(from.address());
      last_arrival = Clock::now();
      if (probe.warm_up != 0) {
        warmed_up = true;
        continue;
      }
      if (arrived.size() <= probe.sequence) arrived.resize(probe.sequence + 1, 0);
      if (arrived[probe.sequence] < 255) ++arrived[probe.sequence];
    }
  }
};

struct Pinger::State {
  std::uint64_t run = random_run();
  unsigned per_second = 200;
  Side a;
  Side b;
  Clock::time_point start;
  std::atomic<std::uint32_t> sent{0};
  std::atomic<bool> sending{true};
  std::atomic<bool> ending{false};
  std::thread thread;

  void wait_for_arrivals(milliseconds at_most) {
    std::array<pollfd, 2> waiting{{{a.socket.get(), POLLIN, 0}, {b.socket.get(), POLLIN, 0}}};
    (void)::poll(waiting.data(), waiting.size(), static_cast<int>(at_most.count()));
    a.receive(run);
    b.receive(run);
  }

  void warm_up(milliseconds timeout) {
    const auto deadline = Clock::now() + timeout * patience();
    while (!a.warmed_up || !b.warmed_up) {
      if (Clock::now() > deadline)
        fail("probes do not arrive: {} {} > {}, {} {} > {}", b.warmed_up ? "working" : "failing",
             a.own.address().to_string(), b.own.address().to_string(),
             a.warmed_up ? "working" : "failing", b.own.address().to_string(),
             a.own.address().to_string());
      (void)a.send({.run = run, .sequence = 0, .warm_up = 1}, b.own);
      (void)b.send({.run = run, .sequence = 0, .warm_up = 1}, a.own);
      for (int i = 0; i < 4; ++i) wait_for_arrivals(milliseconds(5));
    }
  }

  void send_one(std::uint32_t sequence) {
    const auto at = std::chrono::duration_cast<milliseconds>(Clock::now() - start);
    for (auto [side, other] : {std::pair(&a, &b), std::pair(&b, &a)}) {
      side->sent_at.push_back(at);
      side->refused.push_back(
          !side->send({.run = run, .sequence = sequence, .warm_up = 0}, other->own));
    }
  }

  void work() {
    while (!ending) {
      if (sending) {
        const auto elapsed = std::chrono::duration<double>(Clock::now() - start).count();
        const auto due = static_cast<std::uint32_t>(elapsed * per_second) + 1;
        std::uint32_t sequence = sent;
        for (std::uint32_t burst = 0; sequence < due && burst < kCatchUpLimit; ++burst)
          send_one(sequence++);
        sent = sequence;
      }
      wait_for_arrivals(milliseconds(1));
    }
  }

  [[nodiscard]] bool all_arrived() const {
    const auto complete = [this](const Side& side) {
      if (side.arrived.size() < sent) return false;
      for (const std::uint8_t times : side.arrived)
        if (times == 0) return false;
      return true;
    };
    return complete(a) && complete(b);
  }

  static Direction count(const Side& from, const Side& to) {
    Direction result;
    result.sent = static_cast<std::uint32_t>(from.sent_at.size());
    result.sources = to.sources;
    for (std::uint32_t sequence = 0; sequence < result.sent; ++sequence) {
      const unsigned times = sequence < to.arrived.size() ? to.arrived[sequence] : 0;
      if (times > 0) {
        ++result.received;
        result.duplicates += times - 1;
        continue;
      }
      ++result.lost;
      if (from.refused[sequence]) ++result.refused;
      auto& ranges = result.lost_ranges;
      if (!ranges.empty() && ranges.back().last + 1 == sequence)
        ranges.back().last = sequence;
      else
        ranges.push_back({sequence, sequence, from.sent_at[sequence]});
    }
    return result;
  }
};

Pinger::Pinger(const NetworkNamespace& from, const IpAddress& from_address,
               const NetworkNamespace& to, const IpAddress& to_address, unsigned per_second,
               milliseconds timeout)
    : state_(std::make_unique<State>()) {
  state_->per_second = per_second;
  state_->a.open(from, from_address);
  state_->b.open(to, to_address);
  state_->warm_up(timeout);
  state_->start = Clock::now();
  state_->thread = std::thread([this] { state_->work(); });
}

Pinger::~Pinger() {
  state_->ending = true;
  if (state_->thread.joinable()) state_->thread.join();
}

void Pinger::let_pass(std::uint32_t probes) {
  const std::uint32_t goal = state_->sent + probes;
  // The thread cannot stall for good; the bound only turns a bug into a message.
  if (!wait_until([&] { return state_->sent >= goal; },
                  milliseconds(20'000 + probes * 20'000ULL / state_->per_second), milliseconds(2)))
    fail("the pinger does not send");
}

Clock::time_point Pinger::started() const { return state_->start; }

Pinger::Silence Pinger::silence() const {
  const auto since = [now = Clock::now()](const Side& receiver) {
    return std::chrono::duration_cast<milliseconds>(now - receiver.last_arrival.load());
  };
  return {since(state_->b), since(state_->a)};
}

PingReport Pinger::stop() {
  state_->sending = false;
  state_->ending = true;
  state_->thread.join();
  const auto deadline = Clock::now() + milliseconds(1000) * patience();
  while (!state_->all_arrived() && Clock::now() < deadline)
    state_->wait_for_arrivals(milliseconds(10));
  return {State::count(state_->a, state_->b), State::count(state_->b, state_->a)};
}

}  // namespace mesh::lab
