// UniqueFd, where the data plane's users look for it.
#pragma once

#include "mesh/unique_fd.h"
