#include "meshd/daemon/metrics.h"

#include <prometheus/client_metric.h>
#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <iterator>
#include <utility>
#include <vector>

namespace mesh {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

double in_seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

// One family that is rendered from Status.
class Family {
 public:
  Family(std::string name, std::string help, MetricType type)
      : family_{std::move(name), std::move(help), type, {}} {}

  void add(Labels labels, double value) {
    ClientMetric& metric = family_.metric.emplace_back();
    metric.label = std::move(labels);
    if (family_.type == MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
  }
  MetricFamily take() { return std::move(family_); }

 private:
  MetricFamily family_;
};

MetricFamily peers_by_state(const Status& status) {
  Family family("meshd_peers", "Peers of this node, by state.", MetricType::Gauge);
  const Summary summary = summarize(status);
  for (int i = 0; i < kStateCount; ++i) {
    const auto state = static_cast<State>(i);
    family.add({{"state", std::string(to_string(state))}}, static_cast<double>(summary.of(state)));
  }
  return family.take();
}

MetricFamily peer_states(const Status& status) {
  Family family("meshd_peer_state", "1 for the state the peer is in, 0 for the others.",
                MetricType::Gauge);
  for (const PeerStatus& peer : status.peers) {
    for (int i = 0; i < kStateCount; ++i) {
      const auto state = static_cast<State>(i);
      family.add({{"node", peer.node}, {"state", std::string(to_string(state))}},
                 state == peer.state ? 1 : 0);
    }
  }
  return family.take();
}

// A time, not an age, as exporters of WireGuard have it: an age would be false between two scrapes.
MetricFamily peer_handshakes(const Status& status) {
  Family family("meshd_peer_last_handshake_seconds",
                "Unix time of the last handshake with the peer, 0 before the first.",
                MetricType::Gauge);
  for (const PeerStatus& peer : status.peers)
    family.add({{"node", peer.node}},
               peer.last_handshake ? in_seconds(peer.last_handshake->time_since_epoch()) : 0.0);
  return family.take();
}

MetricFamily peer_downgrades(const Status& status) {
  Family family("meshd_peer_downgraded",
                "1 while a peer that was encrypted is so no more by what its record says, unless "
                "an operator has allowed it.",
                MetricType::Gauge);
  for (const PeerStatus& peer : status.peers)
    family.add({{"node", peer.node}}, peer.downgrade && !peer.downgrade->allowed ? 1 : 0);
  return family.take();
}

// Where a count of bytes, and that of the packets, stands in PeerStatus.
struct Flow {
  const char* direction;
  Path path;
  std::uint64_t PeerStatus::*bytes;
  std::uint64_t PeerStatus::*packets;
};
constexpr std::array<Flow, 6> kFlows{
    {{"rx", Path::kWireguard, &PeerStatus::rx_bytes, &PeerStatus::rx_packets},
     {"tx", Path::kWireguard, &PeerStatus::tx_bytes, &PeerStatus::tx_packets},
     {"rx", Path::kPlaintext, &PeerStatus::plaintext_rx_bytes, &PeerStatus::plaintext_rx_packets},
     {"tx", Path::kPlaintext, &PeerStatus::plaintext_tx_bytes, &PeerStatus::plaintext_tx_packets},
     {"rx", Path::kDrop, &PeerStatus::dropped_rx_bytes, &PeerStatus::dropped_rx_packets},
     {"tx", Path::kDrop, &PeerStatus::dropped_tx_bytes, &PeerStatus::dropped_tx_packets}}};

MetricFamily peer_flows(const Status& status, std::string name, std::string help,
                        std::uint64_t PeerStatus::*Flow::*what) {
  Family family(std::move(name), std::move(help), MetricType::Counter);
  for (const PeerStatus& peer : status.peers)
    for (const Flow& flow : kFlows)
      family.add({{"node", peer.node},
                  {"direction", flow.direction},
                  {"path", std::string(to_string(flow.path))}},
                 static_cast<double>(peer.*(flow.*what)));
  return family.take();
}

MetricFamily peer_foreign_source(const Status& status) {
  Family family("meshd_peer_foreign_source_bytes_total",
                "Bytes sent to the peer unencrypted because their source is in no record of this "
                "node.",
                MetricType::Counter);
  for (const PeerStatus& peer : status.peers)
    family.add({{"node", peer.node}}, static_cast<double>(peer.foreign_source_bytes));
  return family.take();
}

MetricFamily single(std::string name, std::string help, Labels labels, double value) {
  Family family(std::move(name), std::move(help), MetricType::Gauge);
  family.add(std::move(labels), value);
  return family.take();
}

void append_status(const Status& status, WallTime now, std::vector<MetricFamily>& out) {
  out.push_back(single(
      "meshd_build_info", "1; the labels say what runs.",
      {{"version", status.version}, {"backend", std::string(to_string(status.backend))}}, 1));
  out.push_back(single("meshd_store_in_sync",
                       "1 when the store answers and all it holds is known, else 0.", {},
                       status.store.in_sync ? 1 : 0));
  out.push_back(single("meshd_policies", "Encryption policies in force.", {},
                       static_cast<double>(status.policies)));
  out.push_back(single("meshd_refused_policies",
                       "Encryption policies in the store that cannot be read.", {},
                       static_cast<double>(status.refused_policies.size())));
  if (status.key_created)
    out.push_back(single("meshd_key_age_seconds", "Age of this node's private key.", {},
                         in_seconds(now - *status.key_created)));
  out.push_back(peers_by_state(status));
  out.push_back(peer_states(status));
  out.push_back(peer_handshakes(status));
  out.push_back(peer_downgrades(status));
  out.push_back(peer_flows(status, "meshd_peer_bytes_total",
                           "Bytes exchanged with the peer, by direction (rx, tx) and path "
                           "(wireguard, plaintext, drop).",
                           &Flow::bytes));
  out.push_back(peer_flows(status, "meshd_peer_packets_total",
                           "Packets exchanged with the peer, by direction and path; through "
                           "WireGuard, those inside.",
                           &Flow::packets));
  out.push_back(peer_foreign_source(status));
}

}  // namespace

struct Metrics::Parts {
  Parts(StatusSource status_source, const Clock& clock_in)
      : status(std::move(status_source)),
        clock(clock_in),
        reconcile(
            prometheus::BuildHistogram()
                .Name("meshd_reconcile_duration_seconds")
                .Help("Duration of one reconcile pass.")
                .Register(registry)
                .Add({}, prometheus::Histogram::BucketBoundaries{0.0001, 0.0005, 0.001, 0.005, 0.01,
                                                                 0.05, 0.1, 0.5, 1, 5, 10})),
        errors(prometheus::BuildCounter()
                   .Name("meshd_reconcile_errors_total")
                   .Help("Operations that failed, by operation.")
                   .Register(registry)),
        repairs(prometheus::BuildCounter()
                    .Name("meshd_repairs_total")
                    .Help("Objects put right after somebody else changed them, by object.")
                    .Register(registry)),
        operations(prometheus::BuildCounter()
                       .Name("meshd_kernel_operations_total")
                       .Help("Changes of the kernel that meshd made or tried.")
                       .Register(registry)
                       .Add({})),
        downgrades(prometheus::BuildCounter()
                       .Name("meshd_peer_downgrades_total")
                       .Help("Peers that were encrypted and by their record are so no more, by "
                             "cause.")
                       .Register(registry)),
        store_events(prometheus::BuildCounter()
                         .Name("meshd_store_events_total")
                         .Help("Changes of records that the store delivered.")
                         .Register(registry)
                         .Add({})),
        store_went_back(prometheus::BuildCounter()
                            .Name("meshd_store_went_back_total")
                            .Help("How often the store held an earlier state than before: emptied, "
                                  "or restored from a backup.")
                            .Register(registry)
                            .Add({})) {}

