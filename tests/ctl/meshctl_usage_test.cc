// How meshctl is called: wrong usage, a meshd that is not there or talks nonsense, terminals,
// shells.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "ctl/meshctl_fixture.h"

namespace mesh::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Json = nlohmann::json;

TEST_F(Meshctl, WrongUsageIsTwoAndAsksNobody) {
  server_->stop();
  const std::vector<std::vector<std::string>> wrong{
      {},
      {"frobnicate"},
      {"status", "--frobnicate"},
      {"status", "-o", "xml"},
      {"status", "-o"},
      {"status", "extra"},
      {"status", "--interval", "5"},
      {"status", "--watch", "--interval", "0"},
      {"status", "--watch", "--check"},
      {"status", "--watch", "-o", "json"},
      {"status", "--color", "sometimes"},
      {"peer"},
      {"peer", "a", "b"},
      {"completion", "tcsh"},
      {"status", "--timeout", "-1"},
      {"status", "reload"},
  };
  for (const auto& arguments : wrong) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 2) << ::testing::PrintToString(arguments);
    EXPECT_EQ(outcome.output, "") << ::testing::PrintToString(arguments);
    EXPECT_NE(outcome.errors, "") << ::testing::PrintToString(arguments);
  }
  EXPECT_EQ(run({"--help"}).code, 0);
  EXPECT_EQ(run({"status", "--help"}).code, 0);
}

TEST_F(Meshctl, SaysWhatToDoWhenMeshdIsNotThere) {
  const Outcome outcome = run({"status", "--socket", "/nonexistent/meshd.sock"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.errors,
            "meshctl: cannot reach meshd at /nonexistent/meshd.sock: No such file or directory; is "
            "meshd running? (systemctl status meshd)\n");
  { const CannedServer dead(canned_socket(), ""); }
  const Outcome refused = run({"status", "--socket", canned_socket()});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.errors, HasSubstr("Connection refused; is meshd running?"));
}

TEST_F(Meshctl, SaysWhatToDoWithoutPermission) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  ChildOptions options;
  options.as_nobody = true;
  const Outcome outcome = run({"status"}, options);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.errors, HasSubstr("Permission denied; run meshctl as root"));
}

TEST_F(Meshctl, TheFlagForTheSocketIsStrongerThanTheEnvironment) {
  ChildOptions options;
  options.environment = {"MESHD_SOCKET=/nonexistent/meshd.sock"};
  Child child(command({"--socket", socket(), "status"}), options);
  EXPECT_EQ(finish(child).code, 0);
}

TEST_F(Meshctl, AServerThatAnswersGarbageIsAnErrorNotACrash) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "broke off"},
      {"garbage\r\n\r\n", "broke off"},
      {"HTTP/1.1 200 OK\r\n", "broke off"},
      {http("{}"), "status field schema: is missing"},
      {http("not json"), "status is not JSON"},
      {http("{\"schema\": \"meshd.st", 500), "broke off"},
      {http("\x1b[2J\xff"), "status is not JSON"},
      {http("{\"schema\":\"meshd.status/v9\",\"node\":\"a\"}"), "same version as meshd"},
      {"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\nboom", "HTTP status 500"},
      {"HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n",
       "HTTP status 302"},
      {"HTTP/1.1 503 No\r\nContent-Length: 20\r\n\r\n{\"error\":\"starting\"}",
       "meshctl: starting"},
  };
  for (const auto& [answer, message] : cases) {
    for (const char* name : {"status", "nodes", "graph"}) {
      const Outcome outcome = run_canned(answer, {name});
      EXPECT_EQ(outcome.code, 1) << answer;
      EXPECT_EQ(outcome.output, "") << answer;
      EXPECT_THAT(outcome.errors, HasSubstr(message)) << answer;
      EXPECT_EQ(std::ranges::count(outcome.errors, '\n'), 1) << answer;
    }
  }
  EXPECT_EQ(run_canned(http("[]"), {"peer", "x"}).code, 1);
  EXPECT_EQ(run_canned(http("{}"), {"plan"}).code, 1);
  EXPECT_EQ(run_canned(http("{\"result\":7}"), {"reload"}).code, 1);
}

