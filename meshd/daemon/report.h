// Report: what the daemon says of itself, from what it knows. Pure but for its inputs; loop thread.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/mesh_model.h"
#include "core/mirror.h"
#include "core/status.h"
#include "meshd/daemon/config.h"
#include "meshd/daemon/path_prober.h"
#include "meshd/daemon/silent_nodes.h"
#include "meshd/daemon/traffic.h"

namespace mesh {

struct ReportInputs {
  const Config& config;
  const MeshModel& model;
  const Mirror& mirror;
  const Traffic& traffic;
  std::string backend_reason;
  StoreStatus store;
  std::uint64_t repairs = 0;
  WallTime now{};
  WallTime key_created{};
  std::string error;
  std::vector<std::string> warnings;
  std::string version;
  DrainStatus drain = {};
  std::optional<WallTime> counters_read = {};
  std::set<std::string> diverted = {};  // nodes whose packets another's rule leads past the mesh
  // Nodes to which bytes leave unencrypted although they are sent to through WireGuard.
  std::map<std::string, std::uint64_t> leaking = {};
  const PathProber* paths = nullptr;
  const SilentNodes* silent_nodes = nullptr;
};

Status make_status(const ReportInputs& inputs);

}  // namespace mesh
