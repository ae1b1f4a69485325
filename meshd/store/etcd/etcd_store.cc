#include "meshd/store/etcd/etcd_store.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "meshd/store/etcd/etcd_client.h"
#include "meshd/store/etcd/etcd_keys.h"
#include "meshd/store/etcd/etcd_own.h"
#include "meshd/store/etcd/etcd_probe.h"
#include "meshd/store/etcd/etcd_reader.h"
#include "meshd/store/etcd/etcd_silence.h"
#include "meshd/store/etcd/etcd_view.h"
#include "meshd/store/etcd/etcd_watch.h"

namespace mesh {
namespace {

MonotonicTime monotonic_now() { return std::chrono::steady_clock::now(); }
Instant instant_now() { return {monotonic_now(), std::chrono::system_clock::now()}; }

}  // namespace

// The thread. Everything below the mutex belongs to it alone.
//
// It is either attached (watch_ runs) or detached (it tries to attach). Attaching reads everything
// and delivers it. When the connection breaks, the watch is tried at each endpoint once, from where
// it ended; only if none takes it the store is out.
class EtcdStore::Worker {
 public:
  explicit Worker(EtcdOptions options)
      : options_(std::move(options)),
        keys_(options_.prefix),
        view_(keys_),
        own_(options_, keys_),
        silence_(options_, keys_),
        probe_(options_, keys_),
        pause_(options_.retry_first) {}

