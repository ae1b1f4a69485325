#include "meshd/store/folder_view.h"

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

// A name of foreign bytes is changed by this, but never into one that a record can have.
std::string name_of(std::string_view file) { return printable(stem_of(file), kMaxNameBytes + 1); }

}  // namespace

template <class Value>
Result<std::optional<typename FolderView<Value>::Entry>> FolderView<Value>::read_entry(
    const StoreFolder& folder, const std::string& file) const {
  const std::string place = folder.place(file);
  const std::string name(stem_of(file));
  if (!folder.exists()) return std::optional<Entry>();
  if (auto checked = kind_.check_name(name); !checked) {
    if (!read_signature(folder.fd(), file)) return std::optional<Entry>();
    return std::optional<Entry>(BadRecord{fmt::format(
        "{}: rename it: {}", place, printable(checked.error().message, 2 * kMaxNameBytes))});
  }
  return read_record_file(folder.fd(), file, place, name, kind_);
}

template <class Value>
Result<void> FolderView<Value>::read_all(const StoreFolder& folder, MonotonicTime now,
                                         Changes& changes) {
  unsettled_.clear();
  const auto files = list_records(folder);
  if (!files) return files.error();
  Changes ignored;
  for (const std::string& file : *files) {
    if (is_unchanged(file, read_signature(folder.fd(), file))) continue;
    if (auto done = read(folder, file, Removal::kSettled, {}, ignored); !done) return done;
  }
  const std::set<std::string> present(files->begin(), files->end());
  if (folder.exists())
    std::erase_if(known_, [&](const auto& item) { return !present.contains(item.first); });
  else
    for (const auto& [file, known] : known_) unsettled(file, now);
  changes.clear();
  for (const auto& [file, known] : known_) changes[name_of(file)] = known.entry;
  return {};
}

template <class Value>
Result<void> FolderView<Value>::rescan(const StoreFolder& folder, MonotonicTime now,
                                       Changes& changes) {
  const auto files = list_records(folder);
  if (!files) return files.error();
  for (const std::string& file : *files) {
    const auto signature = read_signature(folder.fd(), file);
    if (is_unchanged(file, signature)) continue;
    if (is_young(signature, settle_)) {  // perhaps somebody is writing it
      if (!unsettled_.contains(file)) unsettled(file, now);
      continue;
    }
    if (auto done = read(folder, file, Removal::kToSettle, now, changes); !done) return done;
  }
  const std::set<std::string> present(files->begin(), files->end());
  for (const auto& [file, known] : known_)
    if (!present.contains(file) && !unsettled_.contains(file)) unsettled(file, now);
  return {};
}

template <class Value>
Result<void> FolderView<Value>::written(const StoreFolder& folder, const std::string& file,
                                        MonotonicTime now, Changes& changes) {
  if (!is_record_file(file)) return {};
  unsettled_.erase(file);
  return read(folder, file, Removal::kToSettle, now, changes);
}

template <class Value>
void FolderView<Value>::unsettled(const std::string& file, MonotonicTime now) {
  if (is_record_file(file)) unsettled_[file] = now + settle_;
}

template <class Value>
Result<void> FolderView<Value>::settle(const StoreFolder& folder, MonotonicTime now,
                                       Changes& changes) {
  for (auto next = unsettled_.begin(); next != unsettled_.end();) {
    if (next->second > now) {
      ++next;
      continue;
    }
    const std::string file = next->first;
    next = unsettled_.erase(next);
    if (auto done = read(folder, file, Removal::kSettled, now, changes); !done) return done;
  }
  return {};
}

template <class Value>
std::optional<MonotonicTime> FolderView<Value>::next_settled() const {
  const auto first =
      std::min_element(unsettled_.begin(), unsettled_.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (first == unsettled_.end()) return std::nullopt;
  return first->second;
}

template <class Value>
Result<std::vector<std::string>> FolderView<Value>::list_records(const StoreFolder& folder) const {
  auto files = folder.list();
  if (!files) return files;
  for (const std::string& file : *files) remove_if_stale(folder, file);
  std::erase_if(*files, [](const std::string& file) { return !is_record_file(file); });
  return files;
}

// A crash between the making and the renaming of a temporary file left it.
template <class Value>
void FolderView<Value>::remove_if_stale(const StoreFolder& folder,
                                        const std::string& temporary) const {
  if (own_file_.empty() || !is_temporary_of(temporary, own_file_)) return;
  const auto signature = read_signature(folder.fd(), temporary);
  if (signature && !is_young(signature, kStaleAge))
    (void)::unlinkat(folder.fd(), temporary.c_str(), 0);
}

template <class Value>
bool FolderView<Value>::is_unchanged(const std::string& file,
                                     const std::optional<FileSignature>& signature) const {
  const auto known = known_.find(file);
  return signature && known != known_.end() && known->second.signature == signature;
}

// Also true of a time in the future: clocks of file servers differ.
template <class Value>
bool FolderView<Value>::is_young(const std::optional<FileSignature>& signature,
                                 Duration age) const {
  if (!signature) return false;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const Duration changed(std::max(signature->changed, signature->modified));
  return std::chrono::duration_cast<Duration>(now) - changed < age;
}

template <class Value>
Result<void> FolderView<Value>::read(const StoreFolder& folder, const std::string& file,
                                     Removal removal, MonotonicTime now, Changes& changes) {
  auto signature = read_signature(folder.fd(), file);  // before: a later write changes it
  if (is_young(signature, kTrustworthyAge)) signature.reset();
  auto entry = read_entry(folder, file);
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
  known.entry = std::make_shared<const Entry>(std::move(**entry));
  changes[name_of(file)] = known.entry;
  return {};
}

template <class Value>
void FolderView<Value>::forget(const std::string& file, Changes& changes) {
  if (known_.erase(file) > 0) changes[name_of(file)] = nullptr;
}

template class FolderView<NodeRecord>;
template class FolderView<EncryptionPolicy>;

}  // namespace mesh
