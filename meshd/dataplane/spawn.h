// Starting a long-lived program that must not depend on us. Any thread.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "mesh/result.h"

namespace mesh {

// The file that `command` names: itself when it has a '/', else the first in PATH. kUnsupported
// when there is none that may be executed.
Result<std::string> find_program(const std::string& command);

// Runs `program` in a session of its own, in "/", with no environment but LOG_LEVEL=error, all
// signals at their defaults, its input from /dev/null, its output and errors to `output`, and
// nothing else open. Returns as soon as it runs; the child is the caller's to reap.
Result<pid_t> spawn_detached(const std::string& program, const std::vector<std::string>& arguments,
                             int output);

}  // namespace mesh
