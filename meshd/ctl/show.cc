#include "meshd/ctl/show.h"

#include <algorithm>

#include "core/text.h"
#include "meshd/ctl/output.h"
#include "meshd/ctl/yaml.h"

namespace mesh::ctl {

Result<ExitCode> finish(std::string_view text, ExitCode code) {
  if (auto printed = print(text); !printed) return std::move(printed).error();
  return code;
}

std::string as_document(const Json& json, const std::string& output) {
  return output == "yaml" ? to_yaml(json)
                          : json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], text_width(row[i]));
  std::string out;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i + 1 < row.size(); ++i)
      out += row[i] + std::string(widths[i] - text_width(row[i]) + 2, ' ');
    out += row.back() + "\n";
  }
  return out;
}

std::string escape_lines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    out += escape_controls(text.substr(0, end)) + "\n";
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

}  // namespace mesh::ctl
