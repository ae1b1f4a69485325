#include "cli/demo.h"

#include <fmt/core.h>

#include <filesystem>
#include <vector>

#include "lab/capture.h"
#include "lab/error.h"
#include "lab/lab.h"

namespace mesh::lab {
namespace {

constexpr const char* kWithout = "node-d";
constexpr int kPingsPerPair = 5;

void say(const std::string& text) {
  fmt::print("{}\n", text);
  (void)std::fflush(stdout);
}

bool has_wireguard(const std::string& node) { return node != kWithout; }

// What a pair should come to.
struct Expected {
  std::string state;
  bool encrypted = false;
};

Expected expected(const std::string& a, const std::string& b) {
  return has_wireguard(a) && has_wireguard(b) ? Expected{"encrypted", true}
                                              : Expected{"plaintext", false};
}

class Demo {
 public:
  explicit Demo(const DemoOptions& options) : lab_(make_spec(options)), capture_(lab_) {}

  Lab& lab() { return lab_; }

  int run() {
    say(fmt::format("Four nodes, IPv4 and IPv6; {} has no WireGuard. (lab {})", kWithout,
                    lab_.id()));
    lab_.start_all();
    wait_for_states();
    capture_.reset();  // from here on, what the states promise must be what crosses the underlay
    ping_all();
    wait_for_plaintext_counts();
    show_status("node-a");
    show_status(kWithout);
    show_verdicts();
    say(failures_.empty() ? "\nAll as it should be." : "\nNOT as it should be:");
    for (const auto& failure : failures_) say("  " + failure);
    if (!failures_.empty()) say(lab_.diagnosis());
    return failures_.empty() ? 0 : 1;
  }

 private:
  static LabSpec make_spec(const DemoOptions& options) {
    LabSpec spec;
    spec.id = options.id;
    spec.backend = options.backend;
    spec.nodes = numbered_nodes(4);
    for (auto& node : spec.nodes)
      if (!has_wireguard(node.name)) node.backend = "none";
    return spec;
  }

  void wait_for_states() {
    for (const auto& node : lab_.nodes()) {
      for (const auto& peer : lab_.nodes()) {
        if (node == peer) continue;
        const std::string state = expected(node->name(), peer->name()).state;
        if (!node->wait_for_state(peer->name(), state, milliseconds(30'000)))
          failures_.push_back(fmt::format("{} calls {} '{}', not '{}'", node->name(), peer->name(),
                                          node->state_of(peer->name()), state));
      }
    }
  }

  void ping_all() {
    int sent = 0;
    int answered = 0;
    for (const auto& from : lab_.nodes()) {
      for (const auto& to : lab_.nodes()) {
        if (from == to) continue;
        for (const Family family : {Family::kIpv4, Family::kIpv6}) {
          const IpAddress target = to->workload().address(family);
          int ok = 0;
          for (int i = 0; i < kPingsPerPair; ++i)
            ok += from->workload().reaches(target, milliseconds(2000)) ? 1 : 0;
          sent += kPingsPerPair;
          answered += ok;
          if (ok < kPingsPerPair)
            failures_.push_back(fmt::format("{} pings {}: {} of {} answered",
                                            from->workload().name(), target.to_string(), ok,
                                            kPingsPerPair));
        }
      }
    }
    say(fmt::format("\nPings between all workloads, both families: {} of {} answered.", answered,
                    sent));
  }

  // What went unencrypted must be in the status, too.
  void wait_for_plaintext_counts() {
    for (const auto& node : lab_.nodes()) {
      for (const auto& peer : lab_.nodes()) {
        if (node == peer || expected(node->name(), peer->name()).encrypted) continue;
        const auto counted = [&] {
          return node->peer(peer->name()).value("plaintextTxBytes", std::uint64_t{0}) > 0;
        };
        if (!wait_until(counted, milliseconds(15'000)))
          failures_.push_back(fmt::format("{} does not count what it sent to {} unencrypted",
                                          node->name(), peer->name()));
      }
    }
  }

  void show_status(const std::string& name) {
    const Outcome status = lab_.node(name).meshctl({"status"});
    say(fmt::format("\n$ mesh-lab exec {} -- meshctl status\n{}{}", name, status.output,
                    status.errors));
    if (!status.ok()) failures_.push_back(name + ": meshctl status failed");
  }

  void show_verdicts() {
    say("What crossed the underlay meanwhile, packet by packet:");
    say(fmt::format("  {:<18} {:>12} {:>12}   {}", "PAIR", "WIREGUARD", "PLAINTEXT", "VERDICT"));
    auto& nodes = lab_.nodes();
    for (std::size_t a = 0; a < nodes.size(); ++a)
      for (std::size_t b = a + 1; b < nodes.size(); ++b)
        show_verdict(nodes[a]->name(), nodes[b]->name());
  }

  void show_verdict(const std::string& a, const std::string& b) {
    const Verdict verdict = capture_.between(a, b);
    const bool encrypted = verdict.encrypted_both_ways();
    const bool plaintext = verdict.ab.plaintext > 0 && verdict.ba.plaintext > 0 &&
                           verdict.ab.wireguard + verdict.ba.wireguard == 0;
    const bool right = expected(a, b).encrypted ? encrypted : plaintext;
    say(fmt::format("  {:<18} {:>12} {:>12}   {}{}", a.substr(5) + " <-> " + b.substr(5),
                    verdict.ab.wireguard + verdict.ba.wireguard, verdict.plaintext(),
                    encrypted   ? "encrypted"
                    : plaintext ? "not encrypted"
                                : "mixed",
                    right ? "" : "  <- wrong"));
    if (!right) failures_.push_back(fmt::format("{} and {}: {}", a, b, verdict.to_string()));
  }

  Lab lab_;
  Capture capture_;
  std::vector<std::string> failures_;
};

}  // namespace

int run_demo(const DemoOptions& options) {
  for (const char* needed : {"meshd", "meshctl"}) (void)find_binary(needed);
  Demo demo(options);
  const int result = demo.run();
  if (options.keep) {
    demo.lab().keep();
    const std::string id = demo.lab().id();
    // As it can be copied from where the demo was started.
    const std::string program =
        std::filesystem::proximate(std::filesystem::read_symlink("/proc/self/exe")).native();
    say(
        fmt::format("\nThe mesh is left standing. To play with it:\n"
                    "  {1} status --id {0}\n"
                    "  {1} exec --id {0} node-a -- meshctl status --watch\n"
                    "  {1} exec --id {0} node-a/w1 -- ping 10.2.0.2\n"
                    "  {1} down --id {0}",
                    id, program));
  }
  return result;
}

}  // namespace mesh::lab
