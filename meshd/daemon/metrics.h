// Metrics: the contract's metrics in the text format of Prometheus.
//
// What Status holds is rendered from the Status of the moment, so the series of a node that left
// are gone at the next scrape; what only the reconciler sees is counted here and only ever grows.
// Thread rules: every function on any thread. Cost: counting is a lock and an addition; render() is
// proportional to the peers and blocks nobody but its caller.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/status.h"
#include "mesh/clock.h"

namespace mesh {

class Metrics {
 public:
  using StatusSource = std::function<std::shared_ptr<const Status>()>;  // may give null

  // `status` and `clock` are called while rendering, on the caller's thread; `clock` outlives this.
  Metrics(StatusSource status, const Clock& clock);
  Metrics(const Metrics&) = delete;
  Metrics(Metrics&&) = delete;
  Metrics& operator=(const Metrics&) = delete;
  Metrics& operator=(Metrics&&) = delete;
  ~Metrics();

  void observe_reconcile(Duration duration);
  void count_error(std::string_view operation);  // name_of(act), "store", "reload"…
  void count_repair(std::string_view object);    // "route", "peer", "device"…
  void count_operations(std::size_t operations);
  void count_store_events(std::size_t changes);
  void count_store_went_back();
  void count_downgrade(std::string_view cause);  // a peer that was encrypted is so no more

  std::string render() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace mesh
