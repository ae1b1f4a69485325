// The schema meshd.status/v1 as text, and back.
#include "core/status.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

namespace mesh {
namespace {

using Json = nlohmann::ordered_json;

Json time_or_null(const std::optional<WallTime>& time) {
  return time ? Json(format_time(*time)) : Json(nullptr);
}

Json number_or_null(const std::optional<std::uint32_t>& number) {
  return number ? Json(*number) : Json(nullptr);
}

template <class T>
Json strings(const std::vector<T>& values) {
  Json list = Json::array();
  for (const T& value : values) list.push_back(value.to_string());
  return list;
}

Json summary_of(const Status& status) {
  const Summary summary = summarize(status);
  Json counts = {{"peers", summary.peers}};
  for (int i = 0; i < kStateCount; ++i) {
    const auto state = static_cast<State>(i);
    counts[std::string(to_string(state))] = summary.of(state);
  }
  return counts;
}

// Reads fields of one object. The first field that cannot be right is kept as the error and later
// reads are harmless, so that a reader is a plain list of fields.
class Fields {
 public:
  Fields(const Json& object, std::string place, Result<void>& outcome)
      : object_(object), place_(std::move(place)), outcome_(outcome) {
    if (!object_.is_object()) fail("", "must be an object");
  }

  void read(const char* name, std::string& out) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_string()) return fail(name, "must be a string");
    out = value->get<std::string>();
  }

  void read(const char* name, bool& out) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_boolean()) return fail(name, "must be true or false");
    out = value->get<bool>();
  }

  template <std::unsigned_integral T>
  void read(const char* name, T& out) {
    const Json* value = find(name);
    if (value == nullptr) return;
    // Negative numbers are "integer" but not "unsigned" to the parser, larger ones are floats.
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() > std::numeric_limits<T>::max())
      return fail(name, "must be a whole number that fits");
    out = value->get<T>();
  }

  template <class T>
  void read(const char* name, std::optional<T>& out) {
    if (find(name) == nullptr) return;
    T value{};
    read(name, value);
    out = value;
  }

  void read(const char* name, std::vector<std::string>& out) {
    each(name, [&](const std::string& text) -> Result<void> {
      out.push_back(text);
      return {};
    });
  }

  void read(const char* name, std::map<std::string, std::string>& out) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_object()) return fail(name, "must be an object");
    for (const auto& [key, text] : value->items()) {
      if (!text.is_string()) return fail(name, "must hold strings");
      out[key] = text.get<std::string>();
    }
  }

  // A text that `parse` turns into a value; "" and null leave `out` as it is.
  template <class T, class Parse>
  void read(const char* name, T& out, Parse parse) {
    std::string text;
    read(name, text);
    if (text.empty()) return;
    auto value = parse(text);
    if (!value) return fail(name, message_of(value));
    out = *std::move(value);
  }

  template <class T, class Parse>
  void read_list(const char* name, std::vector<T>& out, Parse parse) {
    each(name, [&](const std::string& text) -> Result<void> {
      auto value = parse(text);
      if (!value) return std::move(value).error();
      out.push_back(*std::move(value));
      return {};
    });
  }

  // Calls `visit(element, place)` for each element of an array.
  template <class Visit>
  void visit(const char* name, Visit visit_element) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_array()) return fail(name, "must be an array");
    for (std::size_t i = 0; i < value->size() && outcome_; ++i)
      visit_element((*value)[i], fmt::format("{}{}[{}]", prefix(), name, i));
  }

  const Json* find(const char* name) const {
    if (!outcome_ || !object_.is_object()) return nullptr;
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  void require(const char* name) {
    if (outcome_ && find(name) == nullptr) fail(name, "is missing");
  }

  void fail(std::string_view name, std::string_view why) {
    if (!outcome_) return;
    const std::string field = name.empty() ? place_ : fmt::format("{}{}", prefix(), name);
    outcome_ = make_error(ErrorCode::kInvalid, "status{}{}: {}", field.empty() ? "" : " field ",
                          field, why);
  }

 private:
  template <class T>
  static std::string_view message_of(const Result<T>& result) {
    return result.error().message;
  }
  template <class T>
  static std::string_view message_of(const std::optional<T>&) {
    return "is a word this program does not know";
  }

  template <class Take>
  void each(const char* name, Take take) {
    visit(name, [&](const Json& element, const std::string& place) {
      if (!element.is_string()) {
        fail(name, "must hold strings");
      } else if (Result<void> taken = take(element.get<std::string>()); !taken) {
        outcome_ = std::move(taken).error().at("status field " + place);
      }
    });
  }

  std::string prefix() const { return place_.empty() ? "" : place_ + "."; }

  const Json& object_;
  std::string place_;  // "peers[3]"; "" at the top
  Result<void>& outcome_;
};

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

Json downgrade_or_null(const std::optional<Downgrade>& downgrade) {
  if (!downgrade) return nullptr;
  return {{"since", format_time(downgrade->since)},
          {"cause", to_string(downgrade->cause)},
          {"allowed", downgrade->allowed}};
}

StoreWentBack read_went_back(const Json& object, Result<void>& outcome) {
  StoreWentBack went_back;
  Fields fields(object, "store.wentBack", outcome);
  fields.read("at", went_back.at, parse_time);
  fields.read("why", went_back.why);
  return went_back;
}

