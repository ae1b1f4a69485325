// Node objects of the API, as a test's hands write them.
#pragma once

#include <nlohmann/json.hpp>

#include "mesh/node_record.h"

namespace mesh::testing {

inline nlohmann::json node_addresses(const NodeRecord& record) {
  nlohmann::json addresses = nlohmann::json::array();
  for (const IpAddress& address : record.addresses)
    addresses.push_back({{"type", "InternalIP"}, {"address", address.to_string()}});
  return addresses;
}

// The Node that stands for `record`.
inline nlohmann::json node_object(const NodeRecord& record) {
  nlohmann::json spec = nlohmann::json::object();
  for (const Cidr& cidr : record.cidrs) spec["podCIDRs"].push_back(cidr.to_string());
  if (!record.cidrs.empty()) spec["podCIDR"] = record.cidrs.front().to_string();
  return {{"apiVersion", "v1"},
          {"kind", "Node"},
          {"metadata",
           {{"name", record.name}, {"labels", record.labels}, {"annotations", record.annotations}}},
          {"spec", spec},
          {"status", {{"addresses", node_addresses(record)}}}};
}

}  // namespace mesh::testing
