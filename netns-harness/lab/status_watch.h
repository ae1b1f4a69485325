// StatusWatch: what every node says of its peers, sampled all the time by a thread of its own.
//
// It asks over HTTP inside each node's namespace: about a millisecond a sample and no process, so
// that short states are seen. A node that does not answer gives no sample. Any thread may ask.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "lab/lab.h"

namespace mesh::lab {

// One GET of /v1/status on 127.0.0.1:9586 of the namespace; nothing when no meshd answers in time.
std::optional<nlohmann::json> fetch_status(const NetworkNamespace& network,
                                           milliseconds timeout = milliseconds(500));
// Whether /readyz answers that it is.
bool is_ready(const NetworkNamespace& network, milliseconds timeout = milliseconds(500));

struct PeerView {
  std::string state;
  std::string reason;
  std::string path;
  friend bool operator==(const PeerView&, const PeerView&) = default;
};

struct StatusSample {
  Clock::time_point at;
  std::map<std::string, PeerView> peers;
  std::uint64_t repairs = 0;
  bool in_sync = false;
};

class StatusWatch {
 public:
  using Listener = std::function<void(const std::string& node, const StatusSample&)>;
  // `listener` is called on the watch's thread for every sample. `lab` must outlive the watch.
  StatusWatch(Lab& lab, milliseconds interval, Listener listener = {});
  ~StatusWatch();
  StatusWatch(const StatusWatch&) = delete;
  StatusWatch& operator=(const StatusWatch&) = delete;

  // Forgets which states were seen.
  void forget();
  // The states in which `node` showed `peer` since then, in order, repetitions left out:
  // "encrypted", "degraded (handshaking)"; "-" where it did not list the peer.
  [[nodiscard]] std::vector<std::string> seen(const std::string& node,
                                              const std::string& peer) const;
  // The newest sample of a node, nothing when it has none or did not answer when last asked.
  [[nodiscard]] std::optional<StatusSample> latest(const std::string& node) const;

 private:
  void work();
  void take(const std::string& node, const std::optional<nlohmann::json>& status);

  Lab& lab_;
  milliseconds interval_;
  Listener listener_;
  std::atomic<bool> ending_{false};
  mutable std::mutex mutex_;
  std::map<std::string, std::optional<StatusSample>> latest_;
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> seen_;
  std::thread thread_;
};

}  // namespace mesh::lab
