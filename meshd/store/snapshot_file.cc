#include "meshd/store/snapshot_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "mesh/unique_fd.h"
#include "meshd/store/record_file.h"
#include "meshd/store/utf8.h"

namespace mesh {
namespace {

Error system_error(const std::filesystem::path& path, std::string_view what, int error) {
  const bool refused = error == EACCES || error == EPERM || error == EROFS;
  return {refused ? ErrorCode::kPermission : ErrorCode::kIo,
          fmt::format("{}: {}: {}", path.native(), what, std::generic_category().message(error)),
          error};
}

// Whoever can write it could name himself a peer.
Result<void> check_status(const std::filesystem::path& path, const struct stat& status) {
  const std::string& place = path.native();
  if (!S_ISREG(status.st_mode))
    return make_error(ErrorCode::kInvalid, "{}: it is not a regular file", place);
  if (status.st_uid != ::geteuid() && status.st_uid != 0)
    return make_error(ErrorCode::kPermission,
                      "{}: it belongs to user {}, who could have written it", place, status.st_uid);
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return make_error(ErrorCode::kPermission, "{}: others than its owner can write it (mode {:o})",
                      place, status.st_mode & 0777U);
  if (status.st_size > static_cast<off_t>(kMaxSnapshotBytes))
    return make_error(ErrorCode::kInvalid, "{}: it has {} bytes, and at most {} are read", place,
                      status.st_size, kMaxSnapshotBytes);
  return {};
}

// `size` is what the file had; one byte more is asked for, so that one that grew is seen.
Result<std::string> read_text(const std::filesystem::path& path, int fd, std::size_t size) {
  std::string text(size + 1, '\0');
  std::size_t filled = 0;
  while (filled < text.size()) {
    const ssize_t count = ::read(fd, text.data() + filled, text.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_error(path, "it cannot be read", errno);
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  text.resize(filled);
  return text;
}

// "" would be no directory.
std::filesystem::path directory_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

void remove_unfinished(const std::filesystem::path& path) {
  const std::string file = path.filename().native();
  std::error_code error;
  for (auto it = std::filesystem::directory_iterator(directory_of(path), error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    std::error_code ignored;  // it costs space, no more
    if (is_temporary_of(it->path().filename().native(), file))
      std::filesystem::remove(it->path(), ignored);
  }
}

std::string describe(const StoreIdentity& store) {
  return fmt::format("the {} store {}, taken by node {}", printable(store.type, 64),
                     printable(store.location, 256), printable(store.node, 256));
}

}  // namespace

Result<std::optional<Snapshot>> load_snapshot(const std::filesystem::path& path,
                                              const StoreIdentity& store) {
  remove_unfinished(path);
  // O_NONBLOCK: a FIFO must not hang the start.
  const UniqueFd fd(
      ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd && errno == ENOENT) return std::optional<Snapshot>();
  if (!fd && errno == ELOOP)
    return make_error(ErrorCode::kInvalid, "{}: it is a symbolic link, which is not followed",
                      path.native());
  if (!fd) return system_error(path, "it cannot be opened", errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return system_error(path, "it cannot be read", errno);
  if (auto usable = check_status(path, status); !usable) return usable.error();
  const auto text = read_text(path, fd.get(), static_cast<std::size_t>(status.st_size));
  if (!text) return text.error();
  auto snapshot = parse_snapshot(*text, path.native());
  if (!snapshot) return snapshot.error();
  if (snapshot->store != store)
    return make_error(ErrorCode::kInvalid, "{}: it is of {}, and this is {}", path.native(),
                      describe(snapshot->store), describe(store));
  return std::optional(std::move(*snapshot));
}

Result<void> save_snapshot(const std::filesystem::path& path, const Snapshot& snapshot) {
  const std::string text = format_snapshot(snapshot);
  if (text.size() > kMaxSnapshotBytes)
    return make_error(ErrorCode::kInvalid,
                      "{}: the records take {} bytes, and a snapshot has at most {}: records as "
                      "large as these are a mistake of whoever writes them",
                      path.native(), text.size(), kMaxSnapshotBytes);
  const UniqueFd directory(::open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return system_error(path, "its directory cannot be opened", errno);
  return replace_file(directory.get(), path.filename(), path.native(), text, S_IRUSR | S_IWUSR);
}

}  // namespace mesh
