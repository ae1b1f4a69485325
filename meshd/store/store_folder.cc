#include "meshd/store/store_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <system_error>

#include "meshd/store/utf8.h"

namespace mesh {
namespace {

Error system_error(std::string_view what, int error) {
  const bool refused = error == EACCES || error == EPERM || error == EROFS;
  const ErrorCode code = error == ENOENT ? ErrorCode::kNotFound
                         : refused       ? ErrorCode::kPermission
                                         : ErrorCode::kIo;
  return {code, fmt::format("{}: {}", what, std::generic_category().message(error)), error};
}

// Opens the folder `name` of the open directory `parent`, and makes it where it is missing and
// `make` says so. An invalid descriptor: it is missing.
Result<UniqueFd> open_folder(int parent, const std::filesystem::path& path, bool make) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  const std::string name = path.filename().string();
  UniqueFd folder(::openat(parent, name.c_str(), kFlags));
  if (!folder && errno == ENOENT) {
    if (!make) return UniqueFd();
    if (::mkdirat(parent, name.c_str(), 0755) != 0 && errno != EEXIST)
      return system_error(path.string() + ": missing, and cannot be made", errno);
    folder.reset(::openat(parent, name.c_str(), kFlags));
  }
  if (!folder) return system_error(path.string() + ": cannot be opened", errno);
  return folder;
}

}  // namespace

Result<StoreDirectory> StoreDirectory::open(const std::filesystem::path& path,
                                            std::optional<dev_t> known_device, bool with_policies) {
  const std::string shown = path.string();
  const UniqueFd parent(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!parent && errno == ENOENT)
    return make_error(ErrorCode::kNotFound,
                      "{}: the store's directory does not exist: make it, mount it, or correct "
                      "store.directory.path",
                      shown);
  struct stat status {};
  if (!parent || ::fstat(parent.get(), &status) != 0)
    return system_error(shown + ": the store's directory cannot be opened", errno);

  const bool same_device = !known_device || *known_device == status.st_dev;
  auto nodes = open_folder(parent.get(), path / kNodes, same_device);
  if (!nodes) return nodes.error();
  if (!*nodes)
    return make_error(
        ErrorCode::kUnavailable,
        "{}: no nodes/ in it, and another file system than before: mount the store's, "
        "or make {}/nodes",
        shown, shown);
  auto policies = open_folder(parent.get(), path / kPolicies, with_policies);
  if (!policies) return policies.error();
  return StoreDirectory(StoreFolder(path / kNodes, *std::move(nodes)),
                        StoreFolder(path / kPolicies, *std::move(policies)), status.st_dev);
}

bool StoreFolder::is_current() const {
  struct stat here {};
  struct stat there {};
  if (!exists()) return ::stat(path_.c_str(), &there) != 0 && errno == ENOENT;
  // While the descriptor is open its inode number cannot be given to another directory.
  return ::fstat(fd_.get(), &here) == 0 && ::stat(path_.c_str(), &there) == 0 &&
         here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

Result<std::vector<std::string>> StoreFolder::list() const {
  const std::string what = path_.string() + ": cannot be listed";
  if (!exists()) return std::vector<std::string>();
  // A descriptor of its own: the position of a directory stream is that of its descriptor.
  UniqueFd fd(::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return system_error(what, errno);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), ::closedir);
  if (!stream) return system_error(what, errno);
  (void)fd.release();  // the stream's now

  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return system_error(what, errno);
  return names;
}

std::string StoreFolder::place(const std::string& file) const {
  return printable((path_ / file).string(), 4096);
}

}  // namespace mesh
