#include "meshd/store/record_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <random>
#include <system_error>

#include "mesh/unique_fd.h"

namespace mesh {
namespace {

constexpr std::string_view kTemporarySuffix = ".tmp";
constexpr std::size_t kTokenSize = 16;
// So that prefix, token and suffix fit into a file name, whatever the node's name.
constexpr std::size_t kMaxPrefixName = 200;

Error system_error(std::string_view what, int error) {
  const bool refused = error == EACCES || error == EPERM || error == EROFS;
  return {refused ? ErrorCode::kPermission : ErrorCode::kIo,
          fmt::format("{}: {}", what, std::generic_category().message(error)), error};
}

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// Failures that would be the same with any other file.
bool is_everybodys(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == ESTALE ||
         error == ENOTCONN || error == ESHUTDOWN;
}

using FileText = std::variant<std::string, BadRecord>;

template <class... Args>
FileText bad(fmt::format_string<Args...> format, Args&&... args) {
  return BadRecord{fmt::format(format, std::forward<Args>(args)...)};
}

// Why an open file is not read, or no value.
std::optional<FileText> refuse_file(int fd, const std::string& place) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return bad("{}", system_error(place, errno).message);
  if (!S_ISREG(status.st_mode))
    return bad("{}: not a regular file: a record is one; remove it", place);
  if (status.st_size > static_cast<off_t>(kMaxRecordBytes))
    return bad("{}: {} bytes large: a record has at most {}", place, status.st_size,
               kMaxRecordBytes);
  return std::nullopt;
}

// 0, or the errno. Reads one byte more than a record can have, so that a file that grew is seen.
int read_text(int fd, std::string& text) {
  std::array<char, 16384> buffer;  // read into
  while (text.size() <= kMaxRecordBytes) {
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    if (count == 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  return 0;
}

std::string random_token() {
  // Names need to differ, not to be secret: O_EXCL guards what they name.
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("{:016x}", random());
}

int write_text(int fd, std::string_view text, mode_t mode) {
  if (::fchmod(fd, mode) != 0) return errno;  // whatever the umask
  while (!text.empty()) {
    const ssize_t count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  return ::fsync(fd) == 0 ? 0 : errno;
}

}  // namespace

std::optional<FileSignature> read_signature(int directory, const std::string& file) {
  struct stat status {};
  if (::fstatat(directory, file.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  return FileSignature{status.st_dev, status.st_ino, status.st_size, nanoseconds(status.st_mtim),
                       nanoseconds(status.st_ctim)};
}

Result<std::optional<FileText>> read_text_file(int directory, const std::string& file,
                                               const std::string& place) {
  // O_NONBLOCK: a FIFO must not hang the thread.
  const UniqueFd fd(
      ::openat(directory, file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd) {
    const int error = errno;
    if (error == ENOENT) return std::optional<FileText>();
    if (is_everybodys(error)) return system_error(place + ": cannot be opened", error);
    if (error == ELOOP)
      return std::optional(
          bad("{}: a symbolic link, which is not followed: put the record itself there", place));
    return std::optional(bad("{}", system_error(place + ": cannot be opened", error).message));
  }
  if (auto refused = refuse_file(fd.get(), place)) return refused;

  std::string text;
  if (const int error = read_text(fd.get(), text); error != 0) {
    if (is_everybodys(error)) return system_error(place + ": cannot be read", error);
    return std::optional(bad("{}", system_error(place + ": cannot be read", error).message));
  }
  return std::optional<FileText>(std::move(text));
}

std::string temporary_prefix(std::string_view file) {
  return fmt::format(".{}.", file.substr(0, kMaxPrefixName));
}

bool is_temporary_of(std::string_view name, std::string_view file) {
  const std::string prefix = temporary_prefix(file);
  if (!name.starts_with(prefix) || !name.ends_with(kTemporarySuffix)) return false;
  name.remove_prefix(prefix.size());
  return name.size() == kTokenSize + kTemporarySuffix.size() &&
         name.find_first_not_of("0123456789abcdef") == kTokenSize;
}

Result<void> replace_file(int directory, const std::string& file, const std::string& place,
                          std::string_view text, mode_t mode) {
  const std::string what = place + ": cannot be written";
  const std::string temporary =
      fmt::format("{}{}{}", temporary_prefix(file), random_token(), kTemporarySuffix);
  const UniqueFd fd(::openat(directory, temporary.c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                             S_IRUSR | S_IWUSR));
  if (!fd) return system_error(what, errno);
  int error = write_text(fd.get(), text, mode);
  if (error == 0 && ::renameat(directory, temporary.c_str(), directory, file.c_str()) != 0)
    error = errno;
  if (error != 0) {
    (void)::unlinkat(directory, temporary.c_str(), 0);
    return system_error(what, error);
  }
  // The file is there for every reader; only a crash of the machine could still undo it.
  if (::fsync(directory) != 0 && errno != EINVAL) return system_error(what, errno);
  return {};
}

}  // namespace mesh
