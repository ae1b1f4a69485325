#include "meshd/store/kubernetes/resource_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "meshd/store/kubernetes/api_codec.h"

namespace mesh {
namespace {

constexpr std::size_t kMaxPageBytes = std::size_t{32} << 20;
constexpr std::size_t kMaxEventBytes = std::size_t{4} << 20;  // etcd takes objects up to 1.5 MB
constexpr std::size_t kMaxObjects = 100'000;
constexpr int kMaxRestarts = 3;
constexpr int kMaxShortLived = 3;
constexpr Duration kPageTotal = std::chrono::seconds(30);
constexpr Duration kSilence = std::chrono::seconds(5);
constexpr Duration kShort = std::chrono::seconds(1);
constexpr Duration kSettled = std::chrono::seconds(5);        // a watch that long was no accident
constexpr Duration kSpread = std::chrono::milliseconds(300);  // over which a lost watch is resumed
constexpr Duration kMaxRetryAfter = std::chrono::seconds(60);
constexpr auto kWatchSeconds = std::chrono::seconds(300);  // to twice that

MonotonicTime monotonic_now() { return std::chrono::steady_clock::now(); }

}  // namespace

ResourceWatch::ResourceWatch(ApiClient& api, ResourceWatchOptions options, Handler handler)
    : api_(api),
      options_(std::move(options)),
      handler_(std::move(handler)),
      pause_(options_.retry_first, options_.retry_cap) {}

void ResourceWatch::step(MonotonicTime now) {
  if (now < due_) return;
  if (state_ == State::kWaiting) {
    if (version_.empty())
      list(now);
    else
      watch(now);
  } else if (state_ == State::kWatching && !answered_) {
    fail({make_error(ErrorCode::kTimeout, "{}: does not answer a watch of {} within {} s",
                     api_.server(), options_.what, kSilence / std::chrono::seconds(1))},
         now);
  }
}

void ResourceWatch::begin(State state, ApiRequest request, HttpClient::Callbacks callbacks,
                          MonotonicTime now) {
  auto started = api_.start(std::move(request), std::move(callbacks));
  if (!started) return fail({started.error()}, now);
  state_ = state;
  transfer_ = *started;
}

void ResourceWatch::fail(ApiFailure failure, MonotonicTime now) {
  api_.cancel(std::exchange(transfer_, 0));
  state_ = State::kWaiting;
  synced_ = false;
  timed_out_ = failure.error.code == ErrorCode::kTimeout;
  problem_ = std::move(failure.error.message);
  version_.clear();
  continue_.clear();
  items_.clear();
  restarts_ = 0;
  Duration pause = pause_.next();
  if (failure.retry_after) {
    const Duration wanted = std::min<Duration>(*failure.retry_after, kMaxRetryAfter);
    pause = std::max(pause, wanted + pause_.up_to(wanted / 4));
  }
  due_ = now + pause;
}

Error ResourceWatch::unreadable(std::string_view why) const {
  return make_error(ErrorCode::kInvalid,
                    "{}: answers a request for {} with {}: is this a Kubernetes API server?",
                    api_.server(), options_.what, why);
}

// ---- list ----

void ResourceWatch::list(MonotonicTime now) {
  ApiRequest request;
  request.path = fmt::format("{}?limit={}", options_.path, options_.page);
  if (!continue_.empty()) request.path += "&continue=" + url_encoded(continue_);
  request.max_answer = kMaxPageBytes;
  request.total = kPageTotal;
  request.silence = kSilence;
  due_ = MonotonicTime::max();
  begin(State::kListing, std::move(request),
        {[this](Result<ApiReply> answer) { on_page(std::move(answer)); }}, now);
}

void ResourceWatch::on_page(Result<ApiReply> answer) {
  transfer_ = 0;
  const MonotonicTime now = monotonic_now();
  if (!answer) return fail({answer.error()}, now);
  if (answer->status == 410) return list_again(now);
  if (answer->status == 404 && options_.may_be_absent) return not_served(*answer, now);
  if (answer->status != 200) return fail(api_.refusal(*answer, "list " + options_.what), now);
  auto page = parse_api_list(answer->body);
  if (!page) return fail({unreadable(page.error().message)}, now);
  if (items_.size() + page->items.size() > kMaxObjects)
    return fail({unreadable(fmt::format("more than {} of them", kMaxObjects))}, now);
  last_heard_ = now;
  std::move(page->items.begin(), page->items.end(), std::back_inserter(items_));
  continue_ = std::move(page->continue_token);
  if (!continue_.empty()) return list(now);
  version_ = std::move(page->resource_version);
  note_version(/*listed=*/true);
  finish_list(now);
}

// Versions are etcd's revisions, and a list without one is of the newest state: one that is of an
// earlier state than what was seen says that etcd was emptied, or restored from a backup. (What is
// no number says nothing.)
void ResourceWatch::note_version(bool listed) {
  std::uint64_t version = 0;
  const char* const end = version_.data() + version_.size();
  const auto read = std::from_chars(version_.data(), end, version);
  if (read.ec != std::errc() || read.ptr != end) return;
  if (listed && version < highest_)
    went_back_ = fmt::format("{} lists {} of resourceVersion {}, and was at {}", api_.server(),
                             options_.what, version, highest_);
  highest_ = listed ? version : std::max(highest_, version);
}

// The pages so far are of a state that the server has forgotten.
void ResourceWatch::list_again(MonotonicTime now) {
  if (++restarts_ > kMaxRestarts)
    return fail({make_error(ErrorCode::kUnavailable,
                            "{}: forgets the list of {} faster than it can be read", api_.server(),
                            options_.what)},
                now);
  version_.clear();
  continue_.clear();
  items_.clear();
  list(now);
}

void ResourceWatch::finish_list(MonotonicTime now) {
  ever_listed_ = true;
  absent_since_.reset();
  restarts_ = 0;
  handler_.replaced(std::exchange(items_, {}));
  watch(now);
}

// A server that has just started does not serve its custom resources yet: that policies are gone is
// not concluded from one such answer.
void ResourceWatch::not_served(const ApiReply& answer, MonotonicTime now) {
  if (!absent_since_) absent_since_ = now;
  const Duration patience = ever_listed_ ? options_.absent_after : options_.absent_at_first;
  const MonotonicTime believed = *absent_since_ + patience;
  if (now < believed) {
    fail(api_.refusal(answer, "list " + options_.what), now);
    if (!ever_listed_) problem_.clear();  // nothing is known to be wrong yet
    due_ = std::min(due_, believed);
    return;
  }
  ever_listed_ = false;
  handler_.replaced({});
  state_ = State::kWaiting;
  synced_ = true;
  problem_.clear();
  pause_.reset();
  due_ = now + options_.absent_again;
}

// ---- watch ----

void ResourceWatch::watch(MonotonicTime now) {
  const auto spread =
      std::chrono::duration_cast<std::chrono::seconds>(pause_.up_to(kWatchSeconds)).count();
  ApiRequest request;
  request.path =
      fmt::format("{}?watch=1&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}",
                  options_.path, url_encoded(version_), kWatchSeconds.count() + spread);
  partial_.clear();
  answered_ = expired_ = false;
  stream_failure_.reset();
  opened_ = now;
  due_ = now + kSilence;
  HttpClient::Callbacks callbacks;
  callbacks.on_success = [this] {
    answered_ = synced_ = true;
    problem_.clear();
    due_ = MonotonicTime::max();
    last_heard_ = monotonic_now();
  };
  callbacks.on_data = [this](std::string_view piece) { return on_data(piece); };
  callbacks.on_done = [this](Result<ApiReply> answer) { on_watch_end(std::move(answer)); };
  begin(State::kWatching, std::move(request), std::move(callbacks), now);
}

bool ResourceWatch::on_data(std::string_view piece) {
  last_heard_ = monotonic_now();
  while (!piece.empty()) {
    const std::size_t end = piece.find('\n');
    partial_.append(piece.substr(0, end));
    if (partial_.size() > kMaxEventBytes) {
      stream_failure_ = {unreadable(fmt::format("an event of more than {} bytes", kMaxEventBytes))};
      return false;
    }
    if (end == std::string_view::npos) return true;
    if (!partial_.empty() && !on_event(partial_)) return false;
    partial_.clear();
    piece.remove_prefix(end + 1);
  }
  return true;
}

bool ResourceWatch::on_event(std::string_view line) {
  auto event = parse_watch_event(line);
  if (!event) {
    stream_failure_ = {unreadable(event.error().message)};
    return false;
  }
  if (event->kind == WatchEvent::Kind::kError) {
    const ApiStatus status = status_of(event->object);
    expired_ = status.code == 410;
    if (!expired_)
      stream_failure_ = {make_error(ErrorCode::kUnavailable, "{}: ends a watch of {}: {} ({})",
                                    api_.server(), options_.what, status.message, status.code),
                         status.retry_after};
    return false;
  }
  version_ = resource_version_of(event->object);
  note_version(/*listed=*/false);
  if (event->kind == WatchEvent::Kind::kDeleted)
    handler_.deleted(name_of(event->object));
  else if (event->kind != WatchEvent::Kind::kBookmark)
    handler_.changed(event->object);
  return true;
}

void ResourceWatch::on_watch_end(Result<ApiReply> answer) {
  transfer_ = 0;
  const MonotonicTime now = monotonic_now();
  if (now - opened_ >= kSettled) pause_.reset();
  if (expired_ || (answer && answer->status == 410)) return list_again(now);
  if (stream_failure_) return fail(*std::exchange(stream_failure_, std::nullopt), now);
  if (answer && answer->status == 404 && options_.may_be_absent) return not_served(*answer, now);
  if (answer && answer->status != 200)
    return fail(api_.refusal(*answer, "watch " + options_.what), now);
  if (answer && !partial_.empty()) return fail({unreadable("half of a JSON document")}, now);
  if (!answer && !answered_) return fail({answer.error()}, now);
  resume(now);
}

void ResourceWatch::resume(MonotonicTime now) {
  short_lived_ = now - opened_ < kShort ? short_lived_ + 1 : 0;
  if (short_lived_ > kMaxShortLived)
    return fail({make_error(ErrorCode::kUnavailable, "{}: ends every watch of {} at once",
                            api_.server(), options_.what)},
                now);
  state_ = State::kWaiting;
  due_ = now + (short_lived_ > 0 ? pause_.next() : pause_.up_to(kSpread));
}

}  // namespace mesh
