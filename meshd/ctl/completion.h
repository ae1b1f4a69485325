// Completion scripts for shells; also installed by cmake --install.
#pragma once

#include <string>

namespace mesh::ctl {

std::string completion_script(const std::string& shell);  // bash | zsh | fish; "" for others

}  // namespace mesh::ctl
