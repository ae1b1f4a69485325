#include "meshd/store/kubernetes/kubernetes_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "meshd/store/kubernetes/api_client.h"
#include "meshd/store/kubernetes/api_codec.h"
#include "meshd/store/kubernetes/entry_table.h"
#include "meshd/store/kubernetes/own_node.h"
#include "meshd/store/kubernetes/policy_object.h"
#include "meshd/store/kubernetes/resource_watch.h"

namespace mesh {
namespace {

MonotonicTime monotonic_now() { return std::chrono::steady_clock::now(); }

// A watch's Handler that keeps `table` as the server has it.
template <class Table, class Read>
ResourceWatch::Handler keep_in(Table& table, Read read) {
  ResourceWatch::Handler handler;
  handler.replaced = [&table, read](const std::vector<nlohmann::json>& objects) {
    std::set<std::string> names;
    for (const nlohmann::json& object : objects) {
      names.insert(name_of(object));
      table.put(name_of(object), read(object));
    }
    table.keep_only(names);
  };
  handler.changed = [&table, read](const nlohmann::json& object) {
    table.put(name_of(object), read(object));
  };
  handler.deleted = [&table](const std::string& name) { table.remove(name); };
  return handler;
}

ResourceWatchOptions nodes_options(const KubernetesStoreOptions& options) {
  ResourceWatchOptions watch;
  watch.path = "/api/v1/nodes";
  watch.what = "Nodes";
  watch.page = options.page;
  watch.retry_first = options.retry_first;
  watch.retry_cap = options.retry_cap;
  return watch;
}

ResourceWatchOptions policies_options(const KubernetesStoreOptions& options) {
  ResourceWatchOptions watch = nodes_options(options);
  watch.path = kPoliciesPath;
  watch.what = "EncryptionPolicies";
  watch.may_be_absent = true;
  return watch;
}

}  // namespace

// The thread. Everything below the mutex belongs to it alone.
class KubernetesStore::Worker {
 public:
  explicit Worker(const KubernetesStoreOptions& options)
      : options_(options),
        reader_(http_, [this] { return load(options_.kubeconfig); }),
        writer_(http_,
                [this] {
                  return load(options_.patch_kubeconfig.empty() ? options_.kubeconfig
                                                                : options_.patch_kubeconfig);
                }),
        nodes_(reader_, nodes_options(options), keep_in(node_table_, entry_of_node)),
        policies_(reader_, policies_options(options), keep_in(policy_table_, entry_of_policy)),
        own_(reader_, writer_, options.retry_first, options.retry_cap) {}

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
    http_.wake();
  }

  void stop() {
    stopping_ = true;
    http_.wake();
    if (thread_.joinable()) thread_.join();
  }

 private:
  Result<KubernetesAccess> load(const std::filesystem::path& kubeconfig) const {
    if (kubeconfig.empty()) return in_cluster_access(options_.service_account);
    return load_kubeconfig(kubeconfig);
  }

  void run() {
    while (!stopping_) {
      const MonotonicTime now = monotonic_now();
      take_published(now);
      nodes_.step(now);
      if (policies_may_step()) policies_.step(now);
      if (synced()) own_.step(now);
      probe_when_silent(now);
      doubt_connection();
      deliver(now);
      if (!stopping_) http_.run(std::max(next_time() - monotonic_now(), Duration::zero()));
    }
    http_.reset();
  }

  void take_published(MonotonicTime now) {
    const std::lock_guard lock(mutex_);
    if (!published_) return;
    own_.set(*published_, now);
    published_.reset();
  }

  MonotonicTime next_time() const {
    MonotonicTime next = nodes_.due();
    if (policies_may_step()) next = std::min(next, policies_.due());
    if (synced()) next = std::min(next, own_.due());
    if (probe_ == 0 && nodes_.watching())
      next = std::min(next, last_heard() + options_.probe_after);
    return next;
  }

  // One after the other, so that the second finds the connection of the first.
  bool policies_may_step() const { return nodes_.synced() || policies_.under_way(); }
  bool synced() const { return nodes_.synced() && policies_.synced(); }

