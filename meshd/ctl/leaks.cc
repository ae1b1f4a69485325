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

Error counts_nothing(const Status& status) {
  return make_error(ErrorCode::kUnavailable,
                    "meshd cannot read its counters, so nobody knows what leaks{}{}",
                    status.error.empty() ? "" : ": ", escape_controls(status.error));
}

Result<Status> take_sample(const Client& client) {
  const auto text = client.get("/v1/status");
  if (!text) return text.error();
  auto status = status_from_json(*text);
  if (!status) return std::move(status).error().at("meshd's answer");
  if (!status->counters_read) return counts_nothing(*status);
  return *std::move(status);
}

// With counts of now: meshd reads them seldom where there are many.
Result<Status> take_fresh_sample(const Client& client) {
  if (const auto counted = client.post("/v1/count"); !counted) return counted.error();
  return take_sample(client);
}

// Over the time between the two readings of the counters, not between the two answers.
LeakReport between(const Status& before, const Status& after) {
  return find_leaks(
      before, after,
      std::chrono::duration<double>(*after.counters_read - *before.counters_read).count());
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
  const auto before = take_fresh_sample(client);
  if (!before) return before.error();
  std::this_thread::sleep_for(options.interval);
  const auto after = take_fresh_sample(client);
  if (!after) return after.error();
  // A reading that failed leaves the old counts, which would show no leak.
  if (*after->counters_read <= *before->counters_read) return counts_nothing(*after);
  const LeakReport report = between(*before, *after);
  if (auto printed = print(show(report, options)); !printed) return std::move(printed).error();
  return options.check && report.leaking() ? ExitCode::kCheckNotMet : ExitCode::kDone;
}

// For as long as somebody looks on: at the pace of meshd's own readings, of which each frame shows
// the last two.
Result<ExitCode> watch_leaks(const Client& client, const StatusOptions& options) {
  std::optional<Status> last;
  LeakReport report;
  return redraw(options.interval, [&]() -> std::string {
    auto now = take_sample(client);
    if (!now) return "meshctl: " + escape_controls(now.error().message) + "\n";
    if (!last || now->counters_read != last->counters_read) {
      report = between(last ? *last : *now, *now);
      last = *std::move(now);
    }
    return format_time(std::chrono::system_clock::now()) + "\n" + show(report, options);
  });
}

}  // namespace mesh::ctl
