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

#include "mesh/node_store.h"

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

// The record of `node` in `file`, a BadRecord when there is one that cannot be used (not a regular
// file, too large, unreadable, wrong content), or nothing when the file is not there. An error:
// this process or the whole file system is in trouble (no descriptors, no memory, a stale handle),
// which says nothing about the record. `place` is the file's path, for messages.
Result<std::optional<StoreEntry>> read_record_file(int directory, const std::string& file,
                                                   const std::string& place, std::string_view node);

// Puts `text` in the place of `file`, whatever the umask: a reader, and a crash at any point, sees
// the old content or the new one. Temporary files are named by `temporary_prefix` and 16 hex
// digits.
Result<void> replace_file(int directory, const std::string& file, const std::string& place,
                          std::string_view text, mode_t mode = 0644);

// The start of the names of the temporary files that replace_file makes for `file`.
std::string temporary_prefix(std::string_view file);
// Whether `name` is one of them.
bool is_temporary_of(std::string_view name, std::string_view file);

}  // namespace mesh
