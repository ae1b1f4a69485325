// The real meshctl against a real ApiServer, and against servers that misbehave. One thread.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ctl/canned_server.h"
#include "ctl/child.h"
#include "daemon/fake_api_backend.h"
#include "temporary_directory.h"

namespace mesh::test {

struct Outcome {
  int code = -1;
  std::string output;
  std::string errors;
};

class Meshctl : public ::testing::Test {
 protected:
  void SetUp() override { serve(); }

  void serve() {
    ApiOptions options;
    options.socket = socket();
    options.version = "9.8.7";
    auto started = ApiServer::start(options, backend_);
    ASSERT_TRUE(started) << started.error().message;
    server_ = *std::move(started);
  }
  std::string socket() { return (directory_ / "meshd.sock").string(); }
  std::string canned_socket() { return (directory_ / "canned.sock").string(); }

  static Outcome finish(Child& child) {
    Outcome outcome;
    outcome.code = child.wait();
    outcome.output = child.output();
    outcome.errors = child.errors();
    return outcome;
  }
  std::vector<std::string> command(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), MESHCTL);
    return arguments;
  }
  Outcome run(const std::vector<std::string>& arguments, ChildOptions options = {}) {
    options.environment.push_back("MESHD_SOCKET=" + socket());
    Child child(command(arguments), options);
    return finish(child);
  }
  Outcome run_canned(std::optional<std::string> answer, std::vector<std::string> arguments) {
    const CannedServer server(canned_socket(), std::move(answer));
    arguments.insert(arguments.end(), {"--socket", canned_socket()});
    Outcome outcome = run(arguments);
    std::filesystem::remove(canned_socket());
    return outcome;
  }
  static std::string http(std::string_view body, std::size_t missing = 0) {
    return fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", body.size() + missing,
                       body);
  }

  testing::TemporaryDirectory directory_;
  test::FakeApiBackend backend_;
  std::unique_ptr<ApiServer> server_;
};

inline Status all_encrypted() {
  Status status = test::sample_status();
  std::erase_if(status.peers, [](const PeerStatus& peer) { return peer.node == "node-c"; });
  return status;
}

}  // namespace mesh::test