  StatusSource status;
  const Clock& clock;
  prometheus::Registry registry;
  prometheus::Histogram& reconcile;
  prometheus::Family<prometheus::Counter>& errors;
  prometheus::Family<prometheus::Counter>& repairs;
  prometheus::Counter& operations;
  prometheus::Family<prometheus::Counter>& downgrades;
  prometheus::Counter& store_events;
  prometheus::Counter& store_went_back;
};

Metrics::Metrics(StatusSource status, const Clock& clock)
    : parts_(std::make_unique<Parts>(std::move(status), clock)) {}
Metrics::~Metrics() = default;

void Metrics::observe_reconcile(Duration duration) {
  parts_->reconcile.Observe(in_seconds(duration));
}

// Add() gives the counter that is there for labels that are known.
void Metrics::count_error(std::string_view operation) {
  parts_->errors.Add({{"operation", std::string(operation)}}).Increment();
}

void Metrics::count_repair(std::string_view object) {
  parts_->repairs.Add({{"object", std::string(object)}}).Increment();
}

void Metrics::count_downgrade(std::string_view cause) {
  parts_->downgrades.Add({{"cause", std::string(cause)}}).Increment();
}

void Metrics::count_operations(std::size_t operations) {
  parts_->operations.Increment(static_cast<double>(operations));
}

void Metrics::count_store_events(std::size_t changes) {
  parts_->store_events.Increment(static_cast<double>(changes));
}

void Metrics::count_store_went_back() { parts_->store_went_back.Increment(); }

std::string Metrics::render() const {
  std::vector<MetricFamily> families = parts_->registry.Collect();
  if (const std::shared_ptr<const Status> status = parts_->status())
    append_status(*status, parts_->clock.now().wall, families);
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace mesh
