#include "meshd/ctl/watch.h"

#include <signal.h>
#include <unistd.h>

#include <thread>

#include "core/status_render.h"
#include "core/text.h"
#include "meshd/ctl/commands.h"
#include "meshd/ctl/output.h"

namespace mesh::ctl {
namespace {

// The alternate screen leaves what was on the terminal as it was.
constexpr char kEnterScreen[] = "\x1b[?1049h\x1b[?25l";
constexpr char kLeaveScreen[] = "\x1b[?25h\x1b[?1049l";
constexpr char kClear[] = "\x1b[H\x1b[2J";

volatile sig_atomic_t on_screen = 0;

// A request may be waiting, so the handler itself ends the process: at once, wherever we are. It
// calls only what is safe in a handler.
void leave(int signal) {
  if (on_screen != 0) {
    [[maybe_unused]] const ssize_t ignored =
        ::write(STDOUT_FILENO, kLeaveScreen, sizeof kLeaveScreen - 1);
  }
  ::_exit(signal == SIGINT ? 0 : 128 + signal);
}

void on_signal(int signal) {
  struct sigaction action {};
  action.sa_handler = leave;
  (void)::sigaction(signal, &action, nullptr);
}

class Screen {
 public:
  explicit Screen(bool wanted) : wanted_(wanted) {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) on_signal(signal);
    if (!wanted_) return;
    on_screen = 1;
    (void)print(kEnterScreen);
  }
  Screen(const Screen&) = delete;
  Screen(Screen&&) = delete;
  Screen& operator=(const Screen&) = delete;
  Screen& operator=(Screen&&) = delete;
  ~Screen() {
    if (!wanted_) return;
    (void)print(kLeaveScreen);
    on_screen = 0;
  }
  Result<void> show(const std::string& text) {
    return print(wanted_ ? kClear + text : text + "\n");
  }

 private:
  bool wanted_;
};

std::string frame(const Client& client, const StatusOptions& options) {
  const auto text = client.get("/v1/status");
  if (!text) return "meshctl: " + escape_controls(text.error().message) + "\n";
  const auto status = status_from_json(*text);
  if (!status) return "meshctl: meshd's answer: " + escape_controls(status.error().message) + "\n";
  const WallTime now = std::chrono::system_clock::now();
  return format_time(now) + "\n" +
         render_table(*status, {.wide = options.output == "wide",
                                .color = use_color(options.color),
                                .now = now,
                                .width = terminal_width()});
}

}  // namespace

Result<ExitCode> redraw(std::chrono::milliseconds pause,
                        const std::function<std::string()>& frame) {
  Screen screen(stdout_is_terminal());
  while (true) {
    if (auto shown = screen.show(frame()); !shown) return std::move(shown).error();
    std::this_thread::sleep_for(pause);
  }
}

Result<ExitCode> watch_status(const Client& client, const StatusOptions& options) {
  return redraw(options.interval, [&] { return frame(client, options); });
}

}  // namespace mesh::ctl
