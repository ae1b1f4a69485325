// What must be true of the kernel after every single operation of a plan (design sections 3 and 4),
// as a list of what is not. An operation may leave a fault that was there; it must never make a new
// one. One thread.
#pragma once

#include <set>
#include <string>

#include "core/desired.h"
#include "fakes/fake_dataplane.h"

namespace mesh::test {

// `w`, `h`: the tables. Each entry names the rule and the prefix.
std::set<std::string> path_faults(const FakeDataplane& kernel, const Desired& desired,
                                  std::uint32_t w, std::uint32_t h);

// Watches a kernel while `desired` is being executed, and keeps what became wrong.
class PathWatcher {
 public:
  PathWatcher(FakeDataplane& kernel, const Desired& desired, std::uint32_t w, std::uint32_t h);
  // Call before a plan is executed: what is wrong now is not the plan's doing.
  void begin();
  const std::set<std::string>& made() const { return made_; }  // "fault, after operation"
  bool strict_rules = true;  // no operation is made to fail: then rules must come last

 private:
  void look(const Operation& operation);
  bool guarded(RouteKey key) const;

  FakeDataplane& kernel_;
  const Desired& desired_;
  std::uint32_t w_;
  std::uint32_t h_;
  std::set<std::string> known_;
  std::set<std::string> made_;
};

}  // namespace mesh::test
