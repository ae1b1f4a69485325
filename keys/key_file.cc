#include "keys/key_file.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <string>
#include <system_error>

#include "mesh/unique_fd.h"

namespace mesh {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLineSize = PublicKey::kBase64Size + 1;  // with its newline
constexpr mode_t kOthers = S_IRWXG | S_IRWXO;

// Text that is secret, on the stack and wiped when it goes. One byte more than a line, so that a
// longer file is seen.
class SecretLine {
 public:
  SecretLine() = default;
  SecretLine(const SecretLine&) = delete;
  SecretLine& operator=(const SecretLine&) = delete;
  SecretLine(SecretLine&&) = delete;
  SecretLine& operator=(SecretLine&&) = delete;
  ~SecretLine() { sodium_memzero(bytes_.data(), bytes_.size()); }

  std::span<char, kLineSize + 1> bytes() { return bytes_; }

 private:
  std::array<char, kLineSize + 1> bytes_{};
};

// `what` names the place and the act: "/x/private.key: cannot be written".
Error system_error(std::string_view what, int error) {
  const bool refused = error == EACCES || error == EPERM || error == EROFS;
  return {refused ? ErrorCode::kPermission : ErrorCode::kIo,
          fmt::format("{}: {}", what, std::generic_category().message(error)), error};
}

std::string key_path(const fs::path& directory) { return (directory / kKeyFileName).string(); }

std::string owner_remedy(const std::string& path) {
  return fmt::format("chown {} '{}'", ::geteuid(), path);
}

// Opens the directory and checks that nobody else can put a key of theirs into it.
Result<UniqueFd> open_directory(const fs::path& directory) {
  const std::string path = directory.string();
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd && errno == ENOENT)
    return make_error(ErrorCode::kNotFound, "{}: the key directory does not exist", path);
  if (!fd)
    return system_error(path + ": cannot open the key directory (see keys.directory)", errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return system_error(path, errno);
  if (status.st_uid != ::geteuid())
    return make_error(ErrorCode::kPermission,
                      "{}: the key directory belongs to user {}, not to {} who runs meshd: {}",
                      path, status.st_uid, ::geteuid(), owner_remedy(path));
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return make_error(
        ErrorCode::kPermission,
        "{}: other users can write to the key directory (mode {:04o}): chmod 700 '{}'", path,
        status.st_mode & 07777U, path);
  return fd;
}

// Without this a crash could take the directory, and with it a key that peers know already.
Result<void> sync_directory(const fs::path& directory) {
  const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd && ::fsync(fd.get()) == 0) return {};
  return system_error(directory.string() + ": cannot write the directory", errno);
}

Result<void> make_directories(const fs::path& directory) {
  fs::path path;
  for (const fs::path& part : directory) {
    path /= part;
    // 0700 at birth: not even for a moment may others look in.
    if (::mkdir(path.c_str(), S_IRWXU) == 0) {
      const fs::path parent = path.parent_path();
      if (auto synced = sync_directory(parent.empty() ? "." : parent); !synced) return synced;
      continue;
    }
    if (errno == EEXIST) continue;
    const int error = errno;
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) continue;  // EROFS and EACCES come before EEXIST
    return system_error(path.string() + ": cannot create the key directory (see keys.directory)",
                        error);
  }
  return {};
}

Result<void> check_key_file(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return system_error(path, errno);
  if (!S_ISREG(status.st_mode))
    return make_error(ErrorCode::kInvalid,
                      "{}: the key file is not a regular file; move it away to get a new key",
                      path);
  if (status.st_uid != ::geteuid())
    return make_error(ErrorCode::kPermission,
                      "{}: the key file belongs to user {}, not to {} who runs meshd: {}", path,
                      status.st_uid, ::geteuid(), owner_remedy(path));
  if ((status.st_mode & kOthers) != 0)
    return make_error(
        ErrorCode::kPermission,
        "{}: other users have access to the private key (mode {:04o}): chmod 600 '{}', or move it "
        "away to get a new key if they may have read it",
        path, status.st_mode & 07777U, path);
  return {};
}

