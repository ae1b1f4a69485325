#include "meshd/daemon/event_loop.h"

#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

namespace mesh {
namespace {

Result<void> check(int result, std::string_view what) {
  if (result >= 0) return {};
  return Error{ErrorCode::kIo, fmt::format("event loop: {}: {}", what, std::strerror(-result)),
               -result};
}

}  // namespace

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGHUP, SIGTERM, SIGINT}) sigaddset(&signals, signal);
  if (const int error = pthread_sigmask(SIG_BLOCK, &signals, nullptr); error != 0)
    return check(-error, "cannot block signals").error();
  sd_event* event = nullptr;
  if (auto made = check(sd_event_new(&event), "cannot be made"); !made) return made.error();
  std::unique_ptr<EventLoop> loop(new EventLoop(event));
  if (auto watchdog = check(sd_event_set_watchdog(event, 1), "cannot set the watchdog"); !watchdog)
    return watchdog.error();
  if (auto mailbox = loop->open_mailbox(); !mailbox) return mailbox.error();
  return loop;
}

EventLoop::~EventLoop() {
  for (sd_event_source* source : sources_) sd_event_source_disable_unref(source);
  sd_event_source_disable_unref(timer_);
  sd_event_unref(event_);
}

Result<void> EventLoop::open_mailbox() {
  mailbox_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (mailbox_.get() < 0) return check(-errno, "cannot open an eventfd");
  return on_readable(mailbox_.get(), [this] { run_posted(); });
}

int EventLoop::dispatch_io(sd_event_source*, int, std::uint32_t, void* callback) {
  (*static_cast<Callback*>(callback))();
  return 0;
}

int EventLoop::dispatch_signal(sd_event_source*, const signalfd_siginfo*, void* callback) {
  (*static_cast<Callback*>(callback))();
  return 0;
}

int EventLoop::dispatch_timer(sd_event_source*, std::uint64_t, void* self) {
  auto* loop = static_cast<EventLoop*>(self);
  const Callback callback = std::exchange(loop->timer_callback_, nullptr);
  if (callback) callback();
  return 0;
}

Result<void> EventLoop::on_readable(int fd, Callback callback) {
  auto owned = std::make_unique<Callback>(std::move(callback));
  sd_event_source* source = nullptr;
  if (auto added =
          check(sd_event_add_io(event_, &source, fd, 1 /* EPOLLIN */, dispatch_io, owned.get()),
                "cannot watch a descriptor");
      !added)
    return added;
  sources_.push_back(source);
  callbacks_.push_back(std::move(owned));
  return {};
}

Result<void> EventLoop::on_signal(int signal, Callback callback) {
  auto owned = std::make_unique<Callback>(std::move(callback));
  sd_event_source* source = nullptr;
  if (auto added = check(sd_event_add_signal(event_, &source, signal, dispatch_signal, owned.get()),
                         "cannot watch a signal");
      !added)
    return added;
  sources_.push_back(source);
  callbacks_.push_back(std::move(owned));
  return {};
}

Result<void> EventLoop::set_timer(MonotonicTime time, Callback callback) {
  timer_callback_ = std::move(callback);
  const auto since_boot =
      std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  // 0 would be read as "now, always"; a time in the past fires once.
  const auto usec = static_cast<std::uint64_t>(std::max<std::int64_t>(since_boot, 1));
  if (timer_ == nullptr)
    return check(
        sd_event_add_time(event_, &timer_, CLOCK_MONOTONIC, usec, 1000, dispatch_timer, this),
        "cannot add a timer");
  if (auto moved = check(sd_event_source_set_time(timer_, usec), "cannot move the timer"); !moved)
    return moved;
  return check(sd_event_source_set_enabled(timer_, SD_EVENT_ONESHOT), "cannot arm the timer");
}

void EventLoop::post(Callback callback) {
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(callback));
  }
  const std::uint64_t one = 1;
  // A full counter means that a wake-up is pending already.
  (void)!write(mailbox_.get(), &one, sizeof one);
}

void EventLoop::run_posted() {
  std::uint64_t count = 0;
  (void)!read(mailbox_.get(), &count, sizeof count);
  std::vector<Callback> callbacks;
  {
    const std::lock_guard lock(mutex_);
    callbacks.swap(posted_);
  }
  for (const Callback& callback : callbacks) callback();
}

Result<void> EventLoop::run() { return check(sd_event_loop(event_), "failed"); }

void EventLoop::quit() { sd_event_exit(event_, 0); }

}  // namespace mesh
