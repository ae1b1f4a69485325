// What etcd and gRPC say when something is wrong, as an Error for people. Pure; any thread.
#pragma once

#include <grpcpp/support/status.h>

#include <string>

#include "mesh/result.h"
#include "meshd/store/etcd/etcd_options.h"

namespace mesh {

// One line: endpoint, cause, remedy. Texts of the server are made printable and cut.
Error to_etcd_error(const grpc::Status& status, const std::string& endpoint,
                    const EtcdOptions& options);
// The same for the reason that the server gives for ending a watch.
Error to_watch_error(const std::string& reason, const std::string& endpoint,
                     const EtcdOptions& options);
// The token of the user is not valid (any more): authenticate again.
bool is_stale_token(const grpc::Status& status);
// The server has no authentication: there is nobody to log in as.
bool is_without_authentication(const grpc::Status& status);

}  // namespace mesh
