#include "meshd/dataplane/sysctl.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>

#include "meshd/dataplane/errors.h"
#include "meshd/dataplane/unique_fd.h"

namespace mesh {
namespace {

constexpr std::size_t kMaxLinkName = 15;  // IFNAMSIZ - 1

// The kernel refuses '/' in names of links, as it refuses "." and "..": none of them is looked for,
// so that no name leads out of the directory. A '.' within a name stays as it is in a path.
Result<std::string> path_of(const std::string& link, LinkSysctl sysctl) {
  if (link.empty() || link.size() > kMaxLinkName || link == "." || link == ".." ||
      link.find('/') != std::string::npos || link.find('\0') != std::string::npos)
    return make_error(ErrorCode::kInvalid, "{}: '{}' cannot be the name of a link",
                      to_string(sysctl), link.substr(0, 64));
  return fmt::format("/proc/sys/net/ipv4/conf/{}/{}", link, to_string(sysctl));
}

Error failed(std::string_view act, const std::string& path) {
  const int error = errno;
  return error_from_errno(error, fmt::format("{} {}", act, path));
}

}  // namespace

Result<int> read_link_sysctl(const std::string& link, LinkSysctl sysctl) {
  const auto path = path_of(link, sysctl);
  if (!path) return path.error();
  const UniqueFd file(::open(path->c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return failed("read", *path);
  std::array<char, 16> text{};
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  if (size < 0) return failed("read", *path);
  int value = 0;
  if (std::from_chars(text.data(), text.data() + size, value).ec != std::errc())
    return make_error(ErrorCode::kIo, "read {}: not a number", *path);
  return value;
}

Result<void> write_link_sysctl(const LinkSetting& setting) {
  const auto path = path_of(setting.link, setting.sysctl);
  if (!path) return path.error();
  const UniqueFd file(::open(path->c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return failed("write", *path);
  const std::string text = std::to_string(setting.value);
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return failed("write", *path);
  return {};
}

}  // namespace mesh
