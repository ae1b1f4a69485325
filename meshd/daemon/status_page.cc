#include "meshd/daemon/status_page.h"

#include <iterator>

#include "core/status_render.h"
#include "core/text.h"

namespace mesh {
namespace {

constexpr std::string_view kHead = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>meshd</title><style>
body{font:15px/1.4 sans-serif;margin:2em}table{border-collapse:collapse}
th,td{text-align:left;padding:.2em .8em;border-bottom:1px solid #ccc}
.encrypted{color:#176b2c}.degraded{color:#a85b00}.pending{color:#666}
.plaintext,.error{color:#b00020;font-weight:bold}.blocked{color:#000;font-weight:bold}
</style></head><body>
)";

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : escape_controls(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

void append_row(std::string& page, const PeerStatus& peer, WallTime now) {
  fmt::format_to(
      std::back_inserter(page),
      "<tr><td>{}</td><td class=\"{}\">{}</td><td>{}</td><td>{}</td><td>{}</td>"
      "<td>{}</td><td>{}</td><td>{}</td></tr>\n",
      escape_html(peer.node), to_string(peer.state), to_string(peer.state),
      escape_html(reason_in_words(peer)), peer.endpoint ? peer.endpoint->to_string() : "",
      format_age(peer.last_handshake, now), format_bytes(peer.rx_bytes),
      format_bytes(peer.tx_bytes), format_bytes(peer.plaintext_rx_bytes + peer.plaintext_tx_bytes));
}

}  // namespace

std::string render_page(const Status& status, WallTime now) {
  std::string page(kHead);
  fmt::format_to(std::back_inserter(page), "<h1>{}</h1>\n<p>{}</p>\n", escape_html(status.node),
                 escape_html(render_summary(status, now)));
  for (const std::string& problem : local_problems(status))
    fmt::format_to(std::back_inserter(page), "<p class=\"error\">{}</p>\n", escape_html(problem));
  page +=
      "<table><tr><th>Node</th><th>State</th><th>Reason</th><th>Endpoint</th><th>Handshake</th>"
      "<th>Received</th><th>Sent</th><th>Plaintext</th></tr>\n";
  std::size_t rows = 0;
  const auto append_those = [&](bool encrypted) {
    for (const PeerStatus& peer : status.peers) {
      if ((peer.state == State::kEncrypted) != encrypted || rows == kPageRows) continue;
      append_row(page, peer, now);
      ++rows;
    }
  };
  append_those(false);
  append_those(true);
  page += "</table>\n";
  if (rows < status.peers.size())
    fmt::format_to(std::back_inserter(page), "<p>… and {} more: /v1/status has them all.</p>\n",
                   status.peers.size() - rows);
  page += "</body></html>\n";
  return page;
}

}  // namespace mesh
