#include "meshd/daemon/own_record.h"

#include <algorithm>

#include "core/announcement.h"

namespace mesh {
namespace {

constexpr Duration kQuiet =
    std::chrono::minutes(2);            // without another overwriting, a conflict is over
constexpr int kConflictAfter = 3;       // fewer overwritings are accidents
constexpr std::size_t kRemembered = 4;  // records this node published before
constexpr Duration kSettle =
    std::chrono::milliseconds(500);  // from writing a record to seeing it in the store

std::map<std::string, std::string> ours(const NodeRecord& record) {
  std::map<std::string, std::string> annotations;
  for (const auto& [key, value] : record.annotations)
    if (key.starts_with(kAnnotationPrefix)) annotations.emplace(key, value);
  return annotations;
}

}  // namespace

NodeRecord make_own_record(const LocalNode& local, const std::map<std::string, std::string>& labels,
                           const std::string& problem) {
  NodeRecord record;
  record.name = local.name;
  record.addresses = local.addresses;
  record.cidrs = local.cidrs;
  record.labels = labels;
  Announcement announcement;
  announcement.mode = local.mode;
  announcement.host_traffic = local.host_traffic;
  if (local.drained) {
    announcement.support = "none: drained";
  } else if (!local.has_wireguard()) {
    announcement.support = "none: " + problem;
  } else {
    announcement.support = to_string(local.backend);
    // A node that turns encryption off withdraws its key, so that the others stop sending through
    // it.
    if (!local.withdrawn()) announcement.key = local.key;
    for (const IpAddress& address : local.addresses)
      announcement.endpoints.push_back({address, local.listen_port});
  }
  record.annotations = write_announcement(announcement);
  return record;
}

void OwnRecord::set(NodeRecord wanted) {
  if (wanted == wanted_) return;
  if (published_) {
    earlier_.push_back(std::move(wanted_));
    if (earlier_.size() > kRemembered) earlier_.pop_front();
  }
  wanted_ = std::move(wanted);
  published_ = seen_ = waiting_ = false;
  late_.reset();
}

// Annotations of others in my record are theirs.
bool OwnRecord::equal(const NodeRecord& stored, const NodeRecord& mine) const {
  if (annotations_only_) return stored.name == mine.name && ours(stored) == ours(mine);
  return stored.name == mine.name && stored.addresses == mine.addresses &&
         stored.cidrs == mine.cidrs && stored.labels == mine.labels && stored.problems.empty() &&
         ours(stored) == ours(mine);
}

bool OwnRecord::is_earlier(const NodeRecord& stored) const {
  return std::any_of(earlier_.begin(), earlier_.end(),
                     [&](const NodeRecord& mine) { return equal(stored, mine); });
}

std::optional<MonotonicTime> OwnRecord::reconcile(const NodeRecord* stored, bool in_sync,
                                                  MonotonicTime now) {
  if (wanted_.name.empty()) return std::nullopt;
  if (overwritten_ > 0 && now - last_overwritten_ > kQuiet) {
    overwritten_ = 0;
    conflict_.clear();
    pause_.reset();
  }
  if (stored != nullptr && equal(*stored, wanted_)) {
    published_ = seen_ = true;
    waiting_ = false;
    late_.reset();
    return std::nullopt;
  }
  if (published_ && !in_sync) return std::nullopt;  // the store itself keeps trying
  if (published_ && !waiting_) {
    // A store that lags may still show what this node itself wrote before.
    const bool by_another = seen_ && (stored == nullptr || !is_earlier(*stored));
    if (by_another) {
      note_overwritten(stored != nullptr);
      last_overwritten_ = now;
    }
    // An accident is put back at once, for until then the others believe it; what was written and
    // is not shown yet gets a moment to appear.
    const Duration pause = by_another && overwritten_ < kConflictAfter
                               ? Duration::zero()
                               : std::max((by_another ? pause_ : late_).next(), kSettle);
    publish_again_ = now + pause;
    waiting_ = true;
  }
  if (published_ && now < publish_again_) return publish_again_;
  published_ = true;
  seen_ = waiting_ = false;
  publish_(wanted_);
  return now + kSettle;
}

void OwnRecord::note_overwritten(bool readable) {
  ++overwritten_;
  if (overwritten_ < kConflictAfter) return;
  conflict_ = fmt::format(
      "somebody else writes the record of {}{}: two machines may claim one name; give each its own "
      "node.name",
      wanted_.name, readable ? "" : " (it was removed or made unreadable)");
}

}  // namespace mesh
