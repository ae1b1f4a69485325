// The schema meshd.status/v1, read.
#include <nlohmann/json.hpp>

#include "core/json_fields.h"
#include "core/status.h"

namespace mesh {
namespace {

using Json = nlohmann::ordered_json;

Result<Json> parse_json(std::string_view text) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    return make_error(ErrorCode::kInvalid, "status is not JSON: broken at byte {} of {}",
                      error.byte, text.size());
  } catch (const Json::exception&) {  // a number too large for any type
    return make_error(ErrorCode::kInvalid, "status is not JSON: a number is out of range");
  }
}

std::optional<Path> parse_path(std::string_view text) {
  for (const Path path : {Path::kWireguard, Path::kPlaintext, Path::kDrop})
    if (to_string(path) == text) return path;
  return std::nullopt;
}

std::optional<Backend> parse_backend(std::string_view text) {
  for (const Backend backend : {Backend::kNone, Backend::kKernel, Backend::kUserspace})
    if (to_string(backend) == text) return backend;
  return std::nullopt;
}

Downgrade read_downgrade(const Json& object, const std::string& place, Result<void>& outcome) {
  Downgrade downgrade;
  Fields fields(object, place.empty() ? "downgrade" : place + ".downgrade", outcome);
  fields.read("since", downgrade.since, parse_time);
  std::string cause;
  fields.read("cause", cause);
  downgrade.cause = parse_reason(cause).value_or(Reason::kNone);
  fields.read("allowed", downgrade.allowed);
  return downgrade;
}

StoreWentBack read_went_back(const Json& object, Result<void>& outcome) {
  StoreWentBack went_back;
  Fields fields(object, "store.wentBack", outcome);
  fields.read("at", went_back.at, parse_time);
  fields.read("why", went_back.why);
  return went_back;
}

PeerStatus read_peer(const Json& object, const std::string& place, Result<void>& outcome) {
  PeerStatus peer;
  Fields fields(object, place, outcome);
  fields.require("node");
  fields.require("state");
  fields.read("node", peer.node);
  fields.read("state", peer.state, parse_state);
  fields.read("detail", peer.detail);
  std::string reason;
  fields.read("reason", reason);
  if (const auto known = parse_reason(reason)) {
    peer.reason = *known;
  } else if (peer.detail.empty()) {
    peer.detail = reason;
  }
  fields.read("path", peer.path, parse_path);
  fields.read("hostPath", peer.host_path, parse_path);
  fields.read("since", peer.since, parse_time);
  fields.read("mode", peer.mode, parse_mode);
  fields.read("policy", peer.policy);
  fields.read("unreadablePolicy", peer.unreadable_policy);
  fields.read("backend", peer.backend, parse_backend);
  fields.read("publicKey", peer.public_key, PublicKey::parse);
  fields.read("endpoint", peer.endpoint, Endpoint::parse);
  fields.read_list("addresses", peer.addresses, IpAddress::parse);
  fields.read_list("cidrs", peer.cidrs, Cidr::parse);
  fields.read("labels", peer.labels);
  fields.read("alive", peer.alive);
  fields.read("silentSince", peer.silent_since, parse_time);
  fields.read("lastHandshake", peer.last_handshake, parse_time);
  fields.read("rxBytes", peer.rx_bytes);
  fields.read("txBytes", peer.tx_bytes);
  fields.read("plaintextRxBytes", peer.plaintext_rx_bytes);
  fields.read("plaintextTxBytes", peer.plaintext_tx_bytes);
  fields.read("droppedBytes", peer.dropped_bytes);
  fields.read("foreignSourceBytes", peer.foreign_source_bytes);
  fields.read("rxPackets", peer.rx_packets);
  fields.read("txPackets", peer.tx_packets);
  fields.read("plaintextRxPackets", peer.plaintext_rx_packets);
  fields.read("plaintextTxPackets", peer.plaintext_tx_packets);
  fields.read("pinnedBytes", peer.pinned_bytes);
  fields.read("pinnedPackets", peer.pinned_packets);
  fields.read("droppedRxBytes", peer.dropped_rx_bytes);
  fields.read("droppedTxBytes", peer.dropped_tx_bytes);
  fields.read("droppedRxPackets", peer.dropped_rx_packets);
  fields.read("droppedTxPackets", peer.dropped_tx_packets);
  fields.read("foreignSourcePackets", peer.foreign_source_packets);
  fields.read("pathMtu", peer.path_mtu);
  fields.read("mtu", peer.mtu);
  fields.read("mtuReason", peer.mtu_reason);
  fields.read("warnings", peer.warnings);
  if (const Json* downgrade = fields.find("downgrade"))
    peer.downgrade = read_downgrade(*downgrade, place, outcome);
  return peer;
}

