// One peer in full, and the graph.
#include <fmt/ranges.h>

#include <iterator>

#include "core/status_render.h"
#include "core/text.h"

namespace mesh {
namespace {

template <class T>
std::string listed(const std::vector<T>& values) {
  std::string out;
  for (const T& value : values) {
    if (!out.empty()) out += ", ";
    out += value.to_string();
  }
  return out.empty() ? "none" : out;
}

std::string counted(std::uint64_t bytes) {
  return bytes < 1024 ? format_bytes(bytes) : fmt::format("{} ({})", format_bytes(bytes), bytes);
}

std::string moment(const std::optional<WallTime>& time, WallTime now) {
  return time ? fmt::format("{} ({})", format_time(*time), format_age(time, now)) : "never";
}

std::string reason_line(const PeerStatus& peer) {
  const std::string words = reason_in_words(peer);
  const std::string_view word = to_string(peer.reason);
  if (words.empty()) return "none";
  return word.empty() ? words : fmt::format("{} ({})", words, word);
}

std::string downgrade_line(const Downgrade& downgrade, WallTime now) {
  return fmt::format("was encrypted until {}: {}{}", moment(downgrade.since, now),
                     explain(downgrade.cause),
                     downgrade.allowed ? "; an operator has allowed it" : "");
}

// "1400", "1400 (it answers no echo requests now)", "not measured yet".
std::string path_mtu_line(const PeerStatus& peer) {
  if (!peer.path_mtu) return peer.mtu_reason.empty() ? "not measured" : peer.mtu_reason;
  return fmt::format("{}{}", *peer.path_mtu,
                     peer.mtu_reason.empty() ? "" : " (" + peer.mtu_reason + ")");
}

// A quoted string of DOT: in labels a backslash starts an escape.
std::string dot_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : escape_controls(text)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string_view edge_style(State state) {
  switch (state) {
    case State::kEncrypted:
      return "color=green";
    case State::kDegraded:
      return "color=orange";
    case State::kPending:
      return "color=grey, style=dashed";
    case State::kPlaintext:
      return "color=red";
    case State::kBlocked:
      return "color=black, style=dotted";
  }
  return "";
}

}  // namespace

std::string render_peer(const PeerStatus& peer, WallTime now) {
  std::string out;
  const auto line = [&out](std::string_view key, std::string_view value) {
    fmt::format_to(std::back_inserter(out), "{:<20} {}\n", fmt::format("{}:", key),
                   escape_controls(value));
  };
  line("node", peer.node);
  line("state", to_string(peer.state));
  line("reason", reason_line(peer));
  line("path", to_string(peer.path));
  line("since", moment(peer.since, now));
  line("mode of the pair", to_string(peer.mode));
  line("policy", peer.policy.empty() ? "none: the nodes' own modes decide" : peer.policy);
  if (!peer.unreadable_policy.empty())
    line("unreadable policy",
         peer.unreadable_policy + " might come first: the pair becomes no weaker than it is");
  line("its backend", peer.backend ? to_string(*peer.backend) : "not published");
  line("public key", peer.public_key ? peer.public_key->to_base64() : "none");
  line("endpoint", peer.endpoint ? peer.endpoint->to_string() : "none");
  line("addresses", listed(peer.addresses));
  line("cidrs", listed(peer.cidrs));
  for (const auto& [key, value] : peer.labels) line("label", fmt::format("{}={}", key, value));
  line("path mtu", path_mtu_line(peer));
  if (peer.mtu) line("mtu", fmt::format("{} inside the tunnel", *peer.mtu));
  line("last handshake", moment(peer.last_handshake, now));
  line("wireguard received", counted(peer.rx_bytes));
  line("wireguard sent", counted(peer.tx_bytes));
  line("plaintext received", counted(peer.plaintext_rx_bytes));
  line("plaintext sent", counted(peer.plaintext_tx_bytes));
  if (peer.pinned_bytes != 0)
    line("of it pinned", counted(peer.pinned_bytes) + " by masqueraded connections");
  line("dropped", counted(peer.dropped_bytes));
  line("foreign source", counted(peer.foreign_source_bytes));
  if (peer.downgrade) line("downgrade", downgrade_line(*peer.downgrade, now));
  for (const std::string& warning : peer.warnings) line("warning", warning);
  return out;
}

std::string render_graph(const Status& status) {
  std::string out = "graph mesh {\n";
  const std::string self = dot_string(status.node);
  fmt::format_to(std::back_inserter(out), "  {} [shape=box];\n", self);
  for (const PeerStatus& peer : status.peers) {
    std::string label(to_string(peer.state));
    if (const std::string words = reason_in_words(peer); !words.empty()) label += ": " + words;
    fmt::format_to(std::back_inserter(out), "  {} -- {} [{}, label={}];\n", self,
                   dot_string(peer.node), edge_style(peer.state), dot_string(label));
  }
  return out + "}\n";
}

}  // namespace mesh
