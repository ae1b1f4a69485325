#include "meshd/ctl/output.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/text.h"

namespace mesh::ctl {
namespace {

Result<void> write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0)
      return Error{ErrorCode::kIo, fmt::format("cannot write the output: {}", std::strerror(errno)),
                   errno};
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : value;
}

}  // namespace

Result<void> print(std::string_view text) { return write_all(STDOUT_FILENO, text); }

void complain(std::string_view message) {
  (void)write_all(STDERR_FILENO, "meshctl: " + escape_controls(message) + "\n");
}

bool stdout_is_terminal() { return ::isatty(STDOUT_FILENO) == 1; }

std::size_t terminal_width() {
  winsize size{};
  if (!stdout_is_terminal() || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

bool use_color(std::string_view wish) {
  if (wish == "always") return true;
  if (wish == "never") return false;
  return stdout_is_terminal() && environment("NO_COLOR").empty() && environment("TERM") != "dumb";
}

}  // namespace mesh::ctl
