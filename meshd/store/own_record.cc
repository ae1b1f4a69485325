#include "meshd/store/own_record.h"

#include <algorithm>
#include <utility>

#include "meshd/store/record_codec.h"
#include "meshd/store/record_file.h"

namespace mesh {
namespace {

// What the file holds now, when it can be read as a record.
Result<std::optional<NodeRecord>> read_present(const StoreFolder& nodes, const std::string& file,
                                               const std::string& node) {
  auto entry = read_record_file(nodes.fd(), file, nodes.place(file), node, kNodeRecords);
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

bool OwnRecordFile::write(const StoreFolder& nodes, MonotonicTime now) {
  if (!due_ || *due_ > now) return false;
  const auto written = try_write(nodes);
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

Result<bool> OwnRecordFile::try_write(const StoreFolder& nodes) const {
  if (auto checked = check_node_name(record_->name); !checked) return checked.error();
  const std::string name = file();
  const std::string place = nodes.place(name);
  const auto present = read_present(nodes, name, record_->name);
  if (!present) return present.error();

  NodeRecord wanted = *record_;
  if (*present) keep_foreign_annotations(**present, wanted);
  auto written = write_record_file(nodes.fd(), name, place, record_->name,
                                   format_record_yaml(wanted), kNodeRecords);
  if (!written) return written.error().at("the own record cannot be published");
  return written;
}

}  // namespace mesh
