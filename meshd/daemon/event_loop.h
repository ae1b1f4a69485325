// EventLoop: the one thread that owns the daemon's state, on sd-event.
//
// Everything but post() is called on the loop's own thread. Callbacks must not block for long and
// must not throw.
#pragma once

#include <systemd/sd-event.h>

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "mesh/clock.h"
#include "mesh/result.h"
#include "mesh/unique_fd.h"

namespace mesh {

class EventLoop {
 public:
  using Callback = std::function<void()>;

  // Takes over SIGHUP, SIGTERM and SIGINT (blocked for the threads made later), and pings systemd's
  // watchdog if it asks.
  static Result<std::unique_ptr<EventLoop>> create();
  EventLoop(const EventLoop&) = delete;
  EventLoop(EventLoop&&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  EventLoop& operator=(EventLoop&&) = delete;
  ~EventLoop();

  Result<void> on_readable(int fd, Callback callback);
  Result<void> on_signal(int signal, Callback callback);
  // One timer; setting it again moves it. A time that has passed fires at once.
  Result<void> set_timer(MonotonicTime time, Callback callback);
  // From any thread: runs `callback` on the loop.
  void post(Callback callback);

  Result<void> run();  // until quit()
  void quit();

 private:
  explicit EventLoop(sd_event* event) : event_(event) {}
  Result<void> open_mailbox();
  static int dispatch_io(sd_event_source* source, int fd, std::uint32_t revents, void* callback);
  static int dispatch_signal(sd_event_source* source, const struct signalfd_siginfo* info,
                             void* callback);
  static int dispatch_timer(sd_event_source* source, std::uint64_t usec, void* self);
  void run_posted();

  sd_event* event_;
  sd_event_source* timer_ = nullptr;
  Callback timer_callback_;
  std::vector<std::unique_ptr<Callback>> callbacks_;
  std::vector<sd_event_source*> sources_;
  UniqueFd mailbox_;
  std::mutex mutex_;  // guards posted_ alone
  std::vector<Callback> posted_;
};

}  // namespace mesh
