// The table of faults as Markdown: docs/faults.md has a section for each kind of WireGuard.
#pragma once

#include <string>
#include <vector>

#include "faults/bench.h"

namespace mesh::lab {

// One line for the terminal.
[[nodiscard]] std::string line_of(const Measured& row);
// A section "## On …" with a table per group.
[[nodiscard]] std::string section_of(const std::vector<Measured>& rows, const std::string& backend,
                                     const std::string& kernel);
// `document` with the section of that name replaced, or added at the end; the introduction is
// always the current one. An empty document is begun.
[[nodiscard]] std::string with_section(const std::string& document, const std::string& section);
// The same of another document of sections.
[[nodiscard]] std::string with_section(const std::string& document, const std::string& section,
                                       const std::string& introduction);
// Text that can stand in a cell of a table.
[[nodiscard]] std::string cell_text(std::string text);

}  // namespace mesh::lab
