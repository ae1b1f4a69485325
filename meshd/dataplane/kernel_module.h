// Loads a kernel module through modprobe. Blocks until modprobe ends (milliseconds; seconds on a
// slow disk). Any thread.
#pragma once

#include <string>

namespace mesh {

// False when there is no modprobe or it refused: the caller's next attempt to use the module says
// why it cannot. The kernel tries this by itself too, but only from its own file system, which is
// not ours in a container that mounts the host's /lib/modules.
bool load_kernel_module(const std::string& name);

}  // namespace mesh
