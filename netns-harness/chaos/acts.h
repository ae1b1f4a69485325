// What a chaos run does to a mesh, and in which order: a seed makes one order, always the same.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "lab/lab.h"

namespace mesh::lab {

// Somebody with root who breaks one thing on one node. Every act must do no more than fail when
// what it would break is broken already.
struct Act {
  using Step = std::function<void(Lab&, Node& node, Node& peer)>;
  std::string name;
  Step begin;
  Step end = {};  // of acts that last
  // The path of encrypted packets is opened by force: what leaks is not meshd's doing.
  bool opens = false;
  bool on_store = false;  // needs the store in its place
  bool needs_netem = false;
  bool needs_wireguard_go = false;
  bool needs_own_machine = false;  // the clock is everybody's
  bool restarts = false;           // another meshd runs afterwards
};

// The node whose meshd no act restarts: what a process holds can only be compared with what the
// same process held.
inline constexpr int kWitness = 0;

[[nodiscard]] const std::vector<Act>& all_acts();

// One step of the order.
struct Step {
  std::size_t act = 0;  // of all_acts()
  int node = 0;
  int peer = 0;
  bool ends = false;      // the end of an act that lasts
  milliseconds pause{0};  // until the next step
};

// The order that belongs to a seed. Depends on nothing else: not on time, nor on what the mesh or
// the kernel makes of it.
class Order {
 public:
  Order(std::uint64_t seed, int nodes) : random_(seed), nodes_(nodes) {}
  Step next();
  // Ends of what still lasts.
  [[nodiscard]] std::vector<Step> rest();

 private:
  struct Lasting {
    Step step;
    unsigned left = 0;  // steps
  };
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  [[nodiscard]] bool fits(const Step& step) const;
  std::mt19937_64 random_;
  int nodes_;
  std::vector<Lasting> lasting_;
};

// "device deleted on node-b (peer node-c)".
[[nodiscard]] std::string describe(const Step& step, Lab& lab);

}  // namespace mesh::lab