  // ---- is it still there? ----

  MonotonicTime last_heard() const {
    return std::max({nodes_.last_heard(), policies_.last_heard(), last_probed_});
  }

  // A server that hangs, or has lost its own store, leaves its watches open and silent.
  void probe_when_silent(MonotonicTime now) {
    if (probe_ != 0 || !nodes_.watching() || now - last_heard() < options_.probe_after) return;
    ApiRequest request;
    request.path = "/readyz";
    request.total = options_.probe_timeout;
    HttpClient::Callbacks callbacks;
    callbacks.on_done = [this](const Result<ApiReply>& answer) {
      probe_ = 0;
      last_probed_ = monotonic_now();
      // Whoever may not ask that has been answered, too.
      if (!answer)
        lose({answer.error()});
      else if (answer->status >= 500)
        lose(reader_.refusal(*answer, "serve: it says that it is not ready"));
    };
    auto started = reader_.start(std::move(request), std::move(callbacks));
    if (!started) return lose({started.error()});
    probe_ = *started;
  }

  // Requests share a connection, which would otherwise be used again.
  void doubt_connection() {
    for (ResourceWatch* watch : {&nodes_, &policies_})
      if (watch->take_timeout()) lose({make_error(ErrorCode::kTimeout, "{}", watch->problem())});
  }

  // Nothing that goes over the connection can be trusted to come.
  void lose(const ApiFailure& failure) {
    const MonotonicTime now = monotonic_now();
    nodes_.fail(failure, now);
    policies_.fail(failure, now);
    for (ResourceWatch* watch : {&nodes_, &policies_}) (void)watch->take_timeout();
    own_.abandon();
    probe_ = 0;
    http_.reset();
  }

  // ---- what is told ----

  // Tells the sink what is new, if anything is.
  void deliver(MonotonicTime now) {
    const bool was_synced = told_ && told_->first;
    StoreUpdate update;
    update.in_sync = synced();
    if (update.in_sync) {
      update.complete = !was_synced;
      update.error = own_.problem();
      update.changes = update.complete ? node_table_.take_all() : node_table_.take_changes();
      update.policies = update.complete ? policy_table_.take_all() : policy_table_.take_changes();
      if (update.complete) own_.retry_now(now);
      for (ResourceWatch* watch : {&nodes_, &policies_})
        if (std::string why = watch->take_went_back(); !why.empty()) update.went_back = why;
    } else {
      update.error = nodes_.problem().empty() ? policies_.problem() : nodes_.problem();
      if (update.error.empty()) return;  // it has not had the time to answer
    }
    const bool same_state =
        told_ && told_->first == update.in_sync && told_->second == update.error;
    const bool is_news = update.complete || !update.went_back.empty() || !update.changes.empty() ||
                         !update.policies.empty();
    if (!is_news && same_state) return;
    told_ = {update.in_sync, update.error};
    if (!stopping_) sink_(std::move(update));
  }

  const KubernetesStoreOptions options_;
  Sink sink_;
  std::thread thread_;
  std::atomic<bool> stopping_ = false;
  std::mutex mutex_;
  std::optional<NodeRecord> published_;  // guarded by mutex_

  HttpClient http_;  // wake() is for any thread
  ApiClient reader_;
  ApiClient writer_;
  EntryTable<StoreEntry, StoreChange> node_table_;
  EntryTable<PolicyEntry, PolicyChange> policy_table_;
  ResourceWatch nodes_;
  ResourceWatch policies_;
  OwnNode own_;
  HttpClient::Id probe_ = 0;
  MonotonicTime last_probed_{};
  std::optional<std::pair<bool, std::string>> told_;
};

KubernetesStore::KubernetesStore(KubernetesStoreOptions options)
    : worker_(std::make_unique<Worker>(options)) {}

KubernetesStore::~KubernetesStore() { worker_->stop(); }

void KubernetesStore::start(Sink sink) { worker_->start(std::move(sink)); }

void KubernetesStore::publish(NodeRecord record) { worker_->publish(std::move(record)); }

void KubernetesStore::stop() { worker_->stop(); }

}  // namespace mesh