TEST_F(Meshctl, AServerThatHangsIsLeftAfterTheTimeout) {
  const Outcome outcome = run_canned(std::nullopt, {"status", "--timeout", "0.2"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.errors, HasSubstr("did not answer within 0.2 s"));
}

TEST_F(Meshctl, OutputThatCannotBeWrittenIsAFailure) {
  ChildOptions full;
  const UniqueFd device(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(device);
  full.stdout_fd = device.get();
  for (const char* name : {"status", "graph", "nodes", "reload"}) {
    const Outcome outcome = run({name}, full);
    EXPECT_EQ(outcome.code, 1) << name;
    EXPECT_EQ(outcome.errors, "meshctl: cannot write the output: No space left on device\n");
  }
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  UniqueFd(ends[0]).reset();
  const UniqueFd broken(ends[1]);
  ChildOptions gone;
  gone.stdout_fd = broken.get();
  EXPECT_EQ(run({"status"}, gone).errors, "meshctl: cannot write the output: Broken pipe\n");
}

TEST_F(Meshctl, WatchGoesOnOverARestartOfMeshdAndEndsWithZero) {
  Child child(command({"status", "--watch", "--interval", "0.1", "--socket", socket()}));
  EXPECT_TRUE(child.wait_for("node-a: 1/3 peers plaintext"));
  server_.reset();
  EXPECT_TRUE(child.wait_for("is meshd running?"));
  backend_.set_status(all_encrypted());
  serve();
  EXPECT_TRUE(child.wait_for("node-a: 2/2 peers encrypted"));
  child.send(SIGINT);
  EXPECT_EQ(child.wait(), 0);
  EXPECT_THAT(child.output(), Not(HasSubstr("\x1b")));
}

TEST_F(Meshctl, WatchGivesTheTerminalBack) {
  ChildOptions options;
  options.terminal = true;
  options.environment = {"TERM=xterm"};
  Child child(command({"status", "--watch", "--socket", socket()}), options);
  EXPECT_TRUE(child.wait_for("\x1b[?1049h"));
  EXPECT_TRUE(child.wait_for("\x1b[31mplaintext\x1b[0m"));
  child.send(SIGINT);
  EXPECT_EQ(child.wait(), 0);
  EXPECT_TRUE(child.output().ends_with("\x1b[?1049l"));
}

TEST_F(Meshctl, WatchOfAHungMeshdEndsAtOnce) {
  const CannedServer hung(canned_socket(), std::nullopt);
  ChildOptions options;
  options.terminal = true;
  Child child(command({"status", "--watch", "--timeout", "3600", "--socket", canned_socket()}),
              options);
  EXPECT_TRUE(child.wait_for("\x1b[?1049h"));
  child.send(SIGINT);
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(Meshctl, ColourIsForTerminalsAndForThoseWhoAsk) {
  EXPECT_THAT(run({"status", "--color", "always"}).output, HasSubstr("\x1b[31m"));
  ChildOptions terminal;
  terminal.terminal = true;
  terminal.environment = {"TERM=xterm"};
  EXPECT_THAT(run({"status"}, terminal).output, HasSubstr("\x1b[31m"));
  terminal.environment = {"TERM=xterm", "NO_COLOR=1"};
  EXPECT_THAT(run({"status"}, terminal).output, Not(HasSubstr("\x1b[31m")));
  terminal.environment = {"TERM=dumb"};
  EXPECT_THAT(run({"status"}, terminal).output, Not(HasSubstr("\x1b[31m")));
}

TEST_F(Meshctl, BashCompletesCommandsAndPeers) {
  const std::string script = run({"completion", "bash"}).output;
  const std::string meshctl = MESHCTL;
  const std::string directory = meshctl.substr(0, meshctl.rfind('/'));
  const auto complete = [&](const std::string& words, int index) {
    ChildOptions options;
    options.environment = {"MESHD_SOCKET=" + socket()};
    Child child({"/bin/bash", "-ec",
                 "PATH=" + directory + ":$PATH\n" + script + "COMP_WORDS=(" + words +
                     ") COMP_CWORD=" + std::to_string(index) + "; _meshctl; echo ${COMPREPLY[*]}"},
                options);
    return finish(child).output;
  };
  EXPECT_EQ(complete("meshctl re", 1), "reload resume\n");
  EXPECT_EQ(complete("meshctl peer node-", 2), "node-a node-b node-c node-d\n");
  EXPECT_EQ(complete("meshctl status -o ''", 3), "table wide json yaml\n");
  EXPECT_EQ(complete("meshctl explain node-", 2), "node-a node-b node-c node-d\n");
  EXPECT_EQ(complete("meshctl get p", 2), "policies\n");
  EXPECT_EQ(complete("meshctl delete p", 2), "policy\n");
  EXPECT_EQ(complete("meshctl completion ''", 2), "bash zsh fish --socket --timeout --help\n");
}

TEST_F(Meshctl, HasScriptsForTheOtherShells) {
  EXPECT_THAT(run({"completion", "zsh"}).output, StartsWith("#compdef meshctl\n"));
  EXPECT_THAT(run({"completion", "fish"}).output, HasSubstr("complete -c meshctl"));
}

}  // namespace
}  // namespace mesh::test
