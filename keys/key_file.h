// The key file: `<directory>/private.key`, one line as `wg genkey` writes it, mode 0600, in a
// directory of mode 0700.
//
// Called once at start (and once per rotation), from any thread; blocks for a few disk writes. A
// key that was returned is on disk: a crash, before or after, leaves the old key, the new one or
// none, never half of one. What is there and cannot be used is reported and never overwritten, for
// it may be the only copy of the identity that the peers know. No error quotes a byte of the file.
#pragma once

#include <filesystem>

#include "mesh/private_key.h"
#include "mesh/result.h"

namespace mesh {

inline constexpr char kKeyFileName[] = "private.key";

// The key of this node; made on the first call, together with the directories that are missing
// (mode 0700). Processes that start at once all get the same key. Errors, each with path and
// remedy: kInvalid for a file that does not hold one key; kPermission for a file or directory that
// others can read or write or that another user owns, or that the operating system refuses; kIo.
Result<PrivateKey> load_or_create_key(const std::filesystem::path& directory);

// kNotFound when there is no key file; else as load_or_create_key.
Result<PrivateKey> load_key(const std::filesystem::path& directory);

// Puts `key` in the place of the present key, if any, in one step. Refuses, as load_key does, to
// replace a file that is not a usable key.
Result<void> save_key(const std::filesystem::path& directory, const PrivateKey& key);

}  // namespace mesh
