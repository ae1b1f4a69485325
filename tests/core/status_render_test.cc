#include "core/status_render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/sample_status.h"
#include "core/text.h"

namespace mesh {
namespace {

using test::at;
using test::sample_status;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TableOptions options() { return {.now = at(test::kSampleNow)}; }

std::string summary(const Status& status) { return render_summary(status, at(test::kSampleNow)); }

TEST(Table, ShowsOneSummaryLineThenThePeersThenTheWarnings) {
  EXPECT_EQ(
      render_table(sample_status(), options()),
      "node-a: 1/3 peers plaintext, 2/3 encrypted; mode prefer, backend kernel (mesh0, port "
      "51820), store directory in sync\n"
      "NODE    STATE      REASON                                ENDPOINT         HANDSHAKE       "
      "RX       TX  PLAINTEXT\n"
      "node-b  encrypted  -                                     192.0.2.2:51820  1m31s ago  "
      "1.2 KiB  4.8 MiB        0 B\n"
      "node-c  plaintext  it has no WireGuard: no /dev/net/tun  -                never          "
      "0 B      0 B    3.0 KiB\n"
      "node-d  encrypted  -                                     192.0.2.4:51820  1m31s ago  "
      "1.2 KiB  4.8 MiB        0 B\n"
      "warning: node-c: 10.9.0.0/16 is refused: node-b has it\n");
}

TEST(Table, WideAddsPathPolicySinceKeyPrefixesAndTheOtherCounters) {
  TableOptions wide = options();
  wide.wide = true;
  Status status = sample_status();
  status.peers.resize(1);
  status.peers[0].policy = "databases";
  EXPECT_EQ(
      render_table(status, wide),
      "node-a: 1/1 peers encrypted; mode prefer, backend kernel (mesh0, port 51820), store "
      "directory in sync\n"
      "NODE    STATE      REASON  ENDPOINT         HANDSHAKE       RX       TX  PLAINTEXT  PATH   "
      "    POLICY     HOSTS      SINCE                 KEY        CIDRS        DROPPED  FOREIGN  "
      "WARNINGS\n"
      "node-b  encrypted  -       192.0.2.2:51820  1m31s ago  1.2 KiB  4.8 MiB        0 B  "
      "wireguard  databases  plaintext  2026-11-22T15:00:01Z  AgICAgIC…  10.2.0.0/24      0 B      "
      "0 B        "
      " 0\n");
}

TEST(Table, SaysProblemsBeforePleasantries) {
  Status status = sample_status();
  status.peers[0].state = State::kBlocked;
  status.peers[2].state = State::kDegraded;
  EXPECT_THAT(summary(status),
              StartsWith("node-a: 1/3 peers blocked, 1/3 plaintext, 1/3 degraded; "));
  status.store.in_sync = false;
  status.store.error = "/var/lib/meshd/store: No such file or directory";
  status.backend = Backend::kNone;
  status.backend_reason = "no /dev/net/tun";
  status.error = "port 51820 is in use";
  status.refused_records = {{"node-x", "line 3: not a mapping"}};
  EXPECT_EQ(summary(status),
            "node-a: NOT WORKING; store directory out of sync (last change 1m32s ago); no "
            "WireGuard on this node; 1/3 peers blocked, 1/3 plaintext, 1/3 degraded; 1 refused "
            "record; mode prefer");
  const std::string table = render_table(status, options());
  EXPECT_THAT(table, HasSubstr("\nerror: port 51820 is in use\n"));
  EXPECT_THAT(table, HasSubstr("\nstore: /var/lib/meshd/store: No such file or directory\n"));
  EXPECT_THAT(table, HasSubstr("\nbackend none: no /dev/net/tun\n"));
  EXPECT_THAT(table, HasSubstr("\nrefused record: node-x: line 3: not a mapping\n"));
}

TEST(Table, SaysWhenThereAreNoPeers) {
  Status status = sample_status();
  status.peers.clear();
  EXPECT_EQ(render_table(status, options()),
            "node-a: no peers; mode prefer, backend kernel (mesh0, port 51820), store directory in "
            "sync\n");
}

TEST(Table, SaysWhyNotABetterBackend) {
  Status status = sample_status();
  status.backend = Backend::kUserspace;
  status.backend_reason = "the kernel has no WireGuard";
  EXPECT_THAT(render_table(status, options()),
              HasSubstr("\nbackend userspace: the kernel has no WireGuard\n"));
}

TEST(Table, EscapesWhatWouldDriveATerminal) {
  Status status = sample_status();
  status.node = "node\x1b]0;owned\x07";
  status.warnings = {"first\nsecond"};
  status.peers[1].node = "evil\x1b[2J\r\n";
  status.peers[1].detail = "\xe2\x80\xae gnp.exe \xc2\x9b \xff";
  status.peers[1].warnings = {"\x1b[31mred"};
  TableOptions wide = options();
  wide.wide = true;
  const std::string table = render_table(status, wide);
  for (const char c : table)
    EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << static_cast<int>(c);
  EXPECT_THAT(table, HasSubstr("evil\\x1b[2J\\x0d\\x0a"));
  EXPECT_THAT(table, HasSubstr("\\u{202e} gnp.exe \\u{9b} \\xff"));
  EXPECT_THAT(table, HasSubstr("warning: first\\x0asecond\n"));
  EXPECT_THAT(render_peer(status.peers[1], at(test::kSampleNow)), Not(HasSubstr("\x1b")));
  EXPECT_THAT(render_graph(status), Not(HasSubstr("\x1b")));
}

TEST(Table, ColoursTheStateOnly) {
  TableOptions colored = options();
  colored.color = true;
  const std::string table = render_table(sample_status(), colored);
  EXPECT_THAT(table, HasSubstr("node-b  \x1b[32mencrypted\x1b[0m  -"));
  EXPECT_THAT(table, HasSubstr("node-c  \x1b[31mplaintext\x1b[0m  it has"));
  EXPECT_THAT(render_table(sample_status(), options()), Not(HasSubstr("\x1b")));
}

TEST(Table, ShortensReasonsToFitTheScreenAndNothingElse) {
  TableOptions narrow = options();
  narrow.width = 100;
  const std::string table = render_table(sample_status(), narrow);
  const std::size_t header = table.find("NODE ");
  ASSERT_NE(header, std::string::npos);
  EXPECT_EQ(table.find('\n', header) - header, 100U);
  EXPECT_THAT(table, HasSubstr("it has no WireGuard: no…"));
  EXPECT_THAT(table, HasSubstr("node-d  encrypted  -"));
  narrow.width = 10;  // hopeless: stays readable
  EXPECT_THAT(render_table(sample_status(), narrow), HasSubstr("it has no W…"));
}

TEST(Table, BoundsTheWarningsOfTenThousandPeers) {
  Status status = sample_status();
  status.peers.clear();
  for (int i = 0; i < 10'000; ++i)
    status.peers.push_back(test::plaintext_peer(fmt::format("node-{:05}", i)));
  const std::string table = render_table(status, options());
  EXPECT_EQ(std::ranges::count(table, '\n'), 1 + 1 + 10'000 + 20 + 1);
  EXPECT_THAT(table, HasSubstr("warning: and 9980 more about peers: meshctl peer NODE shows them"));
}

TEST(Peer, ShowsAllThatIsKnown) {
  PeerStatus peer = test::plaintext_peer("node-c");
  peer.cidrs = {Cidr(IpAddress::v4(0x0A030000U), 24)};
  peer.labels = {{"role", "db"}};
  EXPECT_EQ(render_peer(peer, at(test::kSampleNow)),
            "node:                node-c\n"
            "state:               plaintext\n"
            "reason:              it has no WireGuard: no /dev/net/tun (peer-unsupported)\n"
            "path:                plaintext\n"
            "since:               2026-11-22T14:00:00Z (1h1m ago)\n"
            "mode of the pair:    prefer\n"
            "policy:              none: the nodes' own modes decide\n"
            "its backend:         none\n"
            "public key:          none\n"
            "endpoint:            none\n"
            "addresses:           none\n"
            "cidrs:               10.3.0.0/24\n"
            "label:               role=db\n"
            "path mtu:            not measured: nothing is sent to it through WireGuard\n"
            "last handshake:      never\n"
            "wireguard received:  0 B\n"
            "wireguard sent:      0 B\n"
            "plaintext received:  2.0 KiB (2048)\n"
            "plaintext sent:      1.0 KiB (1024)\n"
            "dropped:             0 B\n"
            "foreign source:      0 B\n"
            "downgrade:           was encrypted until 2026-11-22T14:00:00Z (1h1m ago): it has no "
            "WireGuard\n"
            "warning:             10.9.0.0/16 is refused: node-b has it\n");
}

TEST(Table, NamesRefusedPoliciesAndWhatHoldsMeanwhile) {
  Status status = sample_status();
  status.policies = 2;
  status.refused_policies = {{"databases", "spec.selector: column 6: expected ==", true},
                             {"web", "policies/web.yaml:1:1: nonsense", false}};
  const std::string table = render_table(status, options());
  EXPECT_THAT(table, HasSubstr("; 2 refused policies; mode prefer, 2 policies, backend kernel"));
  EXPECT_THAT(table, HasSubstr("\nrefused policy: databases: spec.selector: column 6: expected == "
                               "(its last good version stays in force)\n"));
  EXPECT_THAT(table, HasSubstr("\nrefused policy: web: policies/web.yaml:1:1: nonsense (pairs it "
                               "might concern become no weaker than they are)\n"));
}

TEST(Peer, ShowsWhatThePathCarries) {
  PeerStatus peer = test::encrypted_peer("node-b", 2);
  const auto shown = [&] { return render_peer(peer, at(test::kSampleNow)); };
  EXPECT_THAT(shown(), HasSubstr("\npath mtu:            1500\n"
                                 "mtu:                 1440 inside the tunnel\n"));
  peer.mtu_reason = "it answers no echo requests now";
  EXPECT_THAT(shown(),
              HasSubstr("\npath mtu:            1500 (it answers no echo requests now)\n"));
  peer.path_mtu.reset();
  peer.mtu_reason = "not measured yet";
  EXPECT_THAT(shown(), HasSubstr("\npath mtu:            not measured yet\n"));
}

TEST(Graph, ColoursEdgesByStateAndEscapesLabels) {
  Status status = sample_status();
  status.peers[0].state = State::kDegraded;
  status.peers[1].detail = "say \"no\\n\"";
  PeerStatus pending = test::encrypted_peer("node-e", 5);
  pending.state = State::kPending;
  pending.reason = Reason::kHandshaking;
  PeerStatus blocked = test::plaintext_peer("node-f");
  blocked.state = State::kBlocked;
  blocked.detail = "";
  status.peers.push_back(pending);
  status.peers.push_back(blocked);
  EXPECT_EQ(render_graph(status),
            "graph mesh {\n"
            "  \"node-a\" [shape=box];\n"
            "  \"node-a\" -- \"node-b\" [color=orange, label=\"degraded\"];\n"
            "  \"node-a\" -- \"node-c\" [color=red, label=\"plaintext: say \\\"no\\\\n\\\"\"];\n"
            "  \"node-a\" -- \"node-d\" [color=green, label=\"encrypted\"];\n"
            "  \"node-a\" -- \"node-e\" [color=grey, style=dashed, label=\"pending: waiting for a "
            "handshake\"];\n"
            "  \"node-a\" -- \"node-f\" [color=black, style=dotted, label=\"blocked: it has no "
            "WireGuard\"];\n"
            "}\n");
}

TEST(Units, BytesArePrintedInPowersOf1024) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(101'888), "99.5 KiB");
  EXPECT_EQ(format_bytes(102'400), "100 KiB");
  EXPECT_EQ(format_bytes(1'048'575), "1.0 MiB");  // not "1024 KiB"
  EXPECT_EQ(format_bytes(std::numeric_limits<std::uint64_t>::max()), "16.0 EiB");
}

TEST(Units, AgesAreShortAndNeverHideAClockThatWasSetBack) {
  const WallTime now = at(test::kSampleNow);
  const auto age = [&](std::int64_t seconds) {
    return format_age(now - std::chrono::seconds(seconds), now);
  };
  EXPECT_EQ(format_age(std::nullopt, now), "never");
  EXPECT_EQ(age(0), "0s ago");
  EXPECT_EQ(age(59), "59s ago");
  EXPECT_EQ(age(91), "1m31s ago");
  EXPECT_EQ(age(7500), "2h5m ago");
  EXPECT_EQ(age(273'600), "3d4h ago");
  EXPECT_EQ(age(-91), "in 1m31s");
}

TEST(Text, EscapesOnlyWhatIsNotPlainText) {
  EXPECT_EQ(escape_controls("plain Grüße 漢字 🙂"), "plain Grüße 漢字 🙂");
  EXPECT_EQ(escape_controls(std::string_view("\0\x7f", 2)), "\\x00\\x7f");
  EXPECT_EQ(escape_controls("\xc0\xaf"), "\\xc0\\xaf");                    // overlong
  EXPECT_EQ(escape_controls("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // a surrogate
  EXPECT_EQ(escape_controls("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond Unicode
  EXPECT_EQ(escape_controls("\xe6\xbc"), "\\xe6\\xbc");                    // cut short
  EXPECT_EQ(escape_controls("a\xe2\x80\x8b"
                            "b"),
            "a\\u{200b}b");
}

TEST(Text, ShortensByCharactersNotByBytes) {
  EXPECT_EQ(shorten("漢字漢字", 4), "漢字漢字");
  EXPECT_EQ(shorten("漢字漢字", 3), "漢字…");
  EXPECT_EQ(shorten("abc", 0), "");
  EXPECT_EQ(text_width("Grüße"), 5U);
}

}  // namespace
}  // namespace mesh
