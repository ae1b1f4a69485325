// meshctl apply, get policies, delete policy and explain, against a real ApiServer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "ctl/child.h"
#include "daemon/fake_api_backend.h"
#include "fakes/fake_store_admin.h"
#include "temporary_directory.h"

namespace mesh {
namespace {

using test::Child;
using test::ChildOptions;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Outcome {
  int code = -1;
  std::string output;
  std::string errors;
};

class MeshctlPolicies : public ::testing::Test {
 protected:
  void SetUp() override {
    ApiOptions options;
    options.socket = (directory_ / "meshd.sock").string();
    options.store = &store_;
    auto started = ApiServer::start(options, backend_);
    ASSERT_TRUE(started) << started.error().message;
    server_ = *std::move(started);
  }

  Outcome run_program(const std::vector<std::string>& command) {
    ChildOptions options;
    options.environment.push_back("MESHD_SOCKET=" + (directory_ / "meshd.sock").string());
    Child child(command, options);
    Outcome outcome;
    outcome.code = child.wait();
    outcome.output = child.output();
    outcome.errors = child.errors();
    return outcome;
  }
  Outcome run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), MESHCTL);
    return run_program(arguments);
  }
  std::string file(const std::string& text) {
    const auto path = directory_ / "policies.yaml";
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }

  testing::TemporaryDirectory directory_;
  test::FakeApiBackend backend_;
  test::FakeStoreAdmin store_;
  std::unique_ptr<ApiServer> server_;
};

std::string document(const std::string& name, const std::string& spec) {
  return fmt::format(
      "apiVersion: meshd.io/v1\nkind: EncryptionPolicy\nmetadata: {{name: {}}}\nspec:\n{}", name,
      spec);
}
const std::string kDatabases = document(
    "databases", "  order: 100\n  selector: \"role == 'db' && has(zone)\"\n  action: Require\n");
const std::string kWeb = document("web", "  order: 7\n  action: Plaintext\n");

TEST_F(MeshctlPolicies, AppliesSeveralDocumentsShowsThemAndDeletesOne) {
  const Outcome applied = run({"apply", "-f", file(kDatabases + "---\n" + kWeb)});
  EXPECT_EQ(applied.code, 0) << applied.errors;
  EXPECT_EQ(applied.output, "policy databases stored\npolicy web stored\n");
  ASSERT_EQ(store_.policies().size(), 2U);
  EXPECT_EQ(store_.policies().at("databases").selector, "role == 'db' && has(zone)");

  const Outcome table = run({"get", "policies"});
  EXPECT_EQ(table.code, 0) << table.errors;
  EXPECT_THAT(table.output, AllOf(StartsWith("NAME"), HasSubstr("web        7      Plaintext"),
                                  HasSubstr("role == 'db' && has(zone)")));
  EXPECT_LT(table.output.find("web"), table.output.find("databases")) << "in their order";

  for (const char* output : {"json", "yaml"}) {
    const Outcome listed = run({"get", "policies", "-o", output});
    EXPECT_EQ(listed.code, 0) << listed.errors;
    const auto before = store_.policies();
    for (const char* name : {"databases", "web"}) ASSERT_TRUE(store_.delete_policy(name));
    const Outcome again = run({"apply", "-f", file(listed.output)});
    EXPECT_EQ(again.code, 0) << again.errors;
    EXPECT_EQ(store_.policies(), before) << "what " << output << " shows can be applied";
  }

  const Outcome deleted = run({"delete", "policy", "web"});
  EXPECT_EQ(deleted.code, 0) << deleted.errors;
  EXPECT_EQ(store_.policies().size(), 1U);
  const Outcome missing = run({"delete", "policy", "web"});
  EXPECT_EQ(missing.code, 1);
  EXPECT_THAT(missing.errors, HasSubstr("there is no 'web'"));
}

TEST_F(MeshctlPolicies, ReadsStandardInput) {
  const std::string path = file(kDatabases);
  const Outcome applied =
      run_program({"/bin/sh", "-c", std::string("exec ") + MESHCTL + " apply -f - < " + path});
  EXPECT_EQ(applied.code, 0) << applied.errors;
  EXPECT_EQ(store_.policies().size(), 1U);
}

