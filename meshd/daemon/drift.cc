#include "meshd/daemon/drift.h"

#include <algorithm>
#include <map>
#include <utility>

#include "meshd/daemon/log.h"

namespace mesh {
namespace {

// The kind of object an operation repairs, for the metric.
std::string_view object_of(const Act& act) {
  struct Object {
    std::string_view operator()(const ConfigureDevice&) const { return "device"; }
    std::string_view operator()(const ConfigureLink&) const { return "link"; }
    std::string_view operator()(const AddAddress&) const { return "address"; }
    std::string_view operator()(const RemoveAddress&) const { return "address"; }
    std::string_view operator()(const SetLinkSysctl&) const { return "sysctl"; }
    std::string_view operator()(const PutRule&) const { return "rule"; }
    std::string_view operator()(const RemoveRule&) const { return "rule"; }
    std::string_view operator()(const InstallRuleset&) const { return "nftables"; }
    std::string_view operator()(const ChangePeer&) const { return "peer"; }
    std::string_view operator()(const PutRoute&) const { return "route"; }
    std::string_view operator()(const RemoveRoute&) const { return "route"; }
    std::string_view operator()(const PutElement&) const { return "nftables"; }
    std::string_view operator()(const RemoveElement&) const { return "nftables"; }
  };
  return std::visit(Object{}, act);
}

}  // namespace

void Drift::note(std::set<std::string> kinds, const Touched& touched) {
  kinds_.merge(kinds);
  touched_.merge(touched);
}

void Drift::forget() {
  kinds_.clear();
  touched_ = Touched();
  touched_.everything = false;
}

void Drift::count(const Desired& desired, const Mirror& mirror, const HeldBack& held,
                  PlanLimits limits, bool device_is_new) {
  if (kinds_.empty()) return;
  std::map<std::string_view, std::size_t> found;
  if (held.nftables_missing()) limits.nftables = false;  // what never was there was not taken
  if (kinds_.contains("device")) {
    found["device"] = 1;
  } else if (!device_is_new) {
    for (const Operation& operation : make_plan(desired, mirror, touched_, {}, limits))
      if (!held.holds(operation)) ++found[object_of(operation.act)];
    if (!mirror.ruleset_installed() && found.contains("nftables")) found["nftables"] = 1;
  }
  if (kinds_.contains("address")) found.erase("route");
  for (const auto& [object, count] : found) repaired(object, count);
}

void Drift::count_foreign_peers(const std::set<PublicKey>& keys) {
  const auto fresh = static_cast<std::size_t>(std::count_if(
      keys.begin(), keys.end(), [&](const PublicKey& key) { return !foreign_.contains(key); }));
  foreign_ = keys;
  if (fresh != 0) repaired("peer", fresh);
}

void Drift::repaired(std::string_view object, std::size_t count) {
  log::warn("somebody else changed what meshd had set; repairing it",
            {{"object", std::string(object)}, {"count", std::to_string(count)}});
  repairs_ += count;
  for (std::size_t i = 0; i < count; ++i) metrics_.count_repair(object);
}

}  // namespace mesh
