#include "meshd/daemon/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>
#include <sstream>

#include "core/sample_status.h"

namespace mesh {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class FixedClock : public Clock {
 public:
  Instant now() const override { return {{}, test::at(test::kSampleNow)}; }
};

class MetricsTest : public ::testing::Test {
 protected:
  FixedClock clock_;
  std::shared_ptr<const Status> status_ = std::make_shared<const Status>(test::sample_status());
  Metrics metrics_{[this] { return status_; }, clock_};
};

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST_F(MetricsTest, HasEveryMetricOfTheContract) {
  metrics_.observe_reconcile(std::chrono::milliseconds(3));
  metrics_.count_error("put-route");
  metrics_.count_repair("route");
  metrics_.count_repair("route");
  metrics_.count_store_events(5);
  metrics_.count_store_went_back();
  const std::string text = metrics_.render();
  for (const char* line :
       {"meshd_peers{state=\"encrypted\"} 2", "meshd_peers{state=\"blocked\"} 0",
        "meshd_peer_state{node=\"node-b\",state=\"encrypted\"} 1",
        "meshd_peer_state{node=\"node-b\",state=\"plaintext\"} 0",
        "meshd_peer_state{node=\"node-c\",state=\"plaintext\"} 1",
        "meshd_peer_last_handshake_seconds{node=\"node-b\"} 1795359601",
        "meshd_peer_last_handshake_seconds{node=\"node-c\"} 0",
        "meshd_peer_bytes_total{node=\"node-b\",direction=\"rx\",path=\"wireguard\"} 1234",
        "meshd_peer_bytes_total{node=\"node-b\",direction=\"tx\",path=\"wireguard\"} 5000000",
        "meshd_peer_bytes_total{node=\"node-c\",direction=\"rx\",path=\"plaintext\"} 2048",
        "meshd_peer_bytes_total{node=\"node-c\",direction=\"tx\",path=\"plaintext\"} 1024",
        "meshd_reconcile_duration_seconds_count 1",
        "meshd_reconcile_errors_total{operation=\"put-route\"} 1",
        "meshd_repairs_total{object=\"route\"} 2", "meshd_store_in_sync 1",
        "meshd_store_events_total 5", "meshd_store_went_back_total 1", "meshd_key_age_seconds 3692",
        "meshd_build_info{version=\"0.1.0\",backend=\"kernel\"} 1"})
    EXPECT_THAT(text, HasSubstr(std::string("\n") + line + "\n"));
}

TEST_F(MetricsTest, SaysWhenTheStoreIsOut) {
  Status out = test::sample_status();
  out.store.in_sync = false;
  status_ = std::make_shared<const Status>(out);
  EXPECT_THAT(metrics_.render(), HasSubstr("\nmeshd_store_in_sync 0\n"));
}

TEST_F(MetricsTest, ForgetsANodeThatLeft) {
  EXPECT_THAT(metrics_.render(), HasSubstr("node-d"));
  Status smaller = test::sample_status();
  smaller.peers.pop_back();
  status_ = std::make_shared<const Status>(smaller);
  EXPECT_THAT(metrics_.render(), Not(HasSubstr("node-d")));
}

TEST_F(MetricsTest, CountsBeforeTheFirstStatus) {
  status_ = nullptr;
  metrics_.count_error("ensure-device");
  const std::string text = metrics_.render();
  EXPECT_THAT(text, HasSubstr("meshd_reconcile_errors_total{operation=\"ensure-device\"} 1"));
  EXPECT_THAT(text, Not(HasSubstr("meshd_peers")));
}

TEST_F(MetricsTest, LabelsAreEscaped) {
  Status odd = test::sample_status();
  odd.version = "a\"b\\c\nd";
  status_ = std::make_shared<const Status>(odd);
  EXPECT_THAT(metrics_.render(), HasSubstr(R"(version="a\"b\\c\nd")"));
}

// The rules of `promtool check metrics` that apply here.
TEST_F(MetricsTest, EveryFamilyIsDescribedOnceAndCountersEndInTotal) {
  metrics_.observe_reconcile(std::chrono::milliseconds(3));
  metrics_.count_error("put-route");
  metrics_.count_repair("route");
  std::map<std::string, std::string> types;
  std::set<std::string> helped;
  for (const std::string& line : lines_of(metrics_.render())) {
    std::istringstream words(line);
    std::string hash;
    std::string kind;
    std::string name;
    std::string rest;
    if (line.starts_with("# ")) {
      words >> hash >> kind >> name;
      std::getline(words, rest);
      if (kind == "HELP") {
        EXPECT_TRUE(helped.insert(name).second) << "described twice: " << name;
        EXPECT_GT(rest.size(), 10U) << name;
      }
      if (kind == "TYPE") {
        EXPECT_TRUE(types.emplace(name, rest).second) << "typed twice: " << name;
      }
      continue;
    }
    std::string family = line.substr(0, line.find_first_of("{ "));
    for (const char* suffix : {"_bucket", "_sum", "_count"}) {
      const std::string stem =
          family.substr(0, family.size() - std::min(family.size(), std::strlen(suffix)));
      const auto type = types.find(stem);
      if (family.ends_with(suffix) && type != types.end() && type->second == " histogram")
        family = stem;
    }
    EXPECT_TRUE(family.starts_with("meshd_")) << line;
    EXPECT_TRUE(helped.contains(family)) << line;
    EXPECT_TRUE(types.contains(family)) << line;
  }
  for (const auto& [name, type] : types)
    EXPECT_EQ(type == " counter", name.ends_with("_total")) << name << type;
  EXPECT_GE(types.size(), 11U);
}

TEST_F(MetricsTest, EachSeriesOfTenThousandPeersStandsOnce) {
  Status large = test::sample_status();
  large.peers.clear();
  for (int i = 0; i < 10'000; ++i)
    large.peers.push_back(test::encrypted_peer(fmt::format("node-{:05}", i), 7));
  status_ = std::make_shared<const Status>(large);
  std::set<std::string> series;
  for (const std::string& line : lines_of(metrics_.render())) {
    if (line.starts_with("#")) continue;
    EXPECT_TRUE(series.insert(line.substr(0, line.rfind(' '))).second) << line;
  }
  EXPECT_GE(series.size(), 100'000U);  // ten for each peer
}

}  // namespace
}  // namespace mesh
