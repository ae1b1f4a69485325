// Traffic: bytes and packets per node and kind, from the element counters of table "inet meshd",
// and the bytes of the tunnel, from the device.
//
// Elements and the device's peers come and go; the totals of a node only grow. What each meter
// showed last is part of what format() writes down, so that a restart goes on where it was: what
// the kernel counted meanwhile is added, and nothing twice. Loop thread; cost: one map step per
// element.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "mesh/kernel.h"
#include "mesh/public_key.h"
#include "mesh/result.h"
#include "mesh/wireguard.h"

namespace mesh {

class Traffic {
 public:
  struct Count {
    std::uint64_t bytes = 0;
    std::uint64_t packets = 0;
    friend bool operator==(const Count&, const Count&) = default;
  };
  struct Tunnel {  // bytes as WireGuard counts them
    std::uint64_t rx = 0;
    std::uint64_t tx = 0;
    friend bool operator==(const Tunnel&, const Tunnel&) = default;
  };

  // `owners` says whom each element counts for; one that is in it no more counts for whom it did.
  // `counters` are all of `sets`, and of no others: those stay as they were.
  void update(const std::vector<NftCounter>& counters,
              const std::map<NftElement, std::string>& owners, const NftSets& sets = kAllNftSets);
  void update_tunnels(const std::map<PublicKey, WgPeer>& peers,
                      const std::map<PublicKey, std::string>& owners);
  // The ruleset was made anew: its counters start at zero.
  void restart();
  // One element went: put again, it starts at zero.
  void gone(const NftElement& element) {
    meters_went_ = meters_.erase(element) != 0 || meters_went_;
  }
  Count count(const std::string& node, NftSet set) const;
  std::uint64_t bytes(const std::string& node, NftSet set) const { return count(node, set).bytes; }
  Tunnel tunnel(const std::string& node) const;
  std::map<std::string, std::uint64_t> all(NftSet set) const;  // bytes
  void keep_only(const std::set<std::string>& nodes);

  // A meter went, or started again: what it showed is nowhere but here until it is written down.
  bool meters_went() const { return meters_went_; }
  void written() { meters_went_ = false; }
  // What is not zero, as lines; and back. kInvalid, naming the line.
  std::string format() const;
  static Result<Traffic> parse(std::string_view text);
  friend bool operator==(const Traffic& a, const Traffic& b) {
    return a.meters_ == b.meters_ && a.totals_ == b.totals_ && a.keys_ == b.keys_ &&
           a.tunnels_ == b.tunnels_;
  }

 private:
  template <class Value>
  struct Meter {
    std::string node;
    Value value;
    std::uint64_t round = 0;  // of the update that saw it last
    friend bool operator==(const Meter& a, const Meter& b) {
      return a.node == b.node && a.value == b.value;
    }
  };
  using Totals = std::array<Count, kNftSetCount>;  // index with NftSet

  std::map<NftElement, Meter<Count>> meters_;  // as they were last seen
  std::map<std::string, Totals> totals_;
  std::map<PublicKey, Meter<Tunnel>> keys_;
  std::map<std::string, Tunnel> tunnels_;
  std::uint64_t round_ = 0;
  bool meters_went_ = false;
};

}  // namespace mesh
