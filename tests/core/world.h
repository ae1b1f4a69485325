// A small world for the pure core: one node's model, planner and mirror over a kernel in memory and
// records written by the test. pass() is what the daemon does in one pass, without the daemon. One
// thread; time moves only when the test says so.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "core/mesh_model.h"
#include "fakes/fake_clock.h"
#include "fakes/fake_dataplane.h"
#include "fakes/path_invariants.h"
#include "fakes/values.h"

namespace mesh {

// For failing expectations.
void PrintTo(const Operation& operation, std::ostream* out);

}  // namespace mesh

namespace mesh::test {

inline constexpr std::uint32_t kTableW = 5182;
inline constexpr std::uint32_t kTableH = 5183;
inline constexpr std::uint32_t kTableT = 5184;

// Node a: 192.0.2.1, 10.1.0.0/24 and fd00:1::/64, with 10.1.0.1 on a workload bridge.
LocalNode local_node();

struct RecordOf {
  std::string name;
  std::vector<Cidr> cidrs;
  std::vector<IpAddress> addresses;
  std::map<std::string, std::string> annotations;
  std::map<std::string, std::string> labels = {};

  RecordOf& label(const std::string& name, const std::string& value);
  RecordOf& key(int n) { return key_text(test::key(n).to_base64()); }
  RecordOf& key_text(const std::string& text);
  RecordOf& no_key();
  RecordOf& mode(const std::string& mode);
  RecordOf& endpoint(const std::string& text);
  RecordOf& host_traffic();
  NodeRecord record() const;
};

// Node n (2 to 254): 192.0.2.n, 10.n.0.0/24 and fd00:n::/64, key n.
RecordOf node(const std::string& name, int n);

class World {
 public:
  explicit World(LocalNode local = local_node());

  // --- what happens ---
  void put(const RecordOf& record);
  void put_bad(const std::string& name);
  void remove(const std::string& name);
  void put_policy(const EncryptionPolicy& policy);
  void put_bad_policy(const std::string& name);
  void remove_policy(const std::string& name);
  void deliver(StoreUpdate update);
  void store_answers();  // everything that was put so far, as one complete update; passes
  // meshd is killed and started again over the same kernel; nothing is known but what the kernel
  // holds. The store's records are delivered again, complete, unless `store_is_out`.
  void restart(bool store_is_out = false);

  // --- the pass ---
  const Plan& pass();
  // Passes, moving time a little, until nothing is left to do.
  void settle();
  void wait(Duration duration);  // then settles
  // What a fresh full comparison would still do.
  Plan left_to_do();

  // --- what is so ---
  const Peer& peer(const std::string& name) const { return model->peers().at(name); }
  bool has_peer(const std::string& name) const { return model->peers().contains(name); }
  Decision decision(const std::string& name) const { return peer(name).decision(); }
  State state(const std::string& name) const { return decision(name).state; }
  Reason reason(const std::string& name) const { return decision(name).reason; }
  Path path(const std::string& name) const { return decision(name).path; }
  RouteType way_to(const std::string& address) const { return kernel.way_of(ip(address)); }
  Instant now() const { return clock.now(); }

  FakeClock clock;
  FakeDataplane kernel;
  LocalNode local;
  std::unique_ptr<MeshModel> model;
  Desired desired;
  std::unique_ptr<PathWatcher> watcher;
  std::map<std::string, std::uint64_t> inner_tx;
  bool store_answered = true;

 private:
  void read_everything();
  void read_nftables();

  std::map<std::string, std::shared_ptr<const StoreEntry>> records_;
  std::map<std::string, std::shared_ptr<const PolicyEntry>> policies_;
  Mirror mirror_;
  Touched touched_;
  bool adopted_ = false;
  Plan plan_;
};

// A test over one world: in the end it rests, and nothing wrong was ever seen.
class MeshTest : public ::testing::Test {
 protected:
  void TearDown() override {
    world.settle();
    EXPECT_THAT(world.watcher->made(), ::testing::IsEmpty());
    EXPECT_THAT(world.left_to_do(), ::testing::IsEmpty());
  }
  // b, or another node, proven and sent to through WireGuard.
  void encrypted_node(const std::string& name, int n) {
    world.kernel.answer(key(n));
    world.put(node(name, n));
    world.settle();
    ASSERT_EQ(world.state(name), State::kEncrypted);
  }
  World world;
};

}  // namespace mesh::test
