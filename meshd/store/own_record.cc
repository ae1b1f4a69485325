#include "meshd/store/own_record.h"

#include <algorithm>
#include <utility>

#include "meshd/store/record_codec.h"
#include "meshd/store/record_file.h"

namespace mesh {
namespace {

// What the file holds now, when it can be read as a record.
Result<std::optional<NodeRecord>> read_present(const NodeDirectory& directory,
                                               const std::string& file, const std::string& node) {
  auto entry = read_record_file(directory.fd(), file, directory.place(file), node);
  if (!entry) return entry.error();
  if (!entry->has_value() || !std::holds_alternative<NodeRecord>(**entry))
    return std::optional<NodeRecord>();
  return std::optional(std::get<NodeRecord>(std::move(**entry)));
}

void keep_foreign_annotations(const NodeRecord& from, NodeRecord& to) {
  for (const auto& [key, value] : from.annotations)
    if (!key.starts_with(kAnnotationPrefix)) to.annotations.emplace(key, value);
}

}  // namespace

void OwnRecordFile::set(NodeRecord record, MonotonicTime now) {
  record.problems.clear();  // those are what a reader found
  // Asking again for what is being tried anyway is no reason to try more often.
  if (due_ && record_ == record) return;
  record_ = std::move(record);
  retry_now(now);
}

void OwnRecordFile::retry_now(MonotonicTime now) {
  if (!record_) return;
  due_ = now;
  pause_ = first_;
}

bool OwnRecordFile::write(const NodeDirectory& directory, MonotonicTime now) {
  if (!due_ || *due_ > now) return false;
  const auto written = try_write(directory);
  if (written) {
    due_.reset();
    problem_.clear();
    pause_ = first_;
    return *written;
  }
  problem_ = written.error().message;
  const auto jitter = std::uniform_int_distribution<Duration::rep>(0, pause_.count() / 4)(random_);
  due_ = now + pause_ - Duration(jitter);
  pause_ = std::min(pause_ * 2, cap_);
  return false;
}

Result<bool> OwnRecordFile::try_write(const NodeDirectory& directory) const {
  if (auto checked = check_node_name(record_->name); !checked) return checked.error();
  const std::string name = file();
  const std::string place = directory.place(name);
  const auto present = read_present(directory, name, record_->name);
  if (!present) return present.error();

  NodeRecord wanted = *record_;
  if (*present) keep_foreign_annotations(**present, wanted);
  const std::string text = format_record_yaml(wanted);
  // What nobody could read must not be written; and only what a reader makes of it compares.
  const auto readable = parse_record_yaml(text, place, record_->name);
  if (!readable) return readable.error().at("the own record cannot be published");
  if (*present && **present == *readable) return false;
  if (auto replaced = replace_file(directory.fd(), name, place, text); !replaced)
    return replaced.error().at("the own record is not published");
  return true;
}

}  // namespace mesh
