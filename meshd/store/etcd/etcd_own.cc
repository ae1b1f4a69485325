#include "meshd/store/etcd/etcd_own.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "meshd/store/etcd/etcd_txn.h"
#include "meshd/store/record_codec.h"

namespace mesh {
namespace {

constexpr int kSwapAttempts = 4;  // against somebody who writes the same record
constexpr Duration kSignPause = std::chrono::seconds(1);  // at least, between two of its writings

void keep_foreign_annotations(const NodeRecord& from, NodeRecord& to) {
  for (const auto& [key, value] : from.annotations)
    if (!key.starts_with(kAnnotationPrefix)) to.annotations.emplace(key, value);
}

}  // namespace

bool is_connection_error(const Error& error) {
  return error.code == ErrorCode::kUnavailable || error.code == ErrorCode::kTimeout;
}

Duration with_jitter(Duration pause, std::minstd_rand& random) {
  return pause - Duration(std::uniform_int_distribution<Duration::rep>(
                     0, std::max<Duration::rep>(pause.count() / 4, 0))(random));
}

EtcdOwn::EtcdOwn(const EtcdOptions& options, const EtcdKeys& keys)
    : options_(options),
      keys_(keys),
      record_pause_(options.retry_first),
      life_pause_(options.retry_first) {}

void EtcdOwn::set(NodeRecord record, MonotonicTime now) {
  record.problems.clear();  // those are what a reader found
  // Asking again for what is being tried anyway is no reason to try more often.
  if (record_due_ && record_ == record) return;
  record_ = std::move(record);
  name_ = record_.name;
  record_due_ = now;
  record_pause_ = options_.retry_first;
  if (lease_ == 0 && !life_due_) life_due_ = now;
}

void EtcdOwn::retry_now(MonotonicTime now) {
  if (name_.empty()) return;
  record_due_ = life_due_ = now;
  record_pause_ = life_pause_ = options_.retry_first;
}

void EtcdOwn::store_went_back() {
  answered_ = {};
  answered_at_ = 0;
  sign_revision_ = 0;
}

std::optional<MonotonicTime> EtcdOwn::due() const {
  if (!record_due_ || !life_due_) return record_due_ ? record_due_ : life_due_;
  return std::min(*record_due_, *life_due_);
}

MonotonicTime EtcdOwn::later(Duration& pause, MonotonicTime now) {
  const MonotonicTime time = now + with_jitter(pause, random_);
  pause = std::min(pause * 2, options_.retry_cap);
  return time;
}

Result<void> EtcdOwn::write(EtcdClient& client, const EtcdView& view, MonotonicTime now) {
  if (record_due_ && *record_due_ <= now) {
    auto written = write_record(client, view);
    record_problem_ = written ? "" : written.error().message;
    if (written) {
      record_due_.reset();
      record_pause_ = options_.retry_first;
    } else {
      record_due_ = later(record_pause_, now);
      if (is_connection_error(written.error())) return written;
    }
  }
  if (life_due_ && *life_due_ <= now) {
    auto shown = show_life(client, now);
    life_problem_ = shown ? "" : shown.error().message;
    if (shown) {
      life_pause_ = options_.retry_first;
    } else {
      life_due_ = later(life_pause_, now);
      if (is_connection_error(shown.error())) return shown;
    }
  }
  return {};
}

// ---- the record ----

// By the watch, unless an answer has shown what is newer.
EtcdOwn::Present EtcdOwn::present(const EtcdView& view) const {
  if (view.revision() < answered_at_) return answered_;
  Present present;
  if (const EtcdView::Record* record = view.node(name_)) {
    present.revision = record->revision;
    if (const auto* read = std::get_if<NodeRecord>(record->entry.get())) present.record = *read;
  }
  return present;
}

void EtcdOwn::note_written(std::int64_t at, Present present) {
  answered_at_ = at;
  answered_ = std::move(present);
}

Result<void> EtcdOwn::write_record(EtcdClient& client, const EtcdView& view) {
  if (auto checked = check_node_name(name_); !checked) return checked;
  Present now = present(view);
  for (int attempt = 0; attempt < kSwapAttempts; ++attempt) {
    const auto done = swap(client, view, now);
    if (!done) return done.error().at("the own record is not published");
    if (*done) return {};
  }
  return make_error(ErrorCode::kBusy,
                    "the own record is not published: somebody else writes it all the time");
}

// False: somebody else was faster, and `present` is what is there now.
Result<bool> EtcdOwn::swap(EtcdClient& client, const EtcdView& view, Present& present) {
  NodeRecord wanted = record_;
  if (present.record) keep_foreign_annotations(*present.record, wanted);
  const std::string key = keys_.node(name_);
  const std::string text = format_record_json(wanted);
  // What nobody could read must not be written; and only what a reader makes of it compares.
  const auto readable = parse_record_json(text, "etcd " + key, name_);
  if (!readable) return readable.error();
  if (present.record && *present.record == *readable) return true;

  const auto answer = client.txn(
      EtcdTxn().if_revision(key, present.revision).put(key, text).else_read(key).request());
  if (!answer) return answer.error();
  const std::int64_t at = answer->header().revision();
  if (answer->succeeded()) {
    note_written(at, {at, *readable});
    return true;
  }
  present = {};
  if (answer->responses_size() != 0) {
    for (const auto& found : answer->responses(0).response_range().kvs()) {
      present.revision = found.mod_revision();
      const StoreEntry entry = view.read_record(name_, found.value());
      if (const auto* read = std::get_if<NodeRecord>(&entry)) present.record = *read;
    }
  }
  note_written(at, present);
  return false;
}

// ---- the sign of life ----

void EtcdOwn::look(const EtcdView& view, MonotonicTime now) {
  if (name_.empty() || lease_ == 0 || !sign_is_missing(view)) return;
  sign_revision_ = 0;
  const MonotonicTime soon = now + kSignPause;
  if (!life_due_ || *life_due_ > soon) life_due_ = soon;
}

// Removed by somebody, or marked as silent by somebody who did not see it.
bool EtcdOwn::sign_is_missing(const EtcdView& view) const {
  if (sign_revision_ == 0) return true;
  const EtcdView::Mark* live = view.live(name_);
  const EtcdView::Mark* silent = view.silent(name_);
  if (silent != nullptr && silent->revision > sign_revision_) return true;
  return live == nullptr && view.revision() >= sign_revision_;
}

Result<void> EtcdOwn::show_life(EtcdClient& client, MonotonicTime now) {
  if (lease_ != 0) {
    const auto kept = client.keep_alive(lease_);
    if (!kept) return kept.error().at("the sign of life is not renewed");
    if (!*kept) lease_ = 0;
  }
  if (lease_ == 0) {
    const auto granted = client.grant_lease(options_.lease_ttl);
    if (!granted) return granted.error().at("no sign of life can be given");
    lease_ = *granted;
    sign_revision_ = 0;
  }
  if (sign_revision_ == 0)
    if (auto put = put_sign_of_life(client); !put) return put;
  life_due_ = now + with_jitter(Duration(options_.lease_ttl) / 3, random_);
  return {};
}

Result<void> EtcdOwn::put_sign_of_life(EtcdClient& client) {
  const auto answer = client.txn(
      EtcdTxn().put(keys_.live(name_), "", lease_).remove(keys_.silent(name_)).request());
  if (!answer) {
    // The lease may be gone meanwhile: the next attempt asks for another.
    if (!is_connection_error(answer.error())) lease_ = 0;
    return answer.error().at("no sign of life can be given");
  }
  sign_revision_ = answer->header().revision();
  return {};
}

}  // namespace mesh