TEST_F(MeshctlPolicies, SaysEveryMistakeWithItsPlaceAndWritesNothing) {
  const std::string path =
      file(kWeb + "---\n" + document("bad", "  selector: \"role = 'db'\"\n  action: Require\n") +
           "---\n" + document("worse", "  selektor: all()\n  action: Require\n") + "---\n" +
           document("block", "  peerSelector: >-\n    has(\n  action: Require\n") + "---\n" +
           document("web", "  action: require\n") + "---\n" + kWeb);
  const Outcome outcome = run({"apply", "-f", path});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.output, "");
  std::vector<std::string> lines;
  std::istringstream errors(outcome.errors);
  for (std::string line; std::getline(errors, line);) lines.push_back(line);
  const std::string start = "meshctl: " + path + ":";
  EXPECT_THAT(
      lines,
      ElementsAre(StartsWith(start + "12:19: spec.selector: column 6: expected ==, !="),
                  AllOf(StartsWith(start + "19:13: spec.selektor: unknown key"),
                        HasSubstr("did you mean selector?")),
                  AllOf(StartsWith(start + "26:17: spec.peerSelector: column 5: expected a label")),
                  AllOf(StartsWith(start + "34:11: spec.action"), HasSubstr("Require?")),
                  AllOf(StartsWith(start + "38:18: a second policy 'web'"), HasSubstr(":3:18")),
                  "meshctl: nothing was written"));
  EXPECT_TRUE(store_.policies().empty());
}

TEST_F(MeshctlPolicies, RefusesFilesThatAreNone) {
  EXPECT_EQ(run({"apply"}).code, 2);
  const Outcome missing = run({"apply", "-f", "/nonexistent/file"});
  EXPECT_EQ(missing.code, 1);
  EXPECT_THAT(missing.errors, HasSubstr("/nonexistent/file: cannot be read: No such file"));
  const Outcome empty = run({"apply", "-f", file("# nothing\n")});
  EXPECT_EQ(empty.code, 1);
  EXPECT_THAT(empty.errors, HasSubstr("there is no policy"));
  EXPECT_EQ(run({"get"}).code, 2);
  EXPECT_EQ(run({"get", "policies", "-o", "wide"}).code, 2);
  EXPECT_EQ(run({"delete", "policy"}).code, 2);
}

TEST_F(MeshctlPolicies, SaysHowFarItCame) {
  store_.fail(make_error(ErrorCode::kUnavailable, "the store is out"));
  const Outcome outcome = run({"apply", "-f", file(kDatabases)});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.errors, "meshctl: policy databases: the store is out\n");
}

TEST_F(MeshctlPolicies, ExplainsInWordsAndAsADocument) {
  backend_.set_answer(
      std::string(R"({"mode": "require", "text": "a and b: require\n  so\u001b\n"})"));
  const Outcome text = run({"explain", "node-b"});
  EXPECT_EQ(text.code, 0) << text.errors;
  EXPECT_EQ(text.output, "a and b: require\n  so\\x1b\n");
  const Outcome json = run({"explain", "node-b", "node-c", "-o", "json"});
  EXPECT_EQ(nlohmann::json::parse(json.output), (nlohmann::json{{"mode", "require"}}));
  const auto commands = backend_.commands();
  ASSERT_EQ(commands.size(), 2U);
  EXPECT_EQ(commands[0].first, "explain");
  EXPECT_EQ(commands[0].second, (nlohmann::json{{"node", "node-b"}}));
  EXPECT_EQ(commands[1].second, (nlohmann::json{{"node", "node-b"}, {"other", "node-c"}}));
  backend_.set_answer(make_error(ErrorCode::kNotFound, "node-a knows no node 'x'"));
  const Outcome unknown = run({"explain", "x"});
  EXPECT_EQ(unknown.code, 1);
  EXPECT_EQ(unknown.errors, "meshctl: node-a knows no node 'x'\n");
}

}  // namespace
}  // namespace mesh
