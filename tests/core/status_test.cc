#include "core/status.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "core/sample_status.h"

namespace mesh {
namespace {

using Json = nlohmann::ordered_json;
using test::at;
using test::sample_status;

std::vector<std::string> keys_of(const Json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

TEST(StatusJson, HasTheFieldsOfTheContractWithTheirTypes) {
  const Json json = Json::parse(to_json_text(sample_status()));
  EXPECT_EQ(json["schema"], "meshd.status/v1");
  EXPECT_EQ(json["node"], "node-a");
  EXPECT_EQ(json["backend"], "kernel");
  EXPECT_EQ(json["interface"], "mesh0");
  EXPECT_EQ(json["publicKey"], test::sample_key(1).to_base64());
  EXPECT_EQ(json["listenPort"], 51820);
  EXPECT_EQ(json["mode"], "prefer");
  EXPECT_EQ(json["store"]["type"], "directory");
  EXPECT_EQ(json["store"]["inSync"], true);
  EXPECT_EQ(json["store"]["lastChange"], "2026-11-22T15:00:00Z");
  EXPECT_EQ(json["summary"], Json::parse(R"({"peers": 3, "encrypted": 2, "degraded": 0,
      "pending": 0, "plaintext": 1, "blocked": 0})"));
  EXPECT_EQ(json["repairs"], 0);
  const Json& peer = json["peers"][0];
  EXPECT_EQ(peer["node"], "node-b");
  EXPECT_EQ(peer["state"], "encrypted");
  EXPECT_EQ(peer["reason"], "");
  EXPECT_EQ(peer["path"], "wireguard");
  EXPECT_EQ(peer["since"], "2026-11-22T15:00:01Z");
  EXPECT_EQ(peer["publicKey"], test::sample_key(2).to_base64());
  EXPECT_EQ(peer["endpoint"], "192.0.2.2:51820");
  EXPECT_EQ(peer["cidrs"], Json::array({"10.2.0.0/24"}));
  EXPECT_EQ(peer["lastHandshake"], "2026-11-22T15:00:01Z");
  EXPECT_EQ(peer["rxBytes"], 1234);
  EXPECT_EQ(peer["txBytes"], 5'000'000);
  EXPECT_EQ(peer["droppedBytes"], 0);
  EXPECT_EQ(peer["foreignSourceBytes"], 0);
  EXPECT_EQ(peer["warnings"], Json::array());
  EXPECT_EQ(peer["pathMtu"], 1500);
  EXPECT_EQ(peer["mtu"], 1440);
  EXPECT_EQ(peer["mtuReason"], "");
  EXPECT_EQ(json["peers"][1]["pathMtu"], nullptr);
  EXPECT_EQ(json["peers"][1]["mtu"], nullptr);
  EXPECT_EQ(json["peers"][1]["reason"], "peer-unsupported");
  EXPECT_EQ(json["peers"][1]["plaintextRxBytes"], 2048);
  EXPECT_EQ(json["peers"][1]["plaintextTxBytes"], 1024);
}

TEST(StatusJson, KeepsTheOrderOfTheContract) {
  const std::vector<std::string> keys = keys_of(to_json(test::encrypted_peer("node-b", 2)));
  const std::vector<std::string> first(keys.begin(), keys.begin() + 5);
  EXPECT_EQ(first, (std::vector<std::string>{"node", "state", "reason", "path", "since"}));
}

TEST(StatusJson, LastHandshakeIsNullBeforeTheFirst) {
  const Json peer = to_json(test::plaintext_peer("node-c"));
  EXPECT_TRUE(peer["lastHandshake"].is_null());
  EXPECT_EQ(peer["publicKey"], "");
  EXPECT_EQ(peer["endpoint"], "");
}

TEST(StatusJson, ReadsBackWhatItWrote) {
  Status status = sample_status();
  status.error = "port 51820 is in use";
  status.warnings = {"one", "two"};
  status.backend = Backend::kUserspace;
  status.backend_reason = "the kernel has no WireGuard";
  status.refused_records = {{"node-x", "nodes/node-x.yaml: line 3: not a mapping"}};
  status.peers[0].endpoint = Endpoint::parse("[2001:db8::2]:51820").value();
  status.peers[0].mode = Mode::kRequire;
  status.peers[0].alive = true;
  status.peers[2].alive = false;
  status.peers[2].silent_since = at("2026-11-22T12:00:00Z");
  status.store.went_back = StoreWentBack{at("2026-11-22T14:59:00Z"), "etcd is at revision 1"};
  const auto read = status_from_json(to_json_text(status, 2));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, status);
}

TEST(StatusJson, ReadsBackOnePeer) {
  const PeerStatus peer = test::encrypted_peer("node-b", 2);
  const auto read = peer_from_json(to_json(peer).dump());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, peer);
}

TEST(StatusJson, IgnoresFieldsItDoesNotKnow) {
  Json json = to_json(sample_status());
  json["tomorrow"] = {{"deep", {1, 2, 3}}};
  json["peers"][0]["tomorrow"] = true;
  const auto read = status_from_json(json.dump());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, sample_status());
}

TEST(StatusJson, ShowsAReasonItDoesNotKnowAsDetail) {
  Json json = to_json(sample_status());
  json["peers"][0]["reason"] = "untrusted";
  const auto read = status_from_json(json.dump());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->peers[0].reason, Reason::kNone);
  EXPECT_EQ(read->peers[0].detail, "untrusted");
}

