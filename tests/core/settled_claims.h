// Claims with the loop that settles them, as the model runs it: a batch has no order.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <ostream>
#include <string>

#include "core/claims.h"

namespace mesh {

inline void PrintTo(const Accepted& accepted, std::ostream* out) {
  for (const Cidr& c : accepted.cidrs) *out << c.to_string() << " ";
  for (const IpAddress& a : accepted.addresses) *out << a.to_string() << " ";
  for (const std::string& w : accepted.warnings) *out << "[" << w << "] ";
}

namespace test {

class Settled {
 public:
  void own(OwnClaims claims) { dirty_.merge(claims_.set_own(std::move(claims))); }
  void record(const std::string& node, NodeClaims claims) {
    dirty_.merge(claims_.set(node, std::move(claims)));
  }
  void remove(const std::string& node) { dirty_.merge(claims_.remove(node)); }
  void seed(const std::string& node, const Cidr& prefix) { claims_.seed(node, prefix); }
  void everything_is_dirty() {
    for (const auto& [node, accepted] : accepted_) dirty_.insert(node);
  }

  void settle() {
    int rounds = 0;
    while (!dirty_.empty()) {
      ASSERT_LE(++rounds, 6) << "the claims do not come to rest";
      std::map<std::string, Accepted> outcomes;
      for (const std::string& node : dirty_) outcomes[node] = claims_.resolve(node);
      dirty_.clear();
      for (const auto& [node, accepted] : outcomes) {
        dirty_.merge(claims_.hold(node, accepted));
        accepted_[node] = accepted;
      }
    }
  }
  const Accepted& of(const std::string& node) { return accepted_[node]; }
  const std::map<std::string, Accepted>& all() const { return accepted_; }
  Claims& claims() { return claims_; }

 private:
  Claims claims_;
  NodeSet dirty_;
  std::map<std::string, Accepted> accepted_;
};

}  // namespace test
}  // namespace mesh
