#include "core/status_render.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "core/text.h"

namespace mesh {
namespace {

constexpr std::size_t kLeastReasonWidth = 12;
constexpr std::size_t kMaxWarningLines = 20;
constexpr std::string_view kGap = "  ";
constexpr std::string_view kResetColor = "\x1b[0m";

// Problems before pleasantries.
constexpr std::array kWorstFirst{State::kBlocked, State::kPlaintext, State::kDegraded,
                                 State::kPending, State::kEncrypted};

std::string_view color_of(State state) {
  switch (state) {
    case State::kEncrypted:
      return "\x1b[32m";
    case State::kDegraded:
    case State::kPending:
      return "\x1b[33m";
    case State::kPlaintext:
      return "\x1b[31m";
    case State::kBlocked:
      return "\x1b[1;31m";
  }
  return "";
}

template <class T>
std::string joined(const std::vector<T>& values) {
  std::string out;
  for (const T& value : values) {
    if (!out.empty()) out += ',';
    out += value.to_string();
  }
  return out;
}

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

std::string peers_in_words(const Status& status) {
  const Summary summary = summarize(status);
  if (summary.peers == 0) return "no peers";
  std::string out;
  for (const State state : kWorstFirst) {
    if (summary.of(state) == 0) continue;
    fmt::format_to(std::back_inserter(out), "{}{}/{}{} {}", out.empty() ? "" : ", ",
                   summary.of(state), summary.peers, out.empty() ? " peers" : "", to_string(state));
  }
  return out;
}

struct Column {
  std::string_view title;
  bool right = false;  // numbers
  std::string (*text)(const PeerStatus& peer, WallTime now);
};

constexpr std::size_t kStateColumn = 1;
constexpr std::size_t kReasonColumn = 2;
constexpr std::size_t kNarrowColumns = 8;

constexpr std::array<Column, 17> kColumns{{
    {"NODE", false, [](const PeerStatus& p, WallTime) { return escape_controls(p.node); }},
    {"STATE", false, [](const PeerStatus& p, WallTime) { return std::string(to_string(p.state)); }},
    {"REASON", false,
     [](const PeerStatus& p, WallTime) { return or_dash(escape_controls(reason_in_words(p))); }},
    {"ENDPOINT", false,
     [](const PeerStatus& p, WallTime) { return p.endpoint ? p.endpoint->to_string() : "-"; }},
    {"HANDSHAKE", false,
     [](const PeerStatus& p, WallTime now) { return format_age(p.last_handshake, now); }},
    {"RX", true, [](const PeerStatus& p, WallTime) { return format_bytes(p.rx_bytes); }},
    {"TX", true, [](const PeerStatus& p, WallTime) { return format_bytes(p.tx_bytes); }},
    {"PLAINTEXT", true,
     [](const PeerStatus& p, WallTime) {
       return format_bytes(p.plaintext_rx_bytes + p.plaintext_tx_bytes);
     }},
    {"PATH", false, [](const PeerStatus& p, WallTime) { return std::string(to_string(p.path)); }},
    {"POLICY", false,
     [](const PeerStatus& p, WallTime) { return or_dash(escape_controls(p.policy)); }},
    {"HOSTS", false,
     [](const PeerStatus& p, WallTime) { return std::string(to_string(p.host_path)); }},
    {"SINCE", false, [](const PeerStatus& p, WallTime) { return format_time(p.since); }},
    {"KEY", false,
     [](const PeerStatus& p, WallTime) {
       return p.public_key ? p.public_key->abbreviated() : "-";
     }},
    {"CIDRS", false, [](const PeerStatus& p, WallTime) { return or_dash(joined(p.cidrs)); }},
    {"DROPPED", true, [](const PeerStatus& p, WallTime) { return format_bytes(p.dropped_bytes); }},
    {"FOREIGN", true,
     [](const PeerStatus& p, WallTime) { return format_bytes(p.foreign_source_bytes); }},
    {"WARNINGS", true,
     [](const PeerStatus& p, WallTime) { return std::to_string(p.warnings.size()); }},
}};

using Row = std::vector<std::string>;

std::vector<Row> rows_of(const Status& status, const TableOptions& options, std::size_t columns) {
  std::vector<Row> rows(1);
  rows.reserve(status.peers.size() + 1);
  for (std::size_t i = 0; i < columns; ++i) rows[0].emplace_back(kColumns[i].title);
  for (const PeerStatus& peer : status.peers) {
    Row& row = rows.emplace_back();
    row.reserve(columns);
    for (std::size_t i = 0; i < columns; ++i) row.push_back(kColumns[i].text(peer, options.now));
  }
  return rows;
}

std::vector<std::size_t> widths_of(std::vector<Row>& rows, std::size_t columns,
                                   std::size_t screen) {
  std::vector<std::size_t> widths(columns, 0);
  for (const Row& row : rows)
    for (std::size_t i = 0; i < columns; ++i) widths[i] = std::max(widths[i], text_width(row[i]));
  std::size_t total = (columns - 1) * kGap.size();
  for (const std::size_t width : widths) total += width;
  std::size_t& reason = widths[kReasonColumn];
  if (screen == 0 || total <= screen || reason <= kLeastReasonWidth) return widths;
  const std::size_t excess = total - screen;
  reason = std::max(kLeastReasonWidth, reason > excess ? reason - excess : 0);
  for (Row& row : rows) row[kReasonColumn] = shorten(row[kReasonColumn], reason);
  return widths;
}

void append_row(std::string& out, const Row& row, const std::vector<std::size_t>& widths,
                std::string_view color) {
  for (std::size_t i = 0; i < row.size(); ++i) {
    const std::string padding(widths[i] - text_width(row[i]), ' ');
    const bool last = i + 1 == row.size();
    if (kColumns[i].right) out += padding;
    if (i == kStateColumn && !color.empty()) {
      fmt::format_to(std::back_inserter(out), "{}{}{}", color, row[i], kResetColor);
    } else {
      out += row[i];
    }
    if (!kColumns[i].right && !last) out += padding;
    if (!last) out += kGap;
  }
  out += '\n';
}

void append_peer_warnings(std::string& out, const Status& status) {
  std::size_t lines = 0;
  std::size_t left_out = 0;
  for (const PeerStatus& peer : status.peers) {
    for (const std::string& warning : peer.warnings) {
      if (lines == kMaxWarningLines) {
        ++left_out;
        continue;
      }
      ++lines;
      fmt::format_to(std::back_inserter(out), "warning: {}: {}\n", escape_controls(peer.node),
                     escape_controls(warning));
    }
  }
  if (left_out > 0)
    fmt::format_to(std::back_inserter(out),
                   "warning: and {} more about peers: meshctl peer NODE shows them\n", left_out);
}

}  // namespace

std::string reason_in_words(const PeerStatus& peer) {
  return peer.detail.empty() ? std::string(explain(peer.reason)) : peer.detail;
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 7> kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  // 1023.5 is where the number would be printed as 1024.
  for (; value >= 1023.5 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.{}f} {}", value, value < 99.95 ? 1 : 0, kUnits[unit]);
}

std::string format_age(const std::optional<WallTime>& time, WallTime now) {
  using std::chrono::duration_cast;
  using std::chrono::seconds;
  if (!time) return "never";
  const auto age = duration_cast<seconds>(now - *time).count();
  const auto distance = age < 0 ? -age : age;
  std::string text;
  if (distance < 60) {
    text = fmt::format("{}s", distance);
  } else if (distance < 3600) {
    text = fmt::format("{}m{}s", distance / 60, distance % 60);
  } else if (distance < 86400) {
    text = fmt::format("{}h{}m", distance / 3600, distance % 3600 / 60);
  } else {
    text = fmt::format("{}d{}h", distance / 86400, distance % 86400 / 3600);
  }
  // A clock was set back: say so instead of a number that looks fresh.
  return age < 0 ? "in " + text : text + " ago";
}

std::string render_summary(const Status& status, WallTime now) {
  std::vector<std::string> parts;
  if (!status.error.empty()) parts.emplace_back("NOT WORKING");
  if (!status.store.in_sync)
    parts.push_back(fmt::format("store {} out of sync (last change {})", status.store.type,
                                format_age(status.store.last_change, now)));
  if (status.drain.phase == DrainPhase::kLeaving)
    parts.push_back("leaving the mesh (waits for " + status.drain.waits_for + ")");
  if (status.drain.phase == DrainPhase::kLeft)
    parts.emplace_back("drained");
  else if (status.backend == Backend::kNone)
    parts.emplace_back("no WireGuard on this node");
  parts.push_back(peers_in_words(status));
  if (!status.refused_records.empty())
    parts.push_back(fmt::format("{} refused record{}", status.refused_records.size(),
                                status.refused_records.size() == 1 ? "" : "s"));
  if (!status.refused_policies.empty())
    parts.push_back(fmt::format("{} refused polic{}", status.refused_policies.size(),
                                status.refused_policies.size() == 1 ? "y" : "ies"));
  std::string calm = fmt::format("mode {}", to_string(status.mode));
  if (status.policies > 0)
    calm += fmt::format(", {} polic{}", status.policies, status.policies == 1 ? "y" : "ies");
  if (status.backend != Backend::kNone)
    calm += fmt::format(", backend {} ({}, port {})", to_string(status.backend), status.interface,
                        status.listen_port);
  if (status.store.in_sync) calm += fmt::format(", store {} in sync", status.store.type);
  if (status.repairs > 0)
    calm += fmt::format(", {} repair{}", status.repairs, status.repairs == 1 ? "" : "s");
  parts.push_back(std::move(calm));
  return escape_controls(fmt::format("{}: {}", status.node, fmt::join(parts, "; ")));
}

std::vector<std::string> local_problems(const Status& status) {
  std::vector<std::string> lines;
  if (!status.error.empty()) lines.push_back("error: " + status.error);
  if (!status.store.error.empty()) lines.push_back("store: " + status.store.error);
  if (!status.backend_reason.empty())
    lines.push_back(
        fmt::format("backend {}: {}", to_string(status.backend), status.backend_reason));
  for (const std::string& warning : status.warnings) lines.push_back("warning: " + warning);
  for (const RefusedRecord& record : status.refused_records)
    lines.push_back(fmt::format("refused record: {}: {}", record.node, record.message));
  for (const RefusedPolicyStatus& policy : status.refused_policies)
    lines.push_back(fmt::format("refused policy: {}: {} ({})", policy.policy, policy.message,
                                policy.earlier_in_force
                                    ? "its last good version stays in force"
                                    : "pairs it might concern become no weaker than they are"));
  return lines;
}

std::string render_table(const Status& status, const TableOptions& options) {
  std::string out = render_summary(status, options.now) + "\n";
  if (!status.peers.empty()) {
    const std::size_t columns = options.wide ? kColumns.size() : kNarrowColumns;
    std::vector<Row> rows = rows_of(status, options, columns);
    const std::vector<std::size_t> widths = widths_of(rows, columns, options.width);
    append_row(out, rows[0], widths, "");
    for (std::size_t i = 1; i < rows.size(); ++i)
      append_row(out, rows[i], widths,
                 options.color ? color_of(status.peers[i - 1].state) : std::string_view());
  }
  if (options.wide && status.host_traffic.covered)
    out += escape_controls(fmt::format("host traffic is covered; always on the underlay: {}\n",
                                       fmt::join(status.host_traffic.exemptions, ", ")));
  for (const std::string& problem : local_problems(status)) out += escape_controls(problem) + "\n";
  append_peer_warnings(out, status);
  return out;
}

}  // namespace mesh
