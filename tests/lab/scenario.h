// What the scenarios of meshd share: topologies, and waiting for what the contract promises.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lab/fixture.h"

namespace mesh::lab {

struct Topology {
  std::string name;
  Families underlay;
  Families workloads;
};

inline const std::vector<Topology>& topologies() {
  static const std::vector<Topology> all{
      {"Ipv4", Families::kIpv4, Families::kIpv4},
      {"Ipv6", Families::kIpv6, Families::kIpv6},
      {"Dual", Families::kDual, Families::kDual},
      {"DualOverIpv6Underlay", Families::kIpv6, Families::kDual},
  };
  return all;
}

class MeshTest : public LabTest {
 protected:
  // Until the contract's state is seen; the patience of the lab scales it under emulation.
  static testing::AssertionResult becomes(Node& node, const std::string& peer,
                                          const std::string& state,
                                          milliseconds timeout = milliseconds(5000)) {
    if (node.wait_for_state(peer, state, timeout)) return testing::AssertionSuccess();
    return testing::AssertionFailure()
           << node.name() << " sees " << peer << " as " << node.state_of(peer) << " ("
           << node.reason_of(peer) << "), not " << state;
  }
  static testing::AssertionResult becomes_reason(Node& node, const std::string& peer,
                                                 const std::string& state,
                                                 const std::string& reason,
                                                 milliseconds timeout = milliseconds(5000)) {
    if (wait_until([&] { return node.state_of(peer) == state && node.reason_of(peer) == reason; },
                   timeout))
      return testing::AssertionSuccess();
    return testing::AssertionFailure()
           << node.name() << " sees " << peer << " as " << node.state_of(peer) << " ("
           << node.reason_of(peer) << "), not " << state << " (" << reason << ")";
  }
  testing::AssertionResult all_encrypted(std::vector<std::string> names = {}) {
    if (lab().wait_all_encrypted(std::move(names), milliseconds(5000)))
      return testing::AssertionSuccess();
    return testing::AssertionFailure() << "not every pair became encrypted";
  }
  // Whether `peer`'s warnings, as `node` shows them, mention `text`.
  static bool warns(Node& node, const std::string& peer, const std::string& text) {
    return wait_until(
        [&] {
          const auto status = node.peer(peer);
          return !status.is_null() && status["warnings"].dump().find(text) != std::string::npos;
        },
        milliseconds(5000));
  }
};

class MeshTopologies : public MeshTest, public testing::WithParamInterface<Topology> {
 protected:
  Lab& make_mesh(int nodes, const std::string& backend = "auto") {
    LabSpec spec;
    spec.nodes = numbered_nodes(nodes);
    spec.underlay = GetParam().underlay;
    spec.workloads = GetParam().workloads;
    spec.backend = backend;
    return make(std::move(spec));
  }
};

inline LabSpec dual(int nodes) {
  LabSpec spec;
  spec.nodes = numbered_nodes(nodes);
  return spec;
}

}  // namespace mesh::lab
