// Kernel settings under /proc/sys/net, of the calling thread's network namespace. One thread at a
// time; each call opens, reads or writes, and closes one file.
#pragma once

#include <string>

#include "mesh/result.h"

namespace mesh {

// net.ipv4.conf.<link>.rp_filter: 0 off, 1 strict, 2 loose. `link` is a link's name, "all" or
// "default". kNotFound: no such link; kPermission: /proc/sys is read-only, as in a container that
// is not privileged; kInvalid: not a name a link can have.
Result<int> read_rp_filter(const std::string& link);
Result<void> write_rp_filter(const std::string& link, int value);

}  // namespace mesh
