#include "meshd/daemon/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "core/text.h"

namespace mesh::log {
namespace {

struct Setup {
  std::shared_ptr<spdlog::logger> logger = spdlog::stderr_logger_mt("meshd");
  std::string node;
  LogFormat format = LogFormat::kText;
};

Setup& setup() {
  static Setup instance;
  return instance;
}

std::string as_json(std::string_view message, Fields fields) {
  nlohmann::ordered_json line;
  line["msg"] = message;
  line["node"] = setup().node;
  for (const auto& [key, value] : fields) line[std::string(key)] = value;
  // The pattern supplies the opening brace, the time and the level.
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).substr(1);
}

std::string as_text(std::string_view message, Fields fields) {
  std::string line(escape_controls(message));
  for (const auto& [key, value] : fields)
    if (!value.empty()) line += fmt::format("  {}={}", key, escape_controls(value));
  return line;
}

void write(spdlog::level::level_enum level, std::string_view message, Fields fields) {
  if (!setup().logger->should_log(level)) return;
  setup().logger->log(level, setup().format == LogFormat::kJson ? as_json(message, fields)
                                                                : as_text(message, fields));
}

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

}  // namespace

void configure(const LogConfig& config, std::string node) {
  Setup& current = setup();
  current.node = std::move(node);
  current.format = config.format;
  current.logger->set_level(level_of(config.level));
  current.logger->flush_on(spdlog::level::debug);
  if (config.format == LogFormat::kJson) {
    current.logger->set_pattern(R"({"ts":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v)",
                                spdlog::pattern_time_type::utc);
  } else {
    current.logger->set_pattern(fmt::format("%Y-%m-%dT%H:%M:%S.%eZ %-7l {}: %v", current.node),
                                spdlog::pattern_time_type::utc);
  }
}

void debug(std::string_view message, Fields fields) {
  write(spdlog::level::debug, message, fields);
}
void info(std::string_view message, Fields fields) { write(spdlog::level::info, message, fields); }
void warn(std::string_view message, Fields fields) { write(spdlog::level::warn, message, fields); }
void error(std::string_view message, Fields fields) { write(spdlog::level::err, message, fields); }

}  // namespace mesh::log
