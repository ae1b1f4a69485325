// The one API server of a test program: started when it is first asked for.
#pragma once

#include <gtest/gtest.h>

#include "kubernetes/api_server.h"
#include "required.h"

namespace mesh::testing {

// Identities besides the administrator, by their tokens.
inline constexpr const char* kMeshd = "meshd-token";      // the service account of the package
inline constexpr const char* kNobody = "nobody-token";    // no rights at all
inline constexpr const char* kKubelet = "kubelet-token";  // Node node-a's own identity
std::vector<ApiUser> users();

// nullptr where kube-apiserver was not built.
ApiServer* shared_server();
// Removes what tests left: all Nodes and policies.
void clear(const ApiServer& server);

// Skips, with the reason, where there is no API server; fails where it is required (required.h).
#define NEEDS_API_SERVER()                                                                      \
  if (::mesh::testing::shared_server() == nullptr)                                              \
  SKIP_UNLESS_REQUIRED("kube-apiserver",                                                        \
                       "no kube-apiserver: netns-harness/kubernetes/build-apiserver.sh builds " \
                       "it, and said why it could not")

}  // namespace mesh::testing
