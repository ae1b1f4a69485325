#include "meshd/store/directory_view.h"

#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>

#include "meshd/store/utf8.h"

namespace mesh {
namespace {

constexpr std::string_view kSuffix = ".yaml";
// A file's times are those of the file system's clock, which ticks in milliseconds or, on some, in
// seconds: a signature that is younger can belong to two contents.
constexpr Duration kTrustworthyAge = std::chrono::seconds(3);
constexpr Duration kStaleAge = std::chrono::minutes(1);

bool is_record_file(std::string_view file) {
  return file.ends_with(kSuffix) && !file.starts_with('.');
}

std::string_view stem_of(std::string_view file) {
  return file.substr(0, file.size() - kSuffix.size());
}

// A name of foreign bytes is changed by this, but never into one that a node can have.
std::string node_of(std::string_view file) { return printable(stem_of(file), kMaxNameBytes + 1); }

Result<std::optional<StoreEntry>> read_entry(const NodeDirectory& directory,
                                             const std::string& file) {
  const std::string place = directory.place(file);
  const std::string node(stem_of(file));
  if (auto checked = check_node_name(node); !checked)
    return std::optional<StoreEntry>(BadRecord{fmt::format(
        "{}: rename it: {}", place, printable(checked.error().message, 2 * kMaxNameBytes))});
  return read_record_file(directory.fd(), file, place, node);
}

}  // namespace

Result<void> DirectoryView::read_all(const NodeDirectory& directory, Changes& changes) {
  unsettled_.clear();
  const auto files = list_records(directory);
  if (!files) return files.error();
  Changes ignored;
  for (const std::string& file : *files) {
    if (is_unchanged(file, read_signature(directory.fd(), file))) continue;
    if (auto done = read(directory, file, Removal::kSettled, {}, ignored); !done) return done;
  }
  const std::set<std::string> present(files->begin(), files->end());
  std::erase_if(known_, [&](const auto& item) { return !present.contains(item.first); });
  changes.clear();
  for (const auto& [file, known] : known_) changes[node_of(file)] = known.entry;
  return {};
}

Result<void> DirectoryView::rescan(const NodeDirectory& directory, MonotonicTime now,
                                   Changes& changes) {
  const auto files = list_records(directory);
  if (!files) return files.error();
  for (const std::string& file : *files) {
    const auto signature = read_signature(directory.fd(), file);
    if (is_unchanged(file, signature)) continue;
    if (is_young(signature, settle_)) {  // perhaps somebody is writing it
      if (!unsettled_.contains(file)) unsettled(file, now);
      continue;
    }
    if (auto done = read(directory, file, Removal::kToSettle, now, changes); !done) return done;
  }
  const std::set<std::string> present(files->begin(), files->end());
  for (const auto& [file, known] : known_)
    if (!present.contains(file) && !unsettled_.contains(file)) unsettled(file, now);
  return {};
}

Result<void> DirectoryView::written(const NodeDirectory& directory, const std::string& file,
                                    MonotonicTime now, Changes& changes) {
  if (!is_record_file(file)) return {};
  unsettled_.erase(file);
  return read(directory, file, Removal::kToSettle, now, changes);
}

void DirectoryView::unsettled(const std::string& file, MonotonicTime now) {
  if (is_record_file(file)) unsettled_[file] = now + settle_;
}

Result<void> DirectoryView::settle(const NodeDirectory& directory, MonotonicTime now,
                                   Changes& changes) {
  for (auto next = unsettled_.begin(); next != unsettled_.end();) {
    if (next->second > now) {
      ++next;
      continue;
    }
    const std::string file = next->first;
    next = unsettled_.erase(next);
    if (auto done = read(directory, file, Removal::kSettled, now, changes); !done) return done;
  }
  return {};
}

std::optional<MonotonicTime> DirectoryView::next_settled() const {
  const auto first =
      std::min_element(unsettled_.begin(), unsettled_.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (first == unsettled_.end()) return std::nullopt;
  return first->second;
}

Result<std::vector<std::string>> DirectoryView::list_records(const NodeDirectory& directory) const {
  auto files = directory.list();
  if (!files) return files;
  for (const std::string& file : *files) remove_if_stale(directory, file);
  std::erase_if(*files, [](const std::string& file) { return !is_record_file(file); });
  return files;
}

// A crash between the making and the renaming of a temporary file left it.
void DirectoryView::remove_if_stale(const NodeDirectory& directory,
                                    const std::string& temporary) const {
  if (own_file_.empty() || !is_temporary_of(temporary, own_file_)) return;
  const auto signature = read_signature(directory.fd(), temporary);
  if (signature && !is_young(signature, kStaleAge))
    (void)::unlinkat(directory.fd(), temporary.c_str(), 0);
}

bool DirectoryView::is_unchanged(const std::string& file,
                                 const std::optional<FileSignature>& signature) const {
  const auto known = known_.find(file);
  return signature && known != known_.end() && known->second.signature == signature;
}

// Also true of a time in the future: clocks of file servers differ.
bool DirectoryView::is_young(const std::optional<FileSignature>& signature, Duration age) const {
  if (!signature) return false;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const Duration changed(std::max(signature->changed, signature->modified));
  return std::chrono::duration_cast<Duration>(now) - changed < age;
}

Result<void> DirectoryView::read(const NodeDirectory& directory, const std::string& file,
                                 Removal removal, MonotonicTime now, Changes& changes) {
  auto signature = read_signature(directory.fd(), file);  // before: a later write changes it
  if (is_young(signature, kTrustworthyAge)) signature.reset();
  auto entry = read_entry(directory, file);
  if (!entry) return entry.error();
  if (!entry->has_value()) {
    if (removal == Removal::kSettled)
      forget(file, changes);
    else
      unsettled(file, now);
    return {};
  }
  Known& known = known_[file];
  known.signature = signature;
  if (known.entry != nullptr && *known.entry == **entry) return {};
  known.entry = std::make_shared<const StoreEntry>(std::move(**entry));
  changes[node_of(file)] = known.entry;
  return {};
}

void DirectoryView::forget(const std::string& file, Changes& changes) {
  if (known_.erase(file) > 0) changes[node_of(file)] = nullptr;
}

}  // namespace mesh