  void start(Sink sink) {
    const std::lock_guard lock(mutex_);
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

  void forget(const std::string& node) {
    {
      const std::lock_guard lock(mutex_);
      to_forget_.push_back(node);
    }
    wake();
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    calls_.stop();
    wake();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void wake() {
    {
      const std::lock_guard lock(mutex_);
      woken_ = true;
    }
    changed_.notify_all();
  }

  bool stopping() {
    const std::lock_guard lock(mutex_);
    return stopping_;
  }

  void run() {
    while (!stopping()) {
      take_requests();
      if (watch_)
        follow();
      else if (monotonic_now() >= attach_at_)
        attach();
      wait();
    }
    watch_.reset();
    client_.reset();
  }

  void take_requests() {
    const std::lock_guard lock(mutex_);
    if (published_) own_.set(std::move(*published_), monotonic_now());
    published_.reset();
    for (const std::string& node : to_forget_)
      if (node != own_.name()) silence_.forget(node);
    to_forget_.clear();
  }

  // ---- detached ----

  void attach() {
    std::string problems;
    for (std::size_t i = 0; i < options_.endpoints.size() && !stopping(); ++i) {
      const auto attached = try_attach(next_endpoint(), options_.read_total);
      if (attached) return;
      add(problems, attached.error().message);
    }
    detach(std::move(problems));
  }

  const std::string& next_endpoint() {
    return options_.endpoints[next_endpoint_++ % options_.endpoints.size()];
  }

  static void add(std::string& problems, const std::string& problem) {
    if (problems.find(problem) != std::string::npos) return;
    if (!problems.empty()) problems += "; ";
    problems += problem;
  }

  // Reads everything at one endpoint, then watches from there.
  Result<void> try_attach(const std::string& endpoint, Duration total) {
    auto client = EtcdClient::open(options_, endpoint, calls_);
    if (!client) return client.error();
    if (auto read = read_everything(**client, keys_, options_.page, total, view_); !read)
      return read;
    if (!view_.went_back().empty()) own_.store_went_back();
    if (auto refused = start_watch(std::move(*client), options_.call_timeout))
      return refused->error;
    own_.retry_now(monotonic_now());
    deliver(view_.take(/*complete=*/true));
    return {};
  }

  // Watches from where the view ends.
  std::optional<EtcdWatch::End> start_watch(std::unique_ptr<EtcdClient> client, Duration patience) {
    client->set_timeout(patience);
    if (auto token = client->ensure_token(); !token) return EtcdWatch::End{token.error()};
    auto watch = std::make_unique<EtcdWatch>(*client, options_, keys_, view_, [this] { wake(); });
    if (auto end = watch->wait_created(patience)) return end;
    if (auto end = probe_.begin(watch->is_proxied(), *client, view_, patience)) return end;
    client->set_timeout(options_.call_timeout);
    client_ = std::move(client);
    watch_ = std::move(watch);
    attached_at_ = monotonic_now();
    return std::nullopt;
  }

  void detach(std::string why) {
    outage_ = std::move(why);
    // A server that takes watches and ends them is not asked more often than one that is away.
    if (attached_at_ && monotonic_now() - *attached_at_ >= kSettled) pause_ = options_.retry_first;
    attached_at_.reset();
    attach_at_ = monotonic_now() + with_jitter(pause_, random_);
    pause_ = std::min(pause_ * 2, options_.retry_cap);
    deliver({});
  }

  // ---- attached ----

  void follow() {
    // Before the news: who is to be forgotten was chosen by what has been delivered.
    if (auto removed = silence_.remove_forgotten(*client_, view_); !removed) {
      recover({removed.error()});
      if (watch_) deliver(view_.take(/*complete=*/false));
      return;
    }
    EtcdWatch::News news = watch_->take();
    for (const auto& response : news.responses) apply(response);
    if (!news.responses.empty()) probe_.heard(monotonic_now());
    if (news.end)
      recover(*news.end);
    else if (auto silent = probe_.ask(*client_, view_, monotonic_now()))
      recover(*silent);
    else if (auto written = write_due(); !written)
      recover({written.error()});
    if (watch_) deliver(view_.take(/*complete=*/false));
  }

  void apply(const etcdserverpb::WatchResponse& response) {
    for (const auto& event : response.events()) {
      const auto& pair = event.kv();
      if (event.type() == etcdserverpb::Event::DELETE)
        view_.remove(pair.key());
      else
        view_.put(pair.key(), pair.value(), pair.mod_revision());
    }
    // What comes in several parts has not been said before the last of them. An answer's own
    // revision may be ahead of its events; only one without events says that there are no more.
    if (response.fragment()) return;
    if (response.events_size() != 0)
      view_.set_revision(response.events().rbegin()->kv().mod_revision());
    else if (!response.created())
      view_.set_revision(response.header().revision());
  }

  Result<void> write_due() {
    const Instant now = instant_now();
    own_.look(view_, now.monotonic);
    silence_.look(view_, own_.name(), now.monotonic);
    if (auto written = own_.write(*client_, view_, now.monotonic); !written) return written;
    return silence_.write(*client_, view_, now);
  }

  // The connection broke, or the watch ended: each endpoint gets one short chance to go on.
  void recover(const EtcdWatch::End& end) {
    watch_.reset();
    client_.reset();
    const MonotonicTime now = monotonic_now();
    std::string problems = end.error.message;
    // What breaks again at once is not mended by trying at once.
    MonotonicTime& last = end.read_again ? read_again_at_ : recovered_at_;
    const bool too_soon = now - std::exchange(last, now) < kRecoveredAtMost;
    bool read_again = end.read_again;
    const Duration patience = std::max<Duration>(
        std::chrono::milliseconds(200),
        options_.failover_patience / static_cast<int>(options_.endpoints.size()));
    for (std::size_t i = 0; i < options_.endpoints.size() && !too_soon && !stopping(); ++i) {
      const std::string& endpoint = next_endpoint();
      auto refused = read_again ? read_at(endpoint) : resume_at(endpoint, patience);
      if (refused && refused->read_again && !read_again) {
        read_again = true;
        refused = read_at(endpoint);
      }
      if (!refused) return;
      add(problems, refused->error.message);
    }
    detach(std::move(problems));
  }

  std::optional<EtcdWatch::End> resume_at(const std::string& endpoint, Duration patience) {
    auto client = EtcdClient::open(options_, endpoint, calls_);
    if (!client) return EtcdWatch::End{client.error()};
    return start_watch(std::move(*client), patience);
  }

  std::optional<EtcdWatch::End> read_at(const std::string& endpoint) {
    auto attached = try_attach(endpoint, options_.read_again_total);
    if (attached) return std::nullopt;
    return EtcdWatch::End{attached.error()};
  }

  // ---- both ----

  // Tells the sink what is new, if anything is.
  void deliver(StoreUpdate update) {
    update.in_sync = watch_ != nullptr;
    update.error = update.in_sync ? own_.problem() : outage_;
    const bool same_state =
        told_ && told_->first == update.in_sync && told_->second == update.error;
    if (!update.complete && update.changes.empty() && update.policies.empty() &&
        update.liveness.empty() && same_state)
      return;
    told_ = {update.in_sync, update.error};
    if (!stopping()) sink_(std::move(update));
  }

  void wait() {
    MonotonicTime next = attach_at_;
    if (watch_)
      next = std::min({own_.due().value_or(MonotonicTime::max()),
                       silence_.due().value_or(MonotonicTime::max()),
                       probe_.due().value_or(MonotonicTime::max())});
    std::unique_lock lock(mutex_);
    const auto news = [&] { return woken_ || stopping_; };
    if (next == MonotonicTime::max())
      changed_.wait(lock, news);
    else
      changed_.wait_until(lock, next, news);
    woken_ = false;
  }

  static constexpr Duration kRecoveredAtMost = std::chrono::seconds(1);
  static constexpr Duration kSettled = std::chrono::seconds(5);

  const EtcdOptions options_;
  const EtcdKeys keys_;
  EtcdCalls calls_;
  Sink sink_;
  std::thread thread_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;  // guarded by mutex_, as the next three
  bool woken_ = false;
  std::optional<NodeRecord> published_;
  std::vector<std::string> to_forget_;

  EtcdView view_;
  EtcdOwn own_;
  EtcdSilence silence_;
  EtcdProbe probe_;
  std::unique_ptr<EtcdClient> client_;  // attached
  std::unique_ptr<EtcdWatch> watch_;    // attached; uses client_
  std::size_t next_endpoint_ = 0;
  MonotonicTime attach_at_{};
  std::optional<MonotonicTime> attached_at_;  // the watch that ended last was made then
  MonotonicTime recovered_at_{};
  MonotonicTime read_again_at_{};
  Duration pause_;
  std::minstd_rand random_{std::random_device{}()};
  std::string outage_;
  std::optional<std::pair<bool, std::string>> told_;
};

EtcdStore::EtcdStore(EtcdOptions options) : worker_(std::make_unique<Worker>(std::move(options))) {}

EtcdStore::~EtcdStore() { worker_->stop(); }

void EtcdStore::start(Sink sink) { worker_->start(std::move(sink)); }

void EtcdStore::publish(NodeRecord record) { worker_->publish(std::move(record)); }

void EtcdStore::forget(const std::string& node) { worker_->forget(node); }

void EtcdStore::stop() { worker_->stop(); }

}  // namespace mesh
