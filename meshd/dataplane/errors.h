// The one place where errno becomes an Error. Any thread.
#pragma once

#include <string_view>

#include "mesh/result.h"

namespace mesh {

// `error` is a positive errno, `what` the act that failed ("add route 10.1.0.0/24"). The message is
// "what: text of errno", with the remedy where there is one; sys_errno is kept.
Error error_from_errno(int error, std::string_view what);

}  // namespace mesh
