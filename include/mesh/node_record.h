// NodeRecord: what the store says of one node; the same value whatever the store. Any thread (a
// value).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "mesh/ip.h"
#include "mesh/result.h"

namespace mesh {

// Annotation keys of the contract.
inline constexpr std::string_view kAnnotationPrefix = "meshd.io/";
inline constexpr std::string_view kPublicKeyAnnotation = "meshd.io/wireguard-public-key";
inline constexpr std::string_view kEndpointAnnotation = "meshd.io/wireguard-endpoint";
inline constexpr std::string_view kSupportAnnotation = "meshd.io/wireguard-support";
inline constexpr std::string_view kModeAnnotation = "meshd.io/encryption-mode";
inline constexpr std::string_view kHostTrafficAnnotation = "meshd.io/host-traffic";

// Limits that keep one hostile record from costing more than itself.
inline constexpr std::size_t kMaxRecordBytes = std::size_t{1} << 20;  // contract: larger is refused
inline constexpr std::size_t kMaxNameBytes = 253;                     // RFC 1123 subdomain

struct NodeRecord {
  std::string name;
  std::vector<IpAddress> addresses;  // underlay addresses, in the order of the record
  std::vector<Cidr> cidrs;           // workload prefixes
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  // Entries of `addresses` and `cidrs` that could not be read; each names the field, its index, the
  // text and the cause. They cost that entry, not the record.
  std::vector<std::string> problems;

  friend bool operator==(const NodeRecord&, const NodeRecord&) = default;
};

// Why a name is not an RFC 1123 subdomain (lower-case letters, digits, '-', '.'; at most 253 bytes;
// each label starts and ends with a letter or digit), or no value when it is one. The name becomes
// a file name and an etcd key: checked before use.
Result<void> check_node_name(std::string_view name);

}  // namespace mesh
