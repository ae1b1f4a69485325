// meshctl leaks: two samples of the status, and what went unencrypted between them.
#include "core/leaks.h"

#include <nlohmann/json.hpp>
#include <thread>

#include "core/text.h"
#include "meshd/ctl/commands.h"
#include "meshd/ctl/output.h"
#include "meshd/ctl/watch.h"
#include "meshd/ctl/yaml.h"

namespace mesh::ctl {
namespace {

using Clock = std::chrono::steady_clock;

struct Sample {
  Status status;
  Clock::time_point taken;
};

Result<Sample> take_sample(const Client& client) {
  const auto text = client.get("/v1/status");
  if (!text) return text.error();
  auto status = status_from_json(*text);
  if (!status) return std::move(status).error().at("meshd's answer");
  return Sample{*std::move(status), Clock::now()};
}

LeakReport between(const Sample& before, const Sample& after) {
  return find_leaks(before.status, after.status,
                    std::chrono::duration<double>(after.taken - before.taken).count());
}

std::string show(const LeakReport& report, const StatusOptions& options) {
  if (options.output == "json")
    return to_json(report).dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) +
           "\n";
  if (options.output == "yaml") return to_yaml(to_json(report));
  return render_leaks(report,
                      {.wide = options.output == "wide", .color = use_color(options.color)});
}

}  // namespace

Result<ExitCode> show_leaks(const Client& client, const StatusOptions& options) {
  const auto before = take_sample(client);
  if (!before) return before.error();
  std::this_thread::sleep_for(options.interval);
  const auto after = take_sample(client);
  if (!after) return after.error();
  const LeakReport report = between(*before, *after);
  if (auto printed = print(show(report, options)); !printed) return std::move(printed).error();
  return options.check && report.leaking() ? ExitCode::kCheckNotMet : ExitCode::kDone;
}

Result<ExitCode> watch_leaks(const Client& client, const StatusOptions& options) {
  std::optional<Sample> before;
  return redraw(options.interval, [&]() -> std::string {
    auto after = take_sample(client);
    if (!after) return "meshctl: " + escape_controls(after.error().message) + "\n";
    const LeakReport report = between(before ? *before : *after, *after);
    before = *std::move(after);
    return format_time(std::chrono::system_clock::now()) + "\n" + show(report, options);
  });
}

}  // namespace mesh::ctl