Json went_back_or_null(const std::optional<StoreWentBack>& went_back) {
  if (!went_back) return nullptr;
  return {{"at", format_time(went_back->at)}, {"why", went_back->why}};
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

std::string_view to_string(DrainPhase phase) {
  switch (phase) {
    case DrainPhase::kNo:
      return "";
    case DrainPhase::kLeaving:
      return "leaving";
    case DrainPhase::kLeft:
      return "left";
  }
  return "";
}

Summary summarize(const Status& status) {
  Summary summary;
  summary.peers = status.peers.size();
  for (const PeerStatus& peer : status.peers)
    ++summary.by_state[static_cast<std::size_t>(peer.state)];
  return summary;
}

const PeerStatus* find_peer(const Status& status, std::string_view node) {
  const auto found = std::ranges::find(status.peers, node, &PeerStatus::node);
  return found == status.peers.end() ? nullptr : &*found;
}

Json to_json(const PeerStatus& peer) {
  return {{"node", peer.node},
          {"state", to_string(peer.state)},
          {"reason", to_string(peer.reason)},
          {"path", to_string(peer.path)},
          {"since", format_time(peer.since)},
          {"publicKey", peer.public_key ? peer.public_key->to_base64() : ""},
          {"endpoint", peer.endpoint ? peer.endpoint->to_string() : ""},
          {"cidrs", strings(peer.cidrs)},
          {"alive", peer.alive ? Json(*peer.alive) : Json()},
          {"silentSince", time_or_null(peer.silent_since)},
          {"lastHandshake", time_or_null(peer.last_handshake)},
          {"rxBytes", peer.rx_bytes},
          {"txBytes", peer.tx_bytes},
          {"plaintextRxBytes", peer.plaintext_rx_bytes},
          {"plaintextTxBytes", peer.plaintext_tx_bytes},
          {"droppedBytes", peer.dropped_bytes},
          {"foreignSourceBytes", peer.foreign_source_bytes},
          {"hostPath", to_string(peer.host_path)},
          {"warnings", peer.warnings},
          {"detail", peer.detail},
          {"mode", to_string(peer.mode)},
          {"policy", peer.policy},
          {"unreadablePolicy", peer.unreadable_policy},
          {"backend", peer.backend ? to_string(*peer.backend) : ""},
          {"addresses", strings(peer.addresses)},
          {"labels", peer.labels},
          {"rxPackets", peer.rx_packets},
          {"txPackets", peer.tx_packets},
          {"plaintextRxPackets", peer.plaintext_rx_packets},
          {"plaintextTxPackets", peer.plaintext_tx_packets},
          {"pinnedBytes", peer.pinned_bytes},
          {"pinnedPackets", peer.pinned_packets},
          {"droppedRxBytes", peer.dropped_rx_bytes},
          {"droppedTxBytes", peer.dropped_tx_bytes},
          {"droppedRxPackets", peer.dropped_rx_packets},
          {"droppedTxPackets", peer.dropped_tx_packets},
          {"foreignSourcePackets", peer.foreign_source_packets},
          {"pathMtu", number_or_null(peer.path_mtu)},
          {"mtu", number_or_null(peer.mtu)},
          {"mtuReason", peer.mtu_reason},
          {"downgrade", downgrade_or_null(peer.downgrade)}};
}

Json to_json(const Status& status) {
  Json refused = Json::array();
  for (const RefusedRecord& record : status.refused_records)
    refused.push_back({{"node", record.node}, {"message", record.message}});
  Json refused_policies = Json::array();
  for (const RefusedPolicyStatus& policy : status.refused_policies)
    refused_policies.push_back({{"policy", policy.policy},
                                {"message", policy.message},
                                {"earlierInForce", policy.earlier_in_force}});
  Json peers = Json::array();
  for (const PeerStatus& peer : status.peers) peers.push_back(to_json(peer));
  return {
      {"schema", kStatusSchema},
      {"node", status.node},
      {"version", status.version},
      {"backend", to_string(status.backend)},
      {"backendReason", status.backend_reason},
      {"interface", status.interface},
      {"addresses", strings(status.addresses)},
      {"cidrs", strings(status.cidrs)},
      {"publicKey", status.public_key ? status.public_key->to_base64() : ""},
      {"keyCreated", time_or_null(status.key_created)},
      {"listenPort", status.listen_port},
      {"mode", to_string(status.mode)},
      {"store",
       {{"type", status.store.type},
        {"inSync", status.store.in_sync},
        {"lastChange", time_or_null(status.store.last_change)},
        {"error", status.store.error},
        {"snapshot", time_or_null(status.store.snapshot)},
        {"wentBack", went_back_or_null(status.store.went_back)}}},
      {"summary", summary_of(status)},
      {"repairs", status.repairs},
      {"drain", {{"phase", to_string(status.drain.phase)}, {"waitsFor", status.drain.waits_for}}},
      {"hostTraffic",
       {{"covered", status.host_traffic.covered}, {"exemptions", status.host_traffic.exemptions}}},
      {"countersRead",
       status.counters_read ? Json(format_time_exactly(*status.counters_read)) : Json(nullptr)},
      {"lastReconcile", time_or_null(status.last_reconcile)},
      {"error", status.error},
      {"warnings", status.warnings},
      {"refusedRecords", std::move(refused)},
      {"policies", status.policies},
      {"refusedPolicies", std::move(refused_policies)},
      {"peers", std::move(peers)}};
}

std::string to_json_text(const Status& status, int indent) {
  return to_json(status).dump(indent, ' ', false, Json::error_handler_t::replace);
}

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
