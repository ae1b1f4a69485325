// The snapshot's file: read without trusting it, replaced in one step.
//
// Any thread; blocks for the disk. What is there and cannot be used is reported with its remedy and
// left as it is.
#pragma once

#include <filesystem>
#include <optional>

#include "mesh/result.h"
#include "meshd/store/snapshot.h"

namespace mesh {

// The snapshot in `path`, or nothing when there is no file. An error, one line with the path: it is
// damaged, too large, another store's, writable by others, not a file, not readable. Removes what a
// write that was cut off by a crash left beside it.
Result<std::optional<Snapshot>> load_snapshot(const std::filesystem::path& path,
                                              const StoreIdentity& store);

// Puts `snapshot` in the place of the file, mode 0600: a crash at any point leaves the old one or
// the new one. Refuses what is larger than kMaxSnapshotBytes. Never makes a directory.
Result<void> save_snapshot(const std::filesystem::path& path, const Snapshot& snapshot);

}  // namespace mesh
