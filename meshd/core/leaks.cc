#include "core/leaks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/status_render.h"
#include "core/text.h"

namespace mesh {
namespace {

constexpr std::string_view kSchema = "meshd.leaks/v1";
constexpr std::string_view kRed = "\x1b[31m";
constexpr std::string_view kPlain = "\x1b[0m";

constexpr std::array<std::string_view, 10> kTitles{
    "NODE", "STATE",     "RATE",      "TOTAL",         "RX/S",
    "TX/S", "FOREIGN/S", "PACKETS/S", "FOREIGN TOTAL", "REASON"};
using Row = std::array<std::string, kTitles.size()>;
// Of kTitles, what the narrow table shows.
constexpr std::array<bool, kTitles.size()> kNarrow{true, true,  true,  true,  true,
                                                   true, false, false, false, true};

// A peer that is encrypted leaks for other reasons than its state's.
std::string reason_of(const PeerStatus& peer, const Leak& leak) {
  if (std::string words = reason_in_words(peer); !words.empty()) return words;
  if (leak.rate() > 0 && leak.pinned)
    return "it is encrypted; masqueraded connections keep the path they began on";
  if (leak.foreign_rate > 0 || leak.bytes() == leak.foreign_bytes)
    return "sources that are in no record of this node";
  if (leak.rate() > 0) return "it is encrypted, and packets still take the other way";
  return "none now: it is encrypted";
}

Leak leak_of(const PeerStatus* before, const PeerStatus& after, double seconds) {
  Leak leak;
  leak.node = after.node;
  leak.state = after.state;
  leak.rx_bytes = after.plaintext_rx_bytes;
  leak.tx_bytes = after.plaintext_tx_bytes;
  leak.foreign_bytes = after.foreign_source_bytes;
  const auto rate = [&](std::uint64_t PeerStatus::*count) {
    if (before == nullptr || seconds <= 0 || after.*count < before->*count) return 0.0;
    return static_cast<double>(after.*count - before->*count) / seconds;
  };
  leak.rx_rate = rate(&PeerStatus::plaintext_rx_bytes);
  leak.tx_rate = rate(&PeerStatus::plaintext_tx_bytes);
  leak.foreign_rate = rate(&PeerStatus::foreign_source_bytes);
  leak.rx_packet_rate = rate(&PeerStatus::plaintext_rx_packets);
  leak.tx_packet_rate = rate(&PeerStatus::plaintext_tx_packets);
  leak.foreign_packet_rate = rate(&PeerStatus::foreign_source_packets);
  leak.pinned = rate(&PeerStatus::pinned_bytes) > 0;
  leak.reason = reason_of(after, leak);
  return leak;
}

std::string rate_text(double rate) {
  return rate == 0 ? "0" : format_bytes(static_cast<std::uint64_t>(std::ceil(rate))) + "/s";
}

Row row_of(const Leak& leak) {
  return {
      escape_controls(leak.node),
      std::string(to_string(leak.state)),
      rate_text(leak.rate()),
      format_bytes(leak.bytes()),
      rate_text(leak.rx_rate),
      rate_text(leak.tx_rate),
      rate_text(leak.foreign_rate),
      fmt::format("{:.0f}", leak.rx_packet_rate + leak.tx_packet_rate + leak.foreign_packet_rate),
      format_bytes(leak.foreign_bytes),
      escape_controls(leak.reason)};
}

}  // namespace

LeakReport find_leaks(const Status& before, const Status& after, double seconds) {
  LeakReport report{after.node, seconds, {}};
  std::unordered_map<std::string_view, const PeerStatus*> earlier;
  for (const PeerStatus& peer : before.peers) earlier.emplace(peer.node, &peer);
  for (const PeerStatus& peer : after.peers) {
    const auto found = earlier.find(peer.node);
    Leak leak = leak_of(found == earlier.end() ? nullptr : found->second, peer, seconds);
    if (leak.bytes() != 0 || peer.path == Path::kPlaintext) report.leaks.push_back(std::move(leak));
  }
  std::ranges::sort(report.leaks, [](const Leak& a, const Leak& b) {
    if (a.rate() != b.rate()) return a.rate() > b.rate();
    return a.bytes() != b.bytes() ? a.bytes() > b.bytes() : a.node < b.node;
  });
  return report;
}

std::string render_leaks(const LeakReport& report, const LeakTableOptions& options) {
  double rate = 0;
  std::uint64_t bytes = 0;
  std::size_t leaking = 0;
  for (const Leak& leak : report.leaks) {
    rate += leak.rate();
    bytes += leak.bytes();
    if (leak.rate() > 0) ++leaking;
  }
  std::string out =
      fmt::format("{}: {} unencrypted with {} peer{} now, {} in all (over {:.1f} s)\n",
                  escape_controls(report.node), rate_text(rate), leaking, leaking == 1 ? "" : "s",
                  format_bytes(bytes), report.seconds);
  if (report.leaks.empty()) return out;
  std::vector<Row> rows(1);
  std::ranges::copy(kTitles, rows[0].begin());
  for (const Leak& leak : report.leaks) rows.push_back(row_of(leak));
  std::array<std::size_t, kTitles.size()> widths{};
  for (const Row& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], text_width(row[i]));
  for (std::size_t line = 0; line < rows.size(); ++line) {
    const bool red = options.color && line > 0 && report.leaks[line - 1].rate() > 0;
    if (red) out += kRed;
    for (std::size_t i = 0; i + 1 < kTitles.size(); ++i)
      if (options.wide || kNarrow.at(i))
        out += rows[line][i] + std::string(widths[i] - text_width(rows[line][i]) + 2, ' ');
    out += rows[line].back();
    if (red) out += kPlain;
    out += "\n";
  }
  return out;
}

nlohmann::ordered_json to_json(const LeakReport& report) {
  nlohmann::ordered_json leaks = nlohmann::ordered_json::array();
  for (const Leak& leak : report.leaks)
    leaks.push_back({{"node", leak.node},
                     {"state", to_string(leak.state)},
                     {"reason", leak.reason},
                     {"bytesPerSecond", leak.rate()},
                     {"rxBytesPerSecond", leak.rx_rate},
                     {"txBytesPerSecond", leak.tx_rate},
                     {"foreignSourceBytesPerSecond", leak.foreign_rate},
                     {"rxPacketsPerSecond", leak.rx_packet_rate},
                     {"txPacketsPerSecond", leak.tx_packet_rate},
                     {"foreignSourcePacketsPerSecond", leak.foreign_packet_rate},
                     {"plaintextRxBytes", leak.rx_bytes},
                     {"plaintextTxBytes", leak.tx_bytes},
                     {"foreignSourceBytes", leak.foreign_bytes}});
  return {{"schema", kSchema},
          {"node", report.node},
          {"seconds", report.seconds},
          {"leaking", report.leaking()},
          {"leaks", std::move(leaks)}};
}

}  // namespace mesh
