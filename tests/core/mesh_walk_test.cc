// Long random walks through the life of a mesh, with the path watcher behind every operation:
// whatever happens in whatever order, the kernel comes to rest at what is desired, a restart
// changes nothing, and every failure is made up for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "world.h"

namespace mesh {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::cidr;
using test::ip;
using test::key;
using test::World;
using ::testing::IsEmpty;

constexpr int kNodes = 6;

std::string name_of_node(int n) { return "n" + std::to_string(n); }

class Walk {
 public:
  explicit Walk(unsigned seed) : random_(seed) {
    for (int n = 2; n < 2 + kNodes; ++n) world.kernel.answer(key(n));
  }

  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  bool chance(int percent) { return pick(1, 100) <= percent; }

  // A record: mostly what the node should say, sometimes what it should not.
  void change_record() {
    const int n = pick(2, 1 + kNodes);
    auto record = test::node(name_of_node(n), n);
    static const std::vector<Cidr> kContested{
        cidr("10.50.0.0/24"), cidr("10.50.0.128/25"), cidr("10.2.0.64/26"), cidr("fd00:50::/64"),
        cidr("10.1.0.77/32"), cidr("192.0.2.0/29"),   cidr("0.0.0.0/0")};
    for (const Cidr& contested : kContested)
      if (chance(15)) record.cidrs.push_back(contested);
    if (chance(15)) record.cidrs.erase(record.cidrs.begin());
    if (chance(10)) record.addresses.push_back(ip("10.50.0.9"));
    if (chance(20)) record.no_key();
    if (chance(10)) record.key(pick(2, 1 + kNodes));  // somebody's
    if (chance(10)) record.key(n + 20);
    if (chance(5)) record.key_text("nonsense");
    if (chance(15)) record.mode(chance(50) ? "require" : "off");
    if (chance(5)) record.endpoint("10.2.0.7:51820");
    if (chance(50)) record.label("role", chance(50) ? "db" : "web");
    world.put(record);
  }

  void change_policy() {
    const std::string name = std::string("p") + std::to_string(pick(1, 3));
    if (chance(25)) return world.remove_policy(name);
    if (chance(15)) return world.put_bad_policy(name);
    world.put_policy({name, static_cast<double>(pick(1, 3)), chance(20) ? "role =" : "all()",
                      chance(50) ? "role == 'db'" : "has(role)",
                      static_cast<PolicyAction>(pick(0, 2))});
  }

  // What others do to the kernel.
  void tamper() {
    switch (pick(0, 6)) {
      case 0:
        world.kernel.delete_device();
        break;
      case 1:
        world.kernel.set_device_up(false);
        break;
      case 2:
        if (!world.kernel.routes().empty())
          world.kernel.remove_route(any_of(world.kernel.routes()).first);
        break;
      case 3:
        if (!world.kernel.peers().empty())
          world.kernel.remove_peer(any_of(world.kernel.peers()).first);
        break;
      case 4:
        if (!world.kernel.rules().empty()) {
          const Rule rule = any_of(world.kernel.rules());
          world.kernel.remove_rule(rule);
        }
        break;
      case 5:
        world.kernel.flush_ruleset();
        break;
      default:
        world.kernel.lose_events();
    }
  }

  void step(bool tampering) {
    const int what = pick(1, 100);
    const std::string name = name_of_node(pick(2, 1 + kNodes));
    const PublicKey some_key = key(pick(2, 1 + kNodes) + (chance(20) ? 20 : 0));
    if (what <= 4) {
      change_policy();
    } else if (what <= 50) {
      change_record();
    } else if (what <= 60) {
      world.remove(name);
    } else if (what <= 64) {
      world.put_bad(name);
    } else if (what <= 72) {
      world.kernel.answer(some_key, chance(70));
    } else if (what <= 78) {
      world.kernel.handshake(some_key);
    } else if (what <= 84) {
      world.inner_tx[name] += 100;
    } else if (what <= 88) {
      world.clock.advance(seconds(pick(1, 90)));
    } else if (what <= 91) {
      world.local.mode = static_cast<Mode>(pick(0, 2));
    } else if (what <= 93) {
      world.store_answers();
    } else if (tampering) {
      tamper();
    }
  }

