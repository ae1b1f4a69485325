// One file of the directory store: read without trusting it, replaced in one step.
//
// Any thread; each call blocks for a few system calls on one small file. `directory` is an open
// descriptor of the directory that holds the file.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "mesh/node_store.h"
#include "meshd/store/policy_codec.h"
#include "meshd/store/record_codec.h"

namespace mesh {

// What changes whenever the file does, unless twice within one tick of the file system's clock.
struct FileSignature {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  std::int64_t modified = 0;  // nanoseconds since 1970, as the file system says
  std::int64_t changed = 0;
  friend bool operator==(const FileSignature&, const FileSignature&) = default;
};

// Of the file itself, not of what a symbolic link points to. Empty: not there, or not readable.
std::optional<FileSignature> read_signature(int directory, const std::string& file);

// What the files of one folder hold.
template <class Value>
struct RecordKind {
  Result<Value> (*parse)(std::string_view text, std::string_view place, std::string_view name);
  Result<void> (*check_name)(std::string_view name);
};
inline constexpr RecordKind<NodeRecord> kNodeRecords{parse_record_yaml, check_node_name};
inline constexpr RecordKind<EncryptionPolicy> kPolicies{parse_policy_yaml, check_policy_name};

// The text of `file`, a BadRecord when there is one that cannot be read (not a regular file, too
// large, no permission), or nothing when the file is not there. An error: this process or the whole
// file system is in trouble (no descriptors, no memory, a stale handle), which says nothing about
// the record. `place` is the file's path, for messages.
Result<std::optional<std::variant<std::string, BadRecord>>> read_text_file(
    int directory, const std::string& file, const std::string& place);

// The same, read as the record of `name`, which makes wrong content a BadRecord, too.
template <class Value>
Result<std::optional<std::variant<Value, BadRecord>>> read_record_file(
    int directory, const std::string& file, const std::string& place, std::string_view name,
    const RecordKind<Value>& kind) {
  using Entry = std::variant<Value, BadRecord>;
  auto text = read_text_file(directory, file, place);
  if (!text) return text.error();
  if (!*text) return std::optional<Entry>();
  if (auto* bad = std::get_if<BadRecord>(&**text)) return std::optional<Entry>(std::move(*bad));
  auto value = kind.parse(std::get<std::string>(**text), place, name);
  if (!value) return std::optional<Entry>(BadRecord{value.error().message});
  return std::optional<Entry>(std::move(*value));
}

// Puts `text` in the place of `file`, whatever the umask: a reader, and a crash at any point, sees
// the old content or the new one. Temporary files are named by `temporary_prefix` and 16 hex
// digits.
Result<void> replace_file(int directory, const std::string& file, const std::string& place,
                          std::string_view text, mode_t mode = 0644);

// Makes `file` hold `text`, which must read as the record of `name`, unless what is there reads the
// same. True: it was written.
template <class Value>
Result<bool> write_record_file(int directory, const std::string& file, const std::string& place,
                               std::string_view name, std::string_view text,
                               const RecordKind<Value>& kind) {
  // What nobody could read must not be written; and only what a reader makes of it compares.
  const auto readable = kind.parse(text, place, name);
  if (!readable) return readable.error();
  const auto present = read_record_file(directory, file, place, name, kind);
  if (!present) return present.error();
  if (*present && std::holds_alternative<Value>(**present) &&
      std::get<Value>(**present) == *readable)
    return false;
  if (auto replaced = replace_file(directory, file, place, text); !replaced)
    return replaced.error();
  return true;
}

// The start of the names of the temporary files that replace_file makes for `file`.
std::string temporary_prefix(std::string_view file);
// Whether `name` is one of them.
bool is_temporary_of(std::string_view name, std::string_view file);

}  // namespace mesh