// Reads up to the whole of `line`; returns how much there was.
Result<std::size_t> read_all(int fd, std::span<char> line, const std::string& path) {
  std::size_t size = 0;
  while (size < line.size()) {
    const ssize_t count = ::read(fd, line.data() + size, line.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_error(path + ": cannot read the private key", errno);
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  return size;
}

Result<PrivateKey> load_from(int directory, const std::string& path) {
  // O_NONBLOCK: a FIFO of that name must not hang the start.
  const UniqueFd fd(
      ::openat(directory, kKeyFileName, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd && errno == ENOENT)
    return make_error(ErrorCode::kNotFound, "{}: there is no private key", path);
  if (!fd && errno == ELOOP)
    return make_error(ErrorCode::kInvalid,
                      "{}: the key file is a symbolic link, which is not followed; put the key "
                      "itself there, or set keys.directory",
                      path);
  if (!fd) return system_error(path + ": cannot open the private key", errno);
  if (auto checked = check_key_file(fd.get(), path); !checked) return checked.error();

  SecretLine line;
  const auto size = read_all(fd.get(), line.bytes(), path);
  if (!size) return size.error();
  std::string_view text(line.bytes().data(), *size);
  if (text.ends_with('\n')) text.remove_suffix(1);
  auto key = PrivateKey::parse(text);
  if (!key)
    return make_error(ErrorCode::kInvalid,
                      "{}: {}; restore it from a backup, or move it away to get a new key", path,
                      key.error().message);
  return key;
}

// A temporary file in the key directory, gone with its name unless it was renamed.
class TemporaryFile {
 public:
  static Result<TemporaryFile> create(int directory, const std::string& path) {
    for (int attempt = 0; attempt < 16; ++attempt) {
      std::string name = fmt::format(".{}.{:08x}{:08x}.tmp", kKeyFileName, randombytes_random(),
                                     randombytes_random());
      UniqueFd fd(::openat(directory, name.c_str(),
                           O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                           S_IRUSR | S_IWUSR));
      if (fd) return TemporaryFile(directory, std::move(fd), std::move(name));
      if (errno != EEXIST) break;
    }
    return system_error(path + ": cannot write the private key", errno);
  }

  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  TemporaryFile(TemporaryFile&& other) noexcept
      : directory_(other.directory_),
        fd_(std::move(other.fd_)),
        name_(std::exchange(other.name_, {})) {}
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  ~TemporaryFile() {
    if (!name_.empty()) (void)::unlinkat(directory_, name_.c_str(), 0);
  }

  // 0, or the errno. The mode is set again because a umask can have taken the owner's own bits.
  int write_all(std::string_view text) {
    if (::fchmod(fd_.get(), S_IRUSR | S_IWUSR) != 0) return errno;
    while (!text.empty()) {
      const ssize_t count = ::write(fd_.get(), text.data(), text.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return errno;
      text.remove_prefix(static_cast<std::size_t>(count));
    }
    return ::fsync(fd_.get()) == 0 ? 0 : errno;
  }

  // 0, or the errno; EEXIST when `may_replace` is false and the name is taken.
  int rename_to(const char* name, bool may_replace) {
    const unsigned flags = may_replace ? 0 : RENAME_NOREPLACE;
    if (::renameat2(directory_, name_.c_str(), directory_, name, flags) == 0) {
      name_.clear();
      return 0;
    }
    if (may_replace || (errno != EINVAL && errno != ENOSYS)) return errno;
    // A file system without RENAME_NOREPLACE (NFS): a hard link is as exclusive.
    return ::linkat(directory_, name_.c_str(), directory_, name, 0) == 0 ? 0 : errno;
  }

 private:
  TemporaryFile(int directory, UniqueFd fd, std::string name)
      : directory_(directory), fd_(std::move(fd)), name_(std::move(name)) {}

  int directory_;
  UniqueFd fd_;
  std::string name_;
};

// kExists when `may_replace` is false and somebody else was first.
Result<void> store_in(int directory, const std::string& path, const PrivateKey& key,
                      bool may_replace) {
  SecretLine line;
  sodium_bin2base64(line.bytes().data(), line.bytes().size(), key.reveal().data(),
                    PrivateKey::kSize, sodium_base64_VARIANT_ORIGINAL);
  line.bytes()[kLineSize - 1] = '\n';

  auto file = TemporaryFile::create(directory, path);
  if (!file) return file.error();
  const std::string what = path + ": cannot write the private key";
  if (const int error = file->write_all({line.bytes().data(), kLineSize}); error != 0)
    return system_error(what, error);
  const int error = file->rename_to(kKeyFileName, may_replace);
  if (error == EEXIST)
    return make_error(ErrorCode::kExists, "{}: another process made the key first", path);
  if (error != 0) return system_error(what, error);
  if (::fsync(directory) != 0) return system_error(what, errno);
  return {};
}

}  // namespace

Result<PrivateKey> load_key(const fs::path& directory) {
  const auto fd = open_directory(directory);
  if (!fd) return fd.error();
  return load_from(fd->get(), key_path(directory));
}

Result<PrivateKey> load_or_create_key(const fs::path& directory) {
  if (auto created = make_directories(directory); !created) return created.error();
  const auto fd = open_directory(directory);
  if (!fd) return fd.error();
  const std::string path = key_path(directory);

  auto loaded = load_from(fd->get(), path);
  if (loaded || loaded.error().code != ErrorCode::kNotFound) return loaded;
  auto key = PrivateKey::generate();
  const auto stored = store_in(fd->get(), path, key, /*may_replace=*/false);
  if (stored) return key;
  if (stored.error().code != ErrorCode::kExists) return stored.error();
  // The other's rename may not be on disk yet, and we are about to publish its key.
  if (::fsync(fd->get()) != 0) return system_error(path + ": cannot write the private key", errno);
  return load_from(fd->get(), path);
}

Result<void> save_key(const fs::path& directory, const PrivateKey& key) {
  if (auto created = make_directories(directory); !created) return created.error();
  const auto fd = open_directory(directory);
  if (!fd) return fd.error();
  const std::string path = key_path(directory);
  if (const auto present = load_from(fd->get(), path);
      !present && present.error().code != ErrorCode::kNotFound)
    return present.error();
  return store_in(fd->get(), path, key, /*may_replace=*/true);
}

}  // namespace mesh
