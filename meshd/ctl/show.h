// How the commands of meshctl show what they have: documents, tables and lines. One thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "mesh/result.h"
#include "meshd/ctl/exit_code.h"

namespace mesh::ctl {

using Json = nlohmann::ordered_json;

Result<ExitCode> finish(std::string_view text, ExitCode code = ExitCode::kDone);
// For -o json and -o yaml: what meshd said, with the fields this program does not know.
std::string as_document(const Json& json, const std::string& output);
// Rows of equal length, the first of them the titles; what others wrote is escaped already.
std::string table(const std::vector<std::vector<std::string>>& rows);
// Several lines of which others may have written some.
std::string escape_lines(std::string_view text);

}  // namespace mesh::ctl
