// The real meshctl, and what it does to stores.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "ctl/child.h"
#include "daemon/fake_api_backend.h"
#include "fakes/fake_store_admin.h"
#include "meshd/store/directory_admin.h"
#include "temporary_directory.h"

namespace mesh {
namespace {

using test::Child;
using test::ChildOptions;
using ::testing::HasSubstr;
using testing::TemporaryDirectory;

struct Outcome {
  int code = -1;
  std::string output;
  std::string errors;
};

class StoreCommands : public ::testing::Test {
 protected:
  Outcome run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), MESHCTL);
    ChildOptions options;
    options.environment.push_back("MESHD_SOCKET=" + (directory_ / "meshd.sock").string());
    Child child(arguments, options);
    Outcome outcome;
    outcome.code = child.wait();
    outcome.output = child.output();
    outcome.errors = child.errors();
    return outcome;
  }
  std::string config_of(const std::string& name) {
    const std::filesystem::path store = directory_ / name;
    std::filesystem::create_directories(store);
    const std::string file = store.string() + ".yaml";
    std::ofstream(file) << "store: {type: directory, directory: {path: " << store.string()
                        << "}}\n";
    return file;
  }
  static NodeRecord record(const std::string& name) {
    NodeRecord record;
    record.name = name;
    record.annotations = {{std::string(kPublicKeyAnnotation), "key of " + name},
                          {"example.com/other", "stays"}};
    return record;
  }

  TemporaryDirectory directory_;
};

TEST_F(StoreCommands, CopyTakesNodesAndPoliciesAndSaysWhatItLeftOut) {
  const std::string from = config_of("from");
  const std::string to = config_of("to");
  DirectoryAdmin source(directory_ / "from");
  DirectoryAdmin target(directory_ / "to");
  const EncryptionPolicy policy{"databases", 1, "all()", "all()", PolicyAction::kRequire};
  ASSERT_TRUE(source.put_node(record("node-a")));
  ASSERT_TRUE(source.put_node(record("node-b")));
  ASSERT_TRUE(source.put_policy(policy));
  ASSERT_TRUE(target.put_node(record("node-z")));
  const Outcome copied = run({"store", "copy", "--from", from, "--to", to});
  EXPECT_EQ(copied.code, 0) << copied.errors;
  EXPECT_THAT(copied.output, HasSubstr("2 nodes and 1 policies"));
  const auto contents = target.read();
  ASSERT_TRUE(contents);
  ASSERT_EQ(contents->nodes.size(), 3U) << "what else is there stays";
  EXPECT_EQ(std::get<NodeRecord>(*contents->nodes[0].entry), record("node-a"));
  ASSERT_EQ(contents->policies.size(), 1U);
  EXPECT_EQ(std::get<EncryptionPolicy>(*contents->policies[0].entry), policy);

  std::ofstream(directory_ / "from" / "nodes" / "node-x.yaml") << "name: [\n";
  const Outcome partly = run({"store", "copy", "--from", from, "--to", to});
  EXPECT_EQ(partly.code, 1);
  EXPECT_THAT(partly.errors, HasSubstr("node-x"));
  EXPECT_THAT(partly.output, HasSubstr("2 nodes"));
}

TEST_F(StoreCommands, CopyNamesTheConfigurationThatIsOfNoUse) {
  const std::string from = config_of("from");
  std::ofstream(directory_ / "bad.yaml") << "store: {typo: etcd}\n";
  const std::string bad = (directory_ / "bad.yaml").string();
  for (const auto& [left, right] : {std::pair(from, bad), std::pair(bad, from)}) {
    const Outcome refused = run({"store", "copy", "--from", left, "--to", right});
    EXPECT_EQ(refused.code, 1);
    EXPECT_THAT(refused.errors, HasSubstr("bad.yaml"));
  }
  std::ofstream(directory_ / "away.yaml")
      << "store: {type: etcd, etcd: {endpoints: ['http://127.0.0.1:1']}}\n";
  const Outcome away =
      run({"store", "copy", "--from", (directory_ / "away.yaml").string(), "--to", from});
  EXPECT_EQ(away.code, 1);
  EXPECT_THAT(away.errors, HasSubstr("http://127.0.0.1:1"));
  EXPECT_EQ(run({"store", "copy", "--from", from}).code, 2);
}

TEST_F(StoreCommands, DeleteAsksAndObeysAndRefusesWhatLives) {
  test::FakeApiBackend backend;
  test::FakeStoreAdmin store;
  ASSERT_TRUE(store.put_node(record("node-b")));
  ApiOptions options;
  options.socket = (directory_ / "meshd.sock").string();
  options.store = &store;
  auto server = ApiServer::start(options, backend);
  ASSERT_TRUE(server) << server.error().message;
  const Outcome unasked = run({"node", "delete", "node-b"});
  EXPECT_EQ(unasked.code, 1);
  EXPECT_THAT(unasked.errors, HasSubstr("--yes")) << "there is no terminal to ask on";
  backend.set_answer(make_error(ErrorCode::kBusy, "node-b lives: --force deletes it"));
  const Outcome alive = run({"node", "delete", "node-b", "--yes"});
  EXPECT_EQ(alive.code, 1);
  EXPECT_THAT(alive.errors, HasSubstr("node-b lives"));
  EXPECT_EQ(store.nodes().size(), 1U);
  const Outcome forced = run({"node", "delete", "node-b", "--yes", "--force"});
  EXPECT_EQ(forced.code, 0) << forced.errors;
  EXPECT_TRUE(store.nodes().empty());
}

}  // namespace
}  // namespace mesh
