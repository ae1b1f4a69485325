#include "meshd/daemon/traffic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <system_error>

#include "mesh/unique_fd.h"
#include "meshd/store/record_file.h"

namespace mesh {
namespace {

constexpr std::uintmax_t kMaxBytes = std::uintmax_t{64} << 20;

Error system_error(const std::filesystem::path& path, int error) {
  return {ErrorCode::kIo,
          fmt::format("{}: {}", path.native(), std::generic_category().message(error)), error};
}

}  // namespace

Result<std::optional<std::string>> read_counts(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error == std::errc::no_such_file_or_directory) return std::optional<std::string>();
  if (error) return system_error(path, error.value());
  if (size > kMaxBytes)
    return make_error(ErrorCode::kInvalid, "{}: it has {} bytes, and at most {} are read",
                      path.native(), size, kMaxBytes);
  std::ifstream file(path, std::ios::binary);
  if (!file) return system_error(path, errno);
  return std::optional(std::string(std::istreambuf_iterator<char>(file), {}));
}

Result<void> write_counts(const std::filesystem::path& path, std::string_view text) {
  const UniqueFd directory(::open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return system_error(path, errno);
  return replace_file(directory.get(), path.filename(), path.native(), text, S_IRUSR | S_IWUSR);
}

}  // namespace mesh
