// The contract's exit codes of meshctl.
#pragma once

namespace mesh::ctl {

enum class ExitCode : int {
  kDone = 0,
  kFailed = 1,  // one line on stderr says why
  kUsage = 2,
  kCheckNotMet = 3,
};

}  // namespace mesh::ctl
