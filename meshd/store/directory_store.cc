#include "meshd/store/directory_store.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <ctime>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "mesh/unique_fd.h"
#include "meshd/store/directory_watch.h"
#include "meshd/store/folder_view.h"
#include "meshd/store/own_record.h"
#include "meshd/store/store_folder.h"

namespace mesh {
namespace {

MonotonicTime monotonic_now() { return std::chrono::steady_clock::now(); }

// The daemon may change its working directory; a path it was given may not follow.
std::filesystem::path absolute_path(const std::filesystem::path& path) {
  std::error_code unknown;
  const auto absolute = std::filesystem::absolute(path, unknown);
  return (unknown ? path : absolute).lexically_normal();
}

}  // namespace

// The thread. Everything below the mutex belongs to it alone.
//
// It is either attached (directory_ holds the store's directory, and changes are delivered as they
// come) or detached (it tries to attach). Attaching delivers the whole store; whatever goes wrong
// while attached leads to detached, so that nothing is ever concluded from a broken directory.
class DirectoryStore::Worker {
 public:
  Worker(std::filesystem::path path, const DirectoryStoreOptions& options)
      : options_(options),
        path_(std::move(path)),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        nodes_(options.settle, kNodeRecords),
        policies_(options.settle, kPolicies),
        own_(options.retry_first, options.publish_retry_cap),
        attach_pause_(options.retry_first) {}

  void start(Sink sink) {
    if (thread_.joinable() || stopping_) return;
    sink_ = std::move(sink);
    thread_ = std::thread([this] { run(); });
  }

  void publish(NodeRecord record) {
    {
      const std::lock_guard lock(mutex_);
      published_ = std::move(record);
    }
    wake();
  }

  void stop() {
    stopping_ = true;
    wake();
    if (thread_.joinable()) thread_.join();
  }

 private:
  struct Changes {
    FolderView<NodeRecord>::Changes nodes;
    FolderView<EncryptionPolicy>::Changes policies;
  };

  void wake() {
    const std::uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);  // full already: it will wake all the same
  }

  void run() {
    while (!stopping_) {
      const MonotonicTime now = monotonic_now();
      take_published(now);
      if (directory_)
        follow(now);
      else
        attach(now);
      if (!stopping_) wait();
    }
  }

  void take_published(MonotonicTime now) {
    const std::lock_guard lock(mutex_);
    if (!published_) return;
    own_.set(std::move(*published_), now);
    published_.reset();
    nodes_.set_own_file(own_.file());
  }

  // ---- detached ----

  void attach(MonotonicTime now) {
    if (now < attach_at_) return;
    if (auto attached = try_attach(now); !attached) {
      attach_at_ = now + attach_pause_;
      attach_pause_ = std::min(attach_pause_ * 2, options_.attach_retry_cap);
      detach(attached.error().message);
    }
  }

  Result<void> try_attach(MonotonicTime now) {
    auto directory = StoreDirectory::open(path_, known_device_);
    if (!directory) return directory.error();
    watch();  // first: what changes from here on makes events
    if (!directory->is_current())
      return make_error(ErrorCode::kUnavailable, "{}: replaced while it was opened; trying again",
                        path_.string());
    Changes everything;
    if (auto read = nodes_.read_all(directory->nodes(), now, everything.nodes); !read) return read;
    if (auto read = policies_.read_all(directory->policies(), now, everything.policies); !read)
      return read;

    known_device_ = directory->device();
    directory_ = std::move(*directory);
    attach_pause_ = options_.retry_first;
    rescan_at_ = now + rescan_interval();
    own_.retry_now(now);
    publish_own(now);
    deliver(std::move(everything), /*complete=*/true);
    return {};
  }

  void watch() {
    if (options_.use_inotify)
      (void)watch_.watch(path_, {StoreDirectory::kNodes, StoreDirectory::kPolicies});
  }

  void detach(const std::string& why) {
    directory_.reset();
    watch_ = {};
    outage_ = why;
    deliver({}, /*complete=*/false);
  }

  // ---- attached ----

  void follow(MonotonicTime now) {
    Changes changes;
    if (auto followed = try_follow(now, changes); !followed) {
      attach_at_ = now;
      detach(followed.error().message);
      return;
    }
    if (!directory_) return;
    publish_own(now);
    deliver(std::move(changes), /*complete=*/false);
  }