  World world;

 private:
  template <class Container>
  typename Container::value_type any_of(const Container& container) {
    auto it = container.begin();
    std::advance(it, pick(0, static_cast<int>(container.size()) - 1));
    return *it;
  }
  std::mt19937 random_;
};

// What is decided, and every route, peer and range that follows, is well formed.
void expect_sound(World& world) {
  for (const auto& [name, peer] : world.model->peers()) {
    const Decision& decision = peer.decision();
    for (const Cidr& prefix : peer.accepted().cidrs) {
      const auto route =
          world.desired.routes().find({test::kTableW, prefix, base_metric(prefix.family())});
      ASSERT_NE(route, world.desired.routes().end()) << prefix.to_string();
      ASSERT_EQ(route->second.node, name);
      const RouteType expected = decision.path == Path::kWireguard   ? RouteType::kUnicast
                                 : decision.path == Path::kPlaintext ? RouteType::kThrow
                                                                     : RouteType::kUnreachable;
      ASSERT_EQ(route->second.route.type, expected) << prefix.to_string();
      const bool guarded = world.desired.routes().contains({test::kTableW, prefix, kGuardMetric});
      ASSERT_EQ(guarded, decision.path == Path::kWireguard);
    }
    if (decision.path == Path::kWireguard) {
      ASSERT_TRUE(peer.active().has_value());
      ASSERT_EQ(world.desired.peers().at(peer.active()->key).node, name);
    }
  }
}

TEST(RandomWalk, EveryStepComesToRestWithoutALeakOrAHole) {
  int encrypted = 0;
  int blocked = 0;
  for (unsigned seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Walk walk(seed);
    for (int i = 0; i < 100; ++i) {
      for (int batch = walk.pick(1, 3); batch > 0; --batch) walk.step(true);
      ASSERT_NO_FATAL_FAILURE(walk.world.settle()) << "step " << i;
      ASSERT_THAT(walk.world.watcher->made(), IsEmpty()) << "step " << i;
      ASSERT_THAT(walk.world.left_to_do(), IsEmpty()) << "step " << i;
      ASSERT_NO_FATAL_FAILURE(expect_sound(walk.world)) << "step " << i;
      for (const auto& [name, peer] : walk.world.model->peers()) {
        encrypted += peer.decision().state == State::kEncrypted ? 1 : 0;
        blocked += peer.decision().path == Path::kDrop ? 1 : 0;
      }
    }
  }
  // The walk has been where it matters.
  EXPECT_GT(encrypted, 500);
  EXPECT_GT(blocked, 50);
}

// Whether another process can know, from the kernel and the store alone, all that decided here. It
// cannot know of peers whose record is gone and of the last good version of a bad one
// (both are for a snapshot), who of two plaintext nodes had a contested prefix first, and what was
// being proven.
bool tellable(const World& world) {
  if (world.local.mode == Mode::kOff) return false;
  for (const auto& [name, peer] : world.model->peers()) {
    if (peer.gone() || peer.vanished() || !peer.bad_record().empty() || peer.candidate() ||
        peer.decision().state == State::kPending ||
        peer.decision().reason == Reason::kDuplicatePublicKey)
      return false;
    for (const std::string& warning : peer.warnings())
      for (const char* contested :
           {"keeps it", "holds", "an underlay address of", "inside the mesh"})
        if (warning.find(contested) != std::string::npos) return false;
  }
  return true;
}

TEST(RandomWalk, ARestartAnywhereDecidesAlikeAndWritesNothing) {
  int compared = 0;
  for (unsigned seed = 101; seed <= 125; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Walk walk(seed);
    World& world = walk.world;
    for (int i = 0; i < 60; ++i) {
      walk.step(false);
      ASSERT_NO_FATAL_FAILURE(world.settle());
      if (!tellable(world)) continue;
      const auto routes = world.desired.routes();
      const auto elements = world.desired.elements();
      std::map<std::string, Path> paths;
      for (const auto& [name, peer] : world.model->peers()) paths[name] = peer.decision().path;
      world.kernel.forget();
      world.restart();
      world.pass();
      for (const Operation& operation : world.kernel.executed()) {
        // Only a peer that does not answer is kept trying.
        ASSERT_TRUE(std::holds_alternative<ChangePeer>(operation.act)) << to_string(operation);
        ASSERT_NE(world.state(operation.node), State::kEncrypted) << to_string(operation);
      }
      for (const auto& [name, path] : paths) ASSERT_EQ(world.path(name), path) << name;
      ASSERT_TRUE(world.desired.routes() == routes);
      ASSERT_TRUE(world.desired.elements() == elements);
      ++compared;
    }
  }
  EXPECT_GT(compared, 100);
}

// --- failures ---

// A life that needs every kind of operation.
void live_through(World& world, const std::function<void()>& act) {
  const auto b = test::node("b", 2);
  auto c = test::node("c", 3);
  world.kernel.answer(key(2));
  world.kernel.answer(key(3));
  world.put(b);
  world.put(c);
  act();
  c.cidrs.push_back(cidr("10.2.0.128/25"));
  world.put(c);
  act();
  world.kernel.delete_device();
  act();
  world.kernel.flush_ruleset();
  world.put(test::node("b", 2).key(12));
  world.kernel.answer(key(12));
  act();
  world.local.cidrs = {cidr("10.1.0.0/25"), cidr("fd00:1::/64")};
  world.kernel.add_address(world.kernel.device_index(), ip("10.77.0.1"), 32);
  world.put(test::node("c", 3).no_key());
  act();
  world.remove("b");
  act();
  world.clock.advance(Peer::kGrace);
  act();
  world.clock.advance(seconds(61));
  act();
}

void pass_a_few_times(World& world) {
  for (int i = 0; i < 12; ++i) {
    world.pass();
    world.clock.advance(milliseconds(200));
  }
}

TEST(Failures, EveryOperationMayFailOnceTwiceOrForAWhileAndIsMadeUpFor) {
  std::set<std::string> kinds;
  std::map<std::string, int> counts;
  World reference;
  live_through(reference, [&] { reference.settle(); });
  for (const Operation& operation : reference.kernel.executed())
    ++counts[std::string(name_of(operation.act))];
  ASSERT_GE(counts.size(), 11U) << "the life is too quiet";

  for (const auto& [kind, count] : counts)
    for (int skip = 0; skip < count; skip += std::max(1, count / 4))
      for (const int times : {1, 2, 7}) {
        SCOPED_TRACE(testing::Message()
                     << kind << " number " << skip << " fails " << times << " times");
        World world;
        world.watcher->strict_rules = false;
        world.kernel.fail(kind, skip, times);
        live_through(world, [&] { pass_a_few_times(world); });
        world.kernel.stop_failing();
        ASSERT_NO_FATAL_FAILURE(world.settle());
        world.clock.advance(seconds(61));
        ASSERT_NO_FATAL_FAILURE(world.settle());
        EXPECT_THAT(world.watcher->made(), IsEmpty());
        EXPECT_THAT(world.left_to_do(), IsEmpty());
        EXPECT_EQ(world.kernel.rules(), reference.kernel.rules());
        EXPECT_EQ(world.kernel.elements(), reference.kernel.elements());
        EXPECT_EQ(world.path("c"), reference.path("c"));
        EXPECT_TRUE(world.kernel.peers().empty());
      }
}

TEST(Failures, AnOperationThatFailsForEverHoldsUpItsOwnNodeOnly) {
  World world;
  world.kernel.answer(key(2));
  world.kernel.answer(key(3));
  world.watcher->strict_rules = false;
  world.pass();
  // b's very first operation fails, always; c's never do.
  world.put(test::node("b", 2));
  world.put(test::node("c", 3));
  world.kernel.fail("change-peer", 0, 1);
  world.pass();
  EXPECT_FALSE(world.kernel.peers().contains(key(2)));
  EXPECT_TRUE(world.kernel.peers().contains(key(3)));
  world.clock.advance(seconds(1));
  ASSERT_NO_FATAL_FAILURE(world.settle());
  EXPECT_EQ(world.state("b"), State::kEncrypted);
  EXPECT_EQ(world.state("c"), State::kEncrypted);
}

}  // namespace
}  // namespace mesh
