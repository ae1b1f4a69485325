// What meshctl shows and asks for, against a real ApiServer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <nlohmann/json.hpp>

#include "ctl/meshctl_fixture.h"

namespace mesh::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Json = nlohmann::json;

TEST_F(Meshctl, StatusIsASummaryLineAndATable) {
  const Outcome outcome = run({"status"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.errors, "");
  EXPECT_THAT(outcome.output,
              AllOf(StartsWith("node-a: 1/3 peers plaintext, 2/3 encrypted; "),
                    HasSubstr("\nNODE    STATE      REASON "),
                    HasSubstr("\nnode-c  plaintext  it has no WireGuard: no /dev/net/tun  "),
                    Not(HasSubstr("\x1b"))));
}

// Both samples are of counters that were read for them, so that no leak hides between two readings.
TEST_F(Meshctl, LeaksAreTheDifferenceOfTwoReadingsItAsksFor) {
  const WallTime start = test::sample_status().last_reconcile.value();
  backend_.on_command([&](std::size_t n, test::FakeApiBackend::StatusPointer& status) {
    Status next = test::sample_status();
    next.counters_read = start + std::chrono::milliseconds(500) * static_cast<int>(n);
    next.peers[1].plaintext_tx_bytes += 1000 * n;
    status = std::make_shared<const Status>(next);
  });
  const Outcome outcome = run({"leaks", "--check", "--interval", "0.1", "-o", "json"});
  EXPECT_EQ(outcome.code, 3) << outcome.errors;
  const Json json = Json::parse(outcome.output);
  EXPECT_EQ(json["seconds"], 0.5) << "between the readings, not between the questions";
  EXPECT_EQ(json["leaks"][0]["txBytesPerSecond"], 2000.0);
  ASSERT_EQ(backend_.commands().size(), 2U);
  for (const auto& [name, arguments] : backend_.commands()) EXPECT_EQ(name, "count");
}

TEST_F(Meshctl, LeaksFailsWhereTheCountersCannotBeRead) {
  for (const bool once : {false, true}) {
    Status status = test::sample_status();
    status.error = "counters: no nf_tables";
    if (once) status.counters_read = status.last_reconcile;
    backend_.set_status(status);
    const Outcome outcome = run({"leaks", "--check", "--interval", "0.1"});
    EXPECT_EQ(outcome.code, 1) << outcome.output;
    EXPECT_THAT(outcome.errors, HasSubstr("nobody knows what leaks: counters: no nf_tables"));
  }
}

TEST_F(Meshctl, StatusWideHasMoreColumns) {
  const Outcome outcome = run({"status", "-o", "wide"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.output, HasSubstr("FOREIGN  WARNINGS\n"));
}

TEST_F(Meshctl, StatusJsonIsTheSchema) {
  const Outcome outcome = run({"status", "-o", "json"});
  EXPECT_EQ(outcome.code, 0);
  const auto status = status_from_json(outcome.output);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(*status, test::sample_status());
}

TEST_F(Meshctl, StatusYamlIsTheSameDocument) {
  Status status = test::sample_status();
  status.warnings = {"yes", "null", "1e3", "a: b", "# no comment", "quote \" \\ \n new line", ""};
  backend_.set_status(status);
  const Outcome outcome = run({"status", "--output", "yaml"});
  EXPECT_EQ(outcome.code, 0);
  const YAML::Node yaml = YAML::Load(outcome.output);
  EXPECT_EQ(yaml["schema"].as<std::string>(), "meshd.status/v1");
  EXPECT_EQ(yaml["peers"].size(), 3U);
  EXPECT_EQ(yaml["peers"][0]["txBytes"].as<std::uint64_t>(), 5'000'000U);
  EXPECT_EQ(yaml["peers"][0]["since"].as<std::string>(), "2026-11-22T15:00:01Z");
  EXPECT_TRUE(yaml["peers"][1]["lastHandshake"].IsNull());
  EXPECT_TRUE(yaml["peers"][0]["warnings"].IsSequence());
  EXPECT_TRUE(yaml["peers"][1]["labels"].IsMap());
  EXPECT_EQ(yaml["warnings"].as<std::vector<std::string>>(), status.warnings);
  EXPECT_THAT(outcome.output, HasSubstr("\n  - \"yes\"\n"));
}

TEST_F(Meshctl, CheckIsZeroOnlyIfEveryPeerIsEncrypted) {
  backend_.set_status(all_encrypted());
  EXPECT_EQ(run({"status", "--check"}).code, 0);
  for (const State state :
       {State::kDegraded, State::kPending, State::kPlaintext, State::kBlocked}) {
    Status status = all_encrypted();
    status.peers[0].state = state;
    backend_.set_status(status);
    const Outcome outcome = run({"status", "--check"});
    EXPECT_EQ(outcome.code, 3) << to_string(state);
    EXPECT_THAT(outcome.output, HasSubstr(fmt::format("\nnode-b: {}\n", to_string(state))));
    EXPECT_THAT(outcome.output, Not(HasSubstr("node-d:")));
  }
}

TEST_F(Meshctl, CheckOfANodeWithoutPeersIsMetAndSaysSo) {
  Status alone = test::sample_status();
  alone.peers.clear();
  backend_.set_status(alone);
  const Outcome outcome = run({"status", "--check"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.output, HasSubstr("no peers"));
}

TEST_F(Meshctl, CheckIsNotMetWhereTheTunnelsOrThePeersAreNotKnown) {
  Status blind = all_encrypted();
  blind.error = "the device mesh0 cannot be read";
  backend_.set_status(blind);
  Outcome outcome = run({"status", "--check"});
  EXPECT_EQ(outcome.code, 3);
  EXPECT_THAT(outcome.output, HasSubstr("node-a: the device mesh0 cannot be read\n"));
  Status alone = test::sample_status();
  alone.peers.clear();
  alone.store.in_sync = false;
  backend_.set_status(alone);
  outcome = run({"status", "--check"});
  EXPECT_EQ(outcome.code, 3);
  EXPECT_THAT(outcome.output, HasSubstr("node-a: the store does not answer"));
  // Of known peers a store that is out says nothing new.
  Status out = all_encrypted();
  out.store.in_sync = false;
  backend_.set_status(out);
  EXPECT_EQ(run({"status", "--check"}).code, 0);
}

TEST_F(Meshctl, CheckKeepsTheWantedFormat) {
  const Outcome outcome = run({"status", "--check", "-o", "json"});
  EXPECT_EQ(outcome.code, 3);
  EXPECT_TRUE(status_from_json(outcome.output));
}

TEST_F(Meshctl, PeerShowsAllThatIsKnown) {
  const Outcome text = run({"peer", "node-b"});
  EXPECT_EQ(text.code, 0);
  EXPECT_THAT(text.output, HasSubstr("\nendpoint:            192.0.2.2:51820\n"));
  const auto peer = peer_from_json(run({"peer", "node-b", "-o", "json"}).output);
  ASSERT_TRUE(peer) << peer.error().message;
  EXPECT_EQ(*peer, test::sample_status().peers[0]);
  EXPECT_EQ(YAML::Load(run({"peer", "node-b", "-o", "yaml"}).output)["node"].as<std::string>(),
            "node-b");
}

TEST_F(Meshctl, APeerThatIsNoneIsOneLineAndFailure) {
  for (const char* name : {"node-z", "../status", "a b?x=1", "%2e", "\x1b[2J"}) {
    const Outcome outcome = run({"peer", name});
    EXPECT_EQ(outcome.code, 1) << name;
    EXPECT_EQ(outcome.output, "");
    EXPECT_THAT(outcome.errors, StartsWith("meshctl: node-a has no peer '"));
    EXPECT_EQ(std::ranges::count(outcome.errors, '\n'), 1);
    EXPECT_THAT(outcome.errors, Not(HasSubstr("\x1b")));
  }
}

TEST_F(Meshctl, NodesListsMineTheGoodAndTheRefused) {
  Status status = test::sample_status();
  status.refused_records = {{"node-x", "line 3: not a mapping"}};
  status.peers[2].reason = Reason::kInvalidRecord;
  status.peers[0].alive = true;
  status.peers[2].alive = false;
  status.peers[2].silent_since = std::chrono::system_clock::now() - std::chrono::hours(3);
  backend_.set_status(status);
  const Outcome outcome = run({"nodes"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.output,
            "NODE    RECORD   ALIVE           ADDRESSES  CIDRS        MESSAGE\n"
            "node-a  own      -               192.0.2.1  10.1.0.0/24  -\n"
            "node-b  ok       yes             192.0.2.2  10.2.0.0/24  -\n"
            "node-c  ok       -               -          -            -\n"
            "node-d  stale    until 3h0m ago  192.0.2.4  10.4.0.0/24  its record cannot be read\n"
            "node-x  refused  -               -          -            line 3: not a mapping\n");
  const Json nodes = Json::parse(run({"nodes", "-o", "json"}).output);
  EXPECT_EQ(nodes[1]["alive"], true);
  EXPECT_EQ(nodes[1]["silentSince"], nullptr);
  EXPECT_EQ(nodes[2]["alive"], nullptr) << "the store does not say";
  EXPECT_EQ(nodes[3]["alive"], false);
  EXPECT_TRUE(nodes[3]["silentSince"].is_string());
  EXPECT_EQ(run({"nodes", "-o", "name"}).output, "node-a\nnode-b\nnode-c\nnode-d\nnode-x\n");
  EXPECT_EQ(Json::parse(run({"nodes", "-o", "json"}).output)[4]["message"],
            "line 3: not a mapping");
}

TEST_F(Meshctl, GraphIsDot) {
  const Outcome outcome = run({"graph"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.output, AllOf(StartsWith("graph mesh {\n"),
                                    HasSubstr("\"node-a\" -- \"node-c\" [color=red")));
}

TEST_F(Meshctl, PlanShowsWhatMeshdSays) {
  backend_.set_answer(std::string("node-b: put route\nnode-c: \x1b[2Jremove"));
  EXPECT_EQ(run({"plan"}).output, "node-b: put route\nnode-c: \\x1b[2Jremove\n");
  backend_.set_answer(std::string());
  EXPECT_EQ(run({"plan"}).output, "nothing to change\n");
}

TEST_F(Meshctl, CommandsReachMeshdAndGiveItsWords) {
  backend_.set_answer(std::string("configuration read"));
  EXPECT_EQ(run({"allow-plaintext"}).code, 2) << "which peer?";
  const Outcome allowed = run({"allow-plaintext", "node-b"});
  EXPECT_EQ(allowed.code, 0) << allowed.errors;
  EXPECT_EQ(backend_.commands().at(0).first, "allow-plaintext");
  EXPECT_EQ(backend_.commands().at(0).second, Json({{"node", "node-b"}}));
  for (const char* name : {"reload", "resume"}) {
    const Outcome outcome = run({name});
    EXPECT_EQ(outcome.code, 0);
    EXPECT_EQ(outcome.output, "configuration read\n");
  }
  EXPECT_EQ(backend_.commands().size(), 3U);
  EXPECT_EQ(backend_.commands()[2].first, "resume");
}

TEST_F(Meshctl, ACommandThatFailsSaysWhyInMeshdsWords) {
  backend_.set_answer(Error{ErrorCode::kInvalid, "meshd.yaml:3:5: unknown key 'nod'", 0});
  const Outcome reload = run({"reload"});
  EXPECT_EQ(reload.code, 1);
  EXPECT_EQ(reload.errors, "meshctl: meshd.yaml:3:5: unknown key 'nod'\n");
  backend_.set_answer(Error{ErrorCode::kUnsupported, "drain comes with a later release", 0});
  const Outcome drain = run({"drain"});
  EXPECT_EQ(drain.code, 1);
  EXPECT_EQ(drain.errors, "meshctl: drain comes with a later release\n");
}

TEST_F(Meshctl, DrainWaitsUntilTheNodeHasLeft) {
  backend_.set_answer(std::string("leaving the mesh"));
  Status status = all_encrypted();
  status.drain = {DrainPhase::kLeft, ""};
  backend_.set_status(status);
  const Outcome left = run({"drain"});
  EXPECT_EQ(left.code, 0);
  EXPECT_EQ(left.output, "left the mesh\n");
  EXPECT_EQ(backend_.commands()[0].first, "drain");

  status.drain = {DrainPhase::kLeaving, "node-b: still sending"};
  backend_.set_status(status);
  const Outcome waiting = run({"drain", "--patience", "1"});
  EXPECT_EQ(waiting.code, 1);
  EXPECT_THAT(waiting.errors, HasSubstr("node-b: still sending"));
  EXPECT_EQ(run({"drain", "--no-wait"}).output, "leaving the mesh\n");
}

TEST_F(Meshctl, VersionTellsBoth) {
  const Outcome outcome = run({"version"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.output, AllOf(StartsWith("meshctl "), HasSubstr("\nmeshd 9.8.7\n")));
  server_->stop();
  EXPECT_EQ(run({"version"}).code, 1);
  EXPECT_EQ(run({"--version"}).code, 0);
}

}  // namespace
}  // namespace mesh::test
