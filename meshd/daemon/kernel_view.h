// KernelView: what the daemon knows of the kernel, and how it stays true: events at once, samples
// of the WireGuard device at a pace that its size allows, and a full comparison now and then. Loop
// thread.
#pragma once

#include <set>
#include <string>

#include "core/mirror.h"
#include "mesh/dataplane.h"
#include "meshd/daemon/traffic.h"

namespace mesh {

class KernelView {
 public:
  explicit KernelView(Dataplane& dataplane) : dataplane_(dataplane) {}

  void set_scope(std::string device_name, std::set<std::uint32_t> tables);
  // Everything. What differs from the mirror is touched; `drift` names the kinds of objects that
  // do.
  Result<void> read_everything(Touched& touched);
  // The device and the counters of `sets`, which have no events.
  Result<void> sample(const std::map<NftElement, std::string>& owners, const NftSets& sets,
                      Touched& touched);
  // Whether the last sample read all counters.
  bool counted() const { return counted_; }
  // Counters alone, before elements go. Whether they could be read.
  bool read_counters(const std::map<NftElement, std::string>& owners,
                     const NftSets& sets = kAllNftSets);
  // The table is there, and what it counts could be read.
  bool counts() const { return mirror_.has_sets() && counters_problem_.empty(); }
  // Why the bytes that are shown are old; "" when they are not.
  const std::string& counters_problem() const { return counters_problem_; }
  // Why the table's elements are not compared; "" when they are.
  const std::string& elements_problem() const { return elements_problem_; }
  struct Heard {
    std::set<std::string> kinds;  // of objects that were changed by somebody else
    bool anything = false;        // an event came that concerns this node
    bool rules = false;           // a policy rule came or went, whoever's
  };
  // All events that wait.
  Heard drain(Touched& touched);
  // What an acknowledged operation made of the kernel.
  void acknowledge(const Operation& operation);

  const Mirror& mirror() const { return mirror_; }
  // After a plan was made: see mesh::adopt_endpoints.
  void adopt_endpoints(const Desired& desired) { mesh::adopt_endpoints(desired, mirror_); }
  Traffic& traffic() { return traffic_; }
  const Traffic& traffic() const { return traffic_; }
  // The rules that nftables shall have; before anything is read.
  void want(const NftSpec& spec);
  // The table could not be changed as it was known: it is made anew.
  void forget_nftables(Touched& touched) { mirror_.set_nftables(std::nullopt, touched); }

 private:
  Result<void> read_device(Touched& touched);
  void read_nftables(Touched& touched);
  Result<void> read_link_settings();

  Dataplane& dataplane_;
  std::string device_name_;
  std::set<std::uint32_t> tables_;
  std::set<std::uint32_t> old_tables_;  // of an earlier configuration
  Mirror mirror_;
  NftSpec wanted_;
  bool counted_ = false;
  std::string counters_problem_;
  std::string elements_problem_;
  bool nftables_unread_ = false;  // the last dump failed: the mirror may be behind
  Traffic traffic_;
};

}  // namespace mesh
