// Kernel settings under /proc/sys/net, of the calling thread's network namespace. One thread at a
// time; each call opens, reads or writes, and closes one file.
#pragma once

#include <string>

#include "mesh/kernel.h"
#include "mesh/result.h"

namespace mesh {

// net.ipv4.conf.<link>.<sysctl>. `link` is a link's name, "all" or "default". kNotFound: no such
// link; kPermission: /proc/sys is read-only, as in a container that is not privileged; kInvalid:
// not a name a link can have.
Result<int> read_link_sysctl(const std::string& link, LinkSysctl sysctl);
Result<void> write_link_sysctl(const LinkSetting& setting);

}  // namespace mesh
