// The file of the counts of traffic: a few numbers a peer, replaced in one step. Any thread; blocks
// for the disk.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "mesh/result.h"

namespace mesh {

// Nothing when there is no file. Errors are led by the path.
Result<std::optional<std::string>> read_counts(const std::filesystem::path& path);
// Mode 0600; a crash at any point leaves the old text or the new one.
Result<void> write_counts(const std::filesystem::path& path, std::string_view text);

}  // namespace mesh
