#include "meshd/store/etcd/etcd_silence.h"

#include <fmt/format.h>

#include <algorithm>

#include "meshd/store/etcd/etcd_own.h"
#include "meshd/store/etcd/etcd_txn.h"

namespace mesh {
namespace {

constexpr Duration kSpreadPerNode = std::chrono::milliseconds(10);

// meshd writes its annotations whatever the node can do.
bool is_of_meshd(const StoreEntry& entry) {
  const auto* record = std::get_if<NodeRecord>(&entry);
  if (record == nullptr) return false;
  const auto first = record->annotations.lower_bound(std::string(kAnnotationPrefix));
  return first != record->annotations.end() && first->first.starts_with(kAnnotationPrefix);
}

bool is_unmarked(const EtcdView& view, const std::string& node, const EtcdView::Record& record) {
  return view.live(node) == nullptr && view.silent(node) == nullptr && is_of_meshd(*record.entry);
}

}  // namespace

void EtcdSilence::look(const EtcdView& view, const std::string& own, MonotonicTime now) {
  std::erase_if(unmarked_, [&](const auto& item) {
    const EtcdView::Record* record = view.node(item.first);
    return record == nullptr || !is_unmarked(view, item.first, *record);
  });
  const Duration spread =
      options_.silence_settle + kSpreadPerNode * static_cast<int>(view.nodes().size());
  std::uniform_int_distribution<Duration::rep> random(0, spread.count());
  for (const auto& [node, record] : view.nodes()) {
    if (node == own || unmarked_.contains(node) || !is_unmarked(view, node, record)) continue;
    unmarked_.emplace(node, now + options_.silence_settle + Duration(random(random_)));
  }
}

std::optional<MonotonicTime> EtcdSilence::due() const {
  if (!to_forget_.empty()) return MonotonicTime{};
  const auto first =
      std::min_element(unmarked_.begin(), unmarked_.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (first == unmarked_.end()) return std::nullopt;
  return first->second;
}

Result<void> EtcdSilence::remove_forgotten(EtcdClient& client, const EtcdView& view) {
  while (!to_forget_.empty()) {
    const std::string node = *to_forget_.begin();
    to_forget_.erase(to_forget_.begin());
    // Another refusal is not repeated: who wants the node forgotten asks again.
    if (auto done = remove(client, view, node); !done && is_connection_error(done.error()))
      return done;
  }
  return {};
}

Result<void> EtcdSilence::write(EtcdClient& client, const EtcdView& view, Instant now) {
  for (auto& [node, time] : unmarked_) {
    if (time > now.monotonic) continue;
    const EtcdView::Record* record = view.node(node);
    time = now.monotonic + std::chrono::minutes(1);  // unless the watch shows the mark before
    if (record == nullptr) continue;
    if (auto done = mark(client, node, record->revision, now.wall);
        !done && is_connection_error(done.error()))
      return done;
  }
  return {};
}

Result<void> EtcdSilence::mark(EtcdClient& client, const std::string& node, std::int64_t revision,
                               WallTime now) const {
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  const auto answer = client.txn(EtcdTxn()
                                     .if_absent(keys_.live(node))
                                     .if_absent(keys_.silent(node))
                                     .if_revision(keys_.node(node), revision)
                                     .put(keys_.silent(node), fmt::format("{}", seconds))
                                     .request());
  if (!answer) return answer.error();
  return {};
}

// Only what was seen to be silent, and only if nothing has changed since.
Result<void> EtcdSilence::remove(EtcdClient& client, const EtcdView& view,
                                 const std::string& node) const {
  const EtcdView::Record* record = view.node(node);
  const EtcdView::Mark* silent = view.silent(node);
  if (record == nullptr || silent == nullptr || view.live(node) != nullptr) return {};
  const auto answer = client.txn(EtcdTxn()
                                     .if_revision(keys_.node(node), record->revision)
                                     .if_revision(keys_.silent(node), silent->revision)
                                     .if_absent(keys_.live(node))
                                     .remove(keys_.node(node))
                                     .remove(keys_.silent(node))
                                     .request());
  if (!answer) return answer.error();
  return {};
}

}  // namespace mesh
