#include "meshd/store/node_directory.h"

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

// Creates `nodes` in the open directory `parent`, where it is missing.
Result<void> make_nodes(int parent, const std::string& path, dev_t device,
                        std::optional<dev_t> known_device) {
  if (known_device && *known_device != device)
    return make_error(
        ErrorCode::kUnavailable,
        "{}: no nodes/ in it, and another file system than before: mount the store's, "
        "or make {}/nodes",
        path, path);
  if (::mkdirat(parent, "nodes", 0755) == 0 || errno == EEXIST) return {};
  return system_error(path + "/nodes: missing, and cannot be made", errno);
}

}  // namespace

Result<NodeDirectory> NodeDirectory::open(const std::filesystem::path& path,
                                          std::optional<dev_t> known_device) {
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

  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  UniqueFd nodes(::openat(parent.get(), "nodes", kFlags));
  if (!nodes && errno == ENOENT) {
    if (auto made = make_nodes(parent.get(), shown, status.st_dev, known_device); !made)
      return made.error();
    nodes.reset(::openat(parent.get(), "nodes", kFlags));
  }
  if (!nodes) return system_error(shown + "/nodes: cannot be opened", errno);
  return NodeDirectory(path / "nodes", std::move(nodes), status.st_dev);
}

bool NodeDirectory::is_current() const {
  struct stat here {};
  struct stat there {};
  // While the descriptor is open its inode number cannot be given to another directory.
  return ::fstat(fd_.get(), &here) == 0 && ::stat(nodes_.c_str(), &there) == 0 &&
         here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

Result<std::vector<std::string>> NodeDirectory::list() const {
  const std::string what = nodes_.string() + ": cannot be listed";
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

std::string NodeDirectory::place(const std::string& file) const {
  return printable((nodes_ / file).string(), 4096);
}

}  // namespace mesh
