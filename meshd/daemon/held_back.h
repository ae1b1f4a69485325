// HeldBack: the operations that failed, and when each is tried again.
//
// A failed operation is not repeated at every pass: it waits, with back-off, while everything else
// goes on. What comes after it for the same node waits with it; an operation that is new is tried
// at once. Loop thread; cost: one map step per operation of a plan.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/backoff.h"
#include "core/desired.h"
#include "mesh/plan.h"
#include "mesh/result.h"

namespace mesh {

class HeldBack {
 public:
  HeldBack() { touched_.everything = false; }

  // What a plan has to look at again, so that it shows whether it is still wanted, and in its
  // order.
  const Touched& touched() const { return touched_; }
  // The plan without what has to wait.
  Plan release(Plan plan, MonotonicTime now);
  // What became of a released plan. Returns the operations that were tried and failed. What neither
  // failed again nor waits is no problem any more.
  std::vector<const Operation*> note(const Plan& plan, const std::vector<Result<void>>& results,
                                     MonotonicTime now);

  bool holds(const Operation& operation) const;
  // When the next of them is tried again.
  std::optional<MonotonicTime> next() const;
  // The counters and guards of nftables could not be set up: planning them is no use before then.
  bool nftables_wait(MonotonicTime now) const;
  bool nftables_missing() const;  // whether or not it is their time again
  // Counting alone is not worth saying that this node does not do its work.
  bool only_counting() const;
  // Why the device cannot be used as it should be; "" when it can.
  std::string device_problem() const;
  // What is wrong now: by place ("put-route node-b"), the first message.
  std::map<std::string, std::string> problems() const;

 private:
  struct Held {
    Operation operation;
    std::string message;
    MonotonicTime again{};
    Backoff pause;
  };
  static std::string key_of(const Operation& operation);
  void touch(const Operation& operation);
  void fail(const Operation& operation, const Error& error, MonotonicTime now);

  std::map<std::string, Held> held_;
  std::set<std::string> waiting_;  // keys whose operations the last release() took out
  Touched touched_;
};

// Of the counters and guards in nftables.
bool is_counting(const Act& act);

}  // namespace mesh
