#include "meshd/store/directory_watch.h"

#include <fmt/format.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <system_error>

namespace mesh {
namespace {

constexpr std::uint32_t kPathMask = IN_MOVE_SELF | IN_DELETE_SELF | IN_ONLYDIR | IN_MASK_ADD;
constexpr std::uint32_t kReplaced = IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE;
constexpr std::uint32_t kWritten = IN_CLOSE_WRITE | IN_MOVED_TO | IN_ATTRIB;
constexpr std::uint32_t kUnsettled = IN_CREATE | IN_DELETE | IN_MOVED_FROM;
constexpr std::uint32_t kMoved = IN_MOVE_SELF | IN_DELETE_SELF | IN_UNMOUNT | IN_IGNORED;
constexpr std::size_t kBufferSize = 65536;
constexpr int kMaxReads = 64;

std::string limit_problem(std::string_view call, std::string_view limit) {
  return fmt::format(
      "changes of the store are seen late, because {} failed: {} (see the sysctl fs.inotify.{})",
      call, std::generic_category().message(errno), limit);
}

}  // namespace

bool DirectoryWatch::watch(const std::filesystem::path& directory,
                           const std::vector<std::string>& folders) {
  problem_.clear();
  watched_.clear();
  folders_ = folders;
  fd_.reset(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!fd_) {
    problem_ = limit_problem("inotify_init1", "max_user_instances");
    return false;
  }
  // The directories above say only when they move, which is rare; what happens in them wakes
  // nobody. One that cannot be watched is covered by the rescan.
  for (auto path = directory.parent_path(); path.has_relative_path(); path = path.parent_path())
    (void)::inotify_add_watch(fd_.get(), path.c_str(), kPathMask);
  // While somebody holds a folder open, its own removal makes no event; but its directory tells.
  directory_ = ::inotify_add_watch(fd_.get(), directory.c_str(), kPathMask | kReplaced);
  for (const std::string& folder : folders_) {
    const int watched = ::inotify_add_watch(fd_.get(), (directory / folder).c_str(),
                                            kPathMask | kWritten | kUnsettled);
    if (watched >= 0) {
      watched_[watched] = folder;
    } else if (errno != ENOENT) {
      problem_ = limit_problem("inotify_add_watch", "max_user_watches");
      fd_.reset();
      return false;
    }
  }
  buffer_.resize(kBufferSize);
  return true;
}

DirectoryWatch::Events DirectoryWatch::drain() {
  Events events;
  // Bounded, so that a storm of events cannot keep the caller here.
  for (int reads = 0; fd_ && reads < kMaxReads; ++reads) {
    const ssize_t size = ::read(fd_.get(), buffer_.data(), buffer_.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;  // EAGAIN: no more
    for (std::size_t at = 0; at < static_cast<std::size_t>(size);) {
      inotify_event event{};
      std::memcpy(&event, buffer_.data() + at, sizeof event);
      std::string name;
      if (event.len > 0)  // padded with NULs
        name.assign(reinterpret_cast<const char*>(buffer_.data() + at + sizeof event));
      at += sizeof event + event.len;

      if ((event.mask & IN_Q_OVERFLOW) != 0) events.lost = true;
      if ((event.mask & kMoved) != 0) events.moved = true;
      if (event.wd == directory_ && std::count(folders_.begin(), folders_.end(), name) > 0)
        events.moved = true;
      const auto folder = watched_.find(event.wd);
      if (folder == watched_.end() || name.empty()) continue;
      if ((event.mask & kWritten) != 0)
        events.written[folder->second][name] = true;
      else if ((event.mask & kUnsettled) != 0)
        events.written[folder->second][name] = false;
    }
  }
  return events;
}

}  // namespace mesh
