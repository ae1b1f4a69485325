#include "kubernetes/shared_server.h"

#include <filesystem>

namespace mesh::testing {
namespace {

std::optional<ApiServer> the_server;  // one per program

class ServerEnvironment : public ::testing::Environment {
 public:
  void TearDown() override { the_server.reset(); }
};

[[maybe_unused]] const auto* const kEnvironment =
    ::testing::AddGlobalTestEnvironment(new ServerEnvironment);

}  // namespace

std::vector<ApiUser> users() {
  return {lab::meshd_user(),
          {kNobody, "nobody", {"nobodies"}},
          {kKubelet, "system:node:node-a", {"system:nodes"}}};
}

ApiServer* shared_server() {
  if (ApiServer::binary().empty()) return nullptr;
  if (!the_server) {
    the_server.emplace(users());
    const auto [code, said] = the_server->kubectl("apply -k " MESHD_KUBERNETES_PACKAGE);
    EXPECT_EQ(code, 0) << said;
  }
  return &*the_server;
}

void clear(const ApiServer& server) {
  server.remove_all("/registry/minions/");
  server.remove_all("/registry/meshd.io/encryptionpolicies/");
}

}  // namespace mesh::testing
