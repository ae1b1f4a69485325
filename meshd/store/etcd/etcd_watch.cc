#include "meshd/store/etcd/etcd_watch.h"

#include <utility>

#include "meshd/store/etcd/etcd_errors.h"

namespace mesh {
namespace {

constexpr std::size_t kMaxQueuedBytes = std::size_t{8} << 20;
// Any but those that are given where the number is not ours to choose: -1, 0, 1…
constexpr std::int64_t kWatchId = 0x6d657368;

}  // namespace

EtcdWatch::EtcdWatch(EtcdClient& client, const EtcdOptions& options, const EtcdKeys& keys,
                     const EtcdView& view, std::function<void()> wake)
    : client_(client), options_(options), cluster_(view.state().cluster), wake_(std::move(wake)) {
  auto& create = *request_.mutable_create_request();
  create.set_key(keys.begin());
  create.set_range_end(keys.end());
  create.set_start_revision(view.revision() + 1);
  // Now and then the revision of an idle store, so that a compaction meanwhile does not matter.
  create.set_progress_notify(true);
  create.set_fragment(true);
  create.set_watch_id(kWatchId);
  client_.prepare(context_);
  // A member that has lost the others ends the stream, instead of being silent for good.
  context_.AddMetadata("hasleader", "true");
  thread_ = std::thread([this] { run(); });
}

EtcdWatch::~EtcdWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  context_.TryCancel();
  changed_.notify_all();
  thread_.join();
}

std::optional<EtcdWatch::End> EtcdWatch::wait_created(Duration patience) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, patience, [&] { return created_ || end_; }))
    return End{make_error(ErrorCode::kTimeout, "{}: no answer in time: it hangs, or has no leader",
                          client_.endpoint())};
  return end_;
}

bool EtcdWatch::is_proxied() {
  const std::lock_guard lock(mutex_);
  return proxied_;
}

EtcdWatch::News EtcdWatch::take() {
  News news;
  {
    const std::lock_guard lock(mutex_);
    news.responses = std::exchange(queue_, {});
    queued_bytes_ = 0;
    news.end = end_;
  }
  changed_.notify_all();
  return news;
}

void EtcdWatch::run() {
  const auto stream = client_.watch_stub().Watch(&context_);
  etcdserverpb::WatchResponse response;
  bool kept = stream->Write(request_);
  const bool begun = kept;
  while (kept && stream->Read(&response)) kept = keep(std::exchange(response, {}));
  // A stream that ended by itself has a reason of its own, which this would replace.
  if (begun && !kept) context_.TryCancel();
  const grpc::Status status = stream->Finish();
  const Error error = to_etcd_error(status, client_.endpoint(), options_);
  end({error, error.code == ErrorCode::kInvalid});
}

bool EtcdWatch::keep(etcdserverpb::WatchResponse response) {
  if (response.canceled() || response.compact_revision() != 0) {
    const bool compacted = response.compact_revision() != 0;
    const std::string reason =
        compacted ? "what happened since is compacted" : response.cancel_reason();
    end({to_watch_error(reason, client_.endpoint(), options_), compacted});
    return false;
  }
  if (response.created() && is_another_store(response.header())) {
    end({make_error(ErrorCode::kUnavailable, "{}: it is not the etcd that was read before",
                    client_.endpoint()),
         true});
    return false;
  }
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopping_ || queued_bytes_ < kMaxQueuedBytes; });
    if (stopping_) return false;
    created_ = true;
    proxied_ = response.watch_id() != kWatchId;
    queued_bytes_ += response.ByteSizeLong();
    queue_.push_back(std::move(response));
  }
  changed_.notify_all();
  wake_();
  return true;
}

// Another cluster, or this one put back to an earlier state: its revisions are others. (A proxy may
// leave the header empty.)
bool EtcdWatch::is_another_store(const etcdserverpb::ResponseHeader& header) const {
  if (header.cluster_id() == 0) return false;
  return header.cluster_id() != cluster_ ||
         header.revision() + 1 < request_.create_request().start_revision();
}

void EtcdWatch::end(End end) {
  {
    const std::lock_guard lock(mutex_);
    if (end_) return;
    end_ = std::move(end);
  }
  changed_.notify_all();
  wake_();
}

}  // namespace mesh
