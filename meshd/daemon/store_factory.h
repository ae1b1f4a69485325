// The store that a configuration names: for the daemon, and for commands that act on a store.
// Thread rules: free functions, any thread. Neither connects: a store that is out is the store's to
// say. Errors (kInvalid, kPermission, kUnsupported): the configuration names what cannot be used.
#pragma once

#include <memory>

#include "mesh/node_store.h"
#include "mesh/store_admin.h"
#include "meshd/daemon/config.h"

namespace mesh {

Result<std::unique_ptr<NodeStore>> make_store(const Config& config);
Result<std::unique_ptr<StoreAdmin>> make_store_admin(const Config& config);

}  // namespace mesh
