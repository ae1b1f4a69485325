// The schema of meshd.yaml, in the order of the contract. Pure; one thread for a reader.
#pragma once

#include <string_view>

#include "meshd/daemon/config.h"
#include "meshd/daemon/config_reader.h"

namespace mesh {

// Reads every key of the file into `config`; problems are the reader's.
void read_config(ConfigReader& reader, std::string_view host_name, Config& config);

}  // namespace mesh