TEST(StatusJson, RefusesAnotherSchemaAndSaysWhatToDo) {
  const auto read = status_from_json(R"({"schema": "meshd.status/v2", "node": "a"})");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().message,
            "status field schema: is 'meshd.status/v2', this program reads 'meshd.status/v1': use "
            "a meshctl of the same version as meshd");
}

TEST(StatusJson, NamesTheFieldThatCannotBeRight) {
  const auto message_after = [](const char* pointer, const Json& value) {
    Json json = to_json(sample_status());
    json[Json::json_pointer(pointer)] = value;
    const auto read = status_from_json(json.dump());
    return read ? "no error" : read.error().message;
  };
  EXPECT_EQ(message_after("/peers/1/state", 7), "status field peers[1].state: must be a string");
  EXPECT_EQ(message_after("/peers/1/state", "happy"),
            "status field peers[1].state: is a word this program does not know");
  EXPECT_EQ(message_after("/peers/2", nullptr), "status field peers[2]: must be an object");
  EXPECT_EQ(message_after("/peers", 3), "status field peers: must be an array");
  EXPECT_EQ(message_after("/peers/0/rxBytes", -1),
            "status field peers[0].rxBytes: must be a whole number that fits");
  EXPECT_EQ(message_after("/listenPort", 70000),
            "status field listenPort: must be a whole number that fits");
  EXPECT_EQ(message_after("/store", "x"), "status field store: must be an object");
  EXPECT_EQ(message_after("/node", nullptr), "status field node: is missing");
  EXPECT_NE(message_after("/peers/0/endpoint", "nowhere"), "no error");
  EXPECT_NE(message_after("/peers/0/cidrs", Json::array({"10.0.0.1/8"})), "no error");
  EXPECT_NE(message_after("/peers/0/since", "yesterday"), "no error");
}

TEST(StatusJson, RefusesWhatIsNotJson) {
  for (const char* text : {"", "{", "null", "[]", "42", "\"x\"", "{}", "1e999", "\xff\xfe",
                           "{\"schema\": \"meshd.status/v1\"}", "<html></html>"}) {
    const auto read = status_from_json(text);
    EXPECT_FALSE(read) << text;
    EXPECT_FALSE(read.error().message.empty()) << text;
  }
}

TEST(StatusJson, SurvivesDeepNesting) {
  const std::string deep(1'000'000, '[');
  EXPECT_FALSE(status_from_json(deep));
  EXPECT_FALSE(status_from_json(deep + std::string(1'000'000, ']')));
}

// Every cut and thousands of seeded damages: an error or a status, never anything else.
TEST(StatusJson, SurvivesEveryTruncationAndRandomDamage) {
  const std::string whole = to_json_text(sample_status());
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(status_from_json(std::string_view(whole).substr(0, size))) << size;
  std::mt19937 random(20261122);
  std::size_t refused = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string damaged = whole;
    for (int i = 0; i < 3; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
    if (!status_from_json(damaged)) ++refused;
  }
  EXPECT_GT(refused, 1000U);  // the damage does reach the reader
}

TEST(StatusJson, StaysJsonWhenARecordIsNotUtf8) {
  Status status = sample_status();
  status.peers[1].detail = "bad \xff byte";
  const auto read = status_from_json(to_json_text(status));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->peers[1].detail, "bad \xEF\xBF\xBD byte");
}

TEST(Status, FindsAPeerByName) {
  const Status status = sample_status();
  ASSERT_NE(find_peer(status, "node-c"), nullptr);
  EXPECT_EQ(find_peer(status, "node-c")->state, State::kPlaintext);
  EXPECT_EQ(find_peer(status, "node-z"), nullptr);
}

TEST(StatusTime, IsRfc3339InUtc) {
  EXPECT_EQ(format_time(WallTime{}), "1970-01-01T00:00:00Z");
  EXPECT_EQ(format_time(at("2026-11-22T15:00:01.999999999Z")), "2026-11-22T15:00:01Z");
  EXPECT_EQ(format_time(at("2028-02-29T23:59:59Z")), "2028-02-29T23:59:59Z");
  EXPECT_EQ(format_time(at("2026-11-22T15:30:00+05:30")), "2026-11-22T10:00:00Z");
  EXPECT_EQ(format_time(at("2026-11-22t15:00:00-01:00")), "2026-11-22T16:00:00Z");
  EXPECT_EQ(at("2026-11-22T15:00:00.5Z") - at("2026-11-22T15:00:00Z"),
            std::chrono::milliseconds(500));
}

TEST(StatusTime, RefusesWhatIsNone) {
  for (const char* text :
       {"", "2026", "2026-11-22", "2026-11-22T15:00:00", "2026-11-22T24:00:00Z",
        "2026-11-22T15:60:00Z", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z",
        "1969-12-31T23:59:59Z", "9999-01-01T00:00:00Z", "2026-11-22T15:00:00.Z",
        "2026-11-22T15:00:00Z ", "2026-11-22T15:00:00+25:00", "-026-11-22T15:00:00Z"})
    EXPECT_FALSE(parse_time(text)) << text;
}

}  // namespace
}  // namespace mesh
