// The schema meshd.status/v1 as text; status_reader.cc reads it back.
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

Json downgrade_or_null(const std::optional<Downgrade>& downgrade) {
  if (!downgrade) return nullptr;
  return {{"since", format_time(downgrade->since)},
          {"cause", to_string(downgrade->cause)},
          {"allowed", downgrade->allowed}};
}

Json went_back_or_null(const std::optional<StoreWentBack>& went_back) {
  if (!went_back) return nullptr;
  return {{"at", format_time(went_back->at)}, {"why", went_back->why}};
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

}  // namespace mesh