  Result<void> try_follow(MonotonicTime now, Changes& changes) {
    DirectoryWatch::Events events = watch_.drain();
    const bool settled = next_settled() <= now;
    const bool rescan_due = events.lost || now >= rescan_at_;
    // Nothing is gone because the directory is another one now, or none.
    if ((events.moved || settled || rescan_due) && !directory_->is_current()) return reattach(now);

    if (rescan_due) {
      if (!watch_.active()) watch();
      rescan_cost_ = Duration::zero();
    }
    if (auto done =
            follow_folder(nodes_, directory_->nodes(), now, events.written[StoreDirectory::kNodes],
                          rescan_due, changes.nodes);
        !done)
      return done;
    auto done =
        follow_folder(policies_, directory_->policies(), now,
                      events.written[StoreDirectory::kPolicies], rescan_due, changes.policies);
    if (rescan_due) rescan_at_ = now + rescan_interval();
    return done;
  }

  template <class Value>
  Result<void> follow_folder(FolderView<Value>& view, const StoreFolder& folder, MonotonicTime now,
                             const std::map<std::string, bool>& events, bool rescan,
                             typename FolderView<Value>::Changes& changes) {
    for (const auto& [file, written] : events) {
      if (!written)
        view.unsettled(file, now);
      else if (auto done = view.written(folder, file, now, changes); !done)
        return done;
    }
    // Before what has settled is read: a file that is back is not said to be gone in between.
    if (rescan) {
      const CpuStopwatch cost;
      if (auto done = view.rescan(folder, now, changes); !done) return done;
      rescan_cost_ += cost.elapsed();
    }
    return view.settle(folder, now, changes);
  }

  // Straight from one directory to the next when there is one: that is no outage.
  Result<void> reattach(MonotonicTime now) {
    directory_.reset();
    return try_attach(now);
  }

  Duration rescan_interval() const { return rescan_pause(options_, watch_.active(), rescan_cost_); }

  void publish_own(MonotonicTime now) {
    // Our own write is seen at once even where no event will tell.
    if (own_.write(directory_->nodes(), now)) nodes_.unsettled(own_.file(), now - options_.settle);
  }

  // ---- both ----

  MonotonicTime next_settled() const {
    return std::min(nodes_.next_settled().value_or(MonotonicTime::max()),
                    policies_.next_settled().value_or(MonotonicTime::max()));
  }

  // Tells the sink what is new, if anything is.
  void deliver(Changes changes, bool complete) {
    StoreUpdate update;
    update.in_sync = directory_.has_value();
    update.complete = complete;
    for (auto& [node, entry] : changes.nodes) update.changes.push_back({node, std::move(entry)});
    for (auto& [policy, entry] : changes.policies)
      update.policies.push_back({policy, std::move(entry)});
    update.error = !directory_               ? outage_
                   : !own_.problem().empty() ? own_.problem()
                                             : watch_.problem();
    const bool same_state =
        told_ && told_->first == update.in_sync && told_->second == update.error;
    if (!complete && update.changes.empty() && update.policies.empty() && same_state) return;
    told_ = {update.in_sync, update.error};
    if (!stopping_) sink_(std::move(update));
  }

  void wait() {
    MonotonicTime next = attach_at_;
    if (directory_) {
      next = std::min(rescan_at_, next_settled());
      next = std::min(next, own_.due().value_or(MonotonicTime::max()));
    }
    const Duration pause = std::max(next - monotonic_now(), Duration::zero());
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(pause);
    const timespec timeout{seconds.count(), (pause - seconds).count()};
    std::array<pollfd, 2> fds{{{wake_.get(), POLLIN, 0}, {watch_.fd(), POLLIN, 0}}};
    (void)::ppoll(fds.data(), fds.size(), &timeout, nullptr);  // EINTR: a round too many
    std::uint64_t count = 0;
    (void)!::read(wake_.get(), &count, sizeof count);
  }

  const DirectoryStoreOptions options_;
  const std::filesystem::path path_;
  const UniqueFd wake_;
  Sink sink_;
  std::thread thread_;
  std::atomic<bool> stopping_ = false;
  std::mutex mutex_;
  std::optional<NodeRecord> published_;  // guarded by mutex_

  std::optional<StoreDirectory> directory_;  // attached
  std::optional<dev_t> known_device_;        // of the file system that the store was last seen on
  DirectoryWatch watch_;
  FolderView<NodeRecord> nodes_;
  FolderView<EncryptionPolicy> policies_;
  OwnRecordFile own_;
  MonotonicTime attach_at_{};
  Duration attach_pause_;
  MonotonicTime rescan_at_{};
  Duration rescan_cost_{};
  std::string outage_;
  std::optional<std::pair<bool, std::string>> told_;
};

DirectoryStore::DirectoryStore(const std::filesystem::path& path, DirectoryStoreOptions options)
    : worker_(std::make_unique<Worker>(absolute_path(path), options)) {}

DirectoryStore::~DirectoryStore() { worker_->stop(); }

void DirectoryStore::start(Sink sink) { worker_->start(std::move(sink)); }

void DirectoryStore::publish(NodeRecord record) { worker_->publish(std::move(record)); }

void DirectoryStore::stop() { worker_->stop(); }

}  // namespace mesh
