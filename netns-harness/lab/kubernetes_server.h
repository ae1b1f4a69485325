// A Kubernetes API server as the server of a lab, with an etcd of its own and the package's
// definition and rights in it. See lab/store_server.h.
#pragma once

#include <memory>
#include <string>

#include "lab/store_server.h"

namespace mesh::lab {

std::unique_ptr<StoreServer> make_kubernetes_server(const NetworkNamespace& network,
                                                    const IpAddress& address,
                                                    const std::string& directory);

}  // namespace mesh::lab