StoreStatus read_store(const Json& object, Result<void>& outcome) {
  StoreStatus store;
  Fields fields(object, "store", outcome);
  fields.read("type", store.type);
  fields.read("inSync", store.in_sync);
  fields.read("lastChange", store.last_change, parse_time);
  fields.read("error", store.error);
  fields.read("snapshot", store.snapshot, parse_time);
  if (const Json* went_back = fields.find("wentBack"))
    store.went_back = read_went_back(*went_back, outcome);
  return store;
}

std::optional<DrainPhase> parse_drain_phase(std::string_view text) {
  for (const DrainPhase phase : {DrainPhase::kNo, DrainPhase::kLeaving, DrainPhase::kLeft})
    if (to_string(phase) == text) return phase;
  return std::nullopt;
}

DrainStatus read_drain(const Json& object, Result<void>& outcome) {
  DrainStatus drain;
  Fields fields(object, "drain", outcome);
  fields.read("phase", drain.phase, parse_drain_phase);
  fields.read("waitsFor", drain.waits_for);
  return drain;
}

HostTrafficStatus read_host_traffic(const Json& object, Result<void>& outcome) {
  HostTrafficStatus status;
  Fields fields(object, "hostTraffic", outcome);
  fields.read("covered", status.covered);
  fields.read("exemptions", status.exemptions);
  return status;
}

RefusedRecord read_refused(const Json& object, const std::string& place, Result<void>& outcome) {
  RefusedRecord record;
  Fields fields(object, place, outcome);
  fields.read("node", record.node);
  fields.read("message", record.message);
  return record;
}

RefusedPolicyStatus read_refused_policy(const Json& object, const std::string& place,
                                        Result<void>& outcome) {
  RefusedPolicyStatus policy;
  Fields fields(object, place, outcome);
  fields.read("policy", policy.policy);
  fields.read("message", policy.message);
  fields.read("earlierInForce", policy.earlier_in_force);
  return policy;
}

void check_schema(Fields& fields) {
  std::string schema;
  fields.require("schema");
  fields.read("schema", schema);
  if (schema == kStatusSchema) return;
  fields.fail("schema", fmt::format("is '{:.40}', this program reads '{}': use a meshctl of the "
                                    "same version as meshd",
                                    schema, kStatusSchema));
}

Status read_status(const Json& object, Result<void>& outcome) {
  Status status;
  Fields fields(object, "", outcome);
  check_schema(fields);
  fields.require("node");
  fields.read("node", status.node);
  fields.read("version", status.version);
  fields.read("backend", status.backend, parse_backend);
  fields.read("backendReason", status.backend_reason);
  fields.read("interface", status.interface);
  fields.read_list("addresses", status.addresses, IpAddress::parse);
  fields.read_list("cidrs", status.cidrs, Cidr::parse);
  fields.read("publicKey", status.public_key, PublicKey::parse);
  fields.read("keyCreated", status.key_created, parse_time);
  fields.read("listenPort", status.listen_port);
  fields.read("mode", status.mode, parse_mode);
  if (const Json* store = fields.find("store")) status.store = read_store(*store, outcome);
  if (const Json* drain = fields.find("drain")) status.drain = read_drain(*drain, outcome);
  if (const Json* hosts = fields.find("hostTraffic"))
    status.host_traffic = read_host_traffic(*hosts, outcome);
  fields.read("repairs", status.repairs);
  fields.read("countersRead", status.counters_read, parse_time);
  fields.read("lastReconcile", status.last_reconcile, parse_time);
  fields.read("error", status.error);
  fields.read("warnings", status.warnings);
  fields.visit("refusedRecords", [&](const Json& element, const std::string& place) {
    status.refused_records.push_back(read_refused(element, place, outcome));
  });
  fields.read("policies", status.policies);
  fields.visit("refusedPolicies", [&](const Json& element, const std::string& place) {
    status.refused_policies.push_back(read_refused_policy(element, place, outcome));
  });
  fields.visit("peers", [&](const Json& element, const std::string& place) {
    status.peers.push_back(read_peer(element, place, outcome));
  });
  return status;
}

}  // namespace

Result<Status> status_from_json(std::string_view text) {
  const auto json = parse_json(text);
  if (!json) return json.error();
  Result<void> outcome;
  Status status = read_status(*json, outcome);
  if (!outcome) return std::move(outcome).error();
  return status;
}

Result<PeerStatus> peer_from_json(std::string_view text) {
  const auto json = parse_json(text);
  if (!json) return json.error();
  Result<void> outcome;
  PeerStatus peer = read_peer(*json, "", outcome);
  if (!outcome) return std::move(outcome).error();
  return peer;
}

}  // namespace mesh
