// Bench: runs rows of the table of faults and measures them.
//
// It keeps one lab from row to row and checks before each that every node is as it was at the
// start; a lab that is not is thrown away. The time to repair is from the injection (from its end,
// for a fault that lasts) to the later of two moments: the condition of the row was first seen to
// hold (looked at without pause, a look costs some 20 ms natively), and the last probe that was
// lost. One thread; costs a few seconds a row.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "faults/fault.h"
#include "lab/capture.h"
#include "lab/lab.h"
#include "lab/pinger.h"
#include "lab/status_watch.h"

namespace mesh::lab {

enum class Verdicts { kMet, kNotMet, kNotBuilt, kImpossible };

struct Measured {
  std::string name;
  Group group = Group::kRepair;
  Verdicts verdict = Verdicts::kNotMet;
  std::string remark;  // what was not met, or why it did not run
  std::string why;
  std::string why_plaintext;
  std::uint32_t sent = 0;  // each way, by all families together
  std::uint32_t lost_there = 0;
  std::uint32_t lost_back = 0;
  std::uint32_t bystander_lost = 0;
  std::uint64_t leaked = 0;
  std::optional<milliseconds> repair;
  std::uint64_t repairs = 0;  // that node-b counted
  std::vector<std::string> states_a;
  std::vector<std::string> states_b;
};

// Sets the verdict, and in the remark what was not met; `plaintext`: what the packets were.
void judge(const Fault& fault, const std::string& plaintext, Measured& result);

class Bench {
 public:
  explicit Bench(std::string backend = "auto");

  Measured run(const Fault& fault);

  // --- for the steps of a row ---
  [[nodiscard]] Lab& lab() { return *lab_; }
  [[nodiscard]] Node& a() { return lab()[0]; }
  [[nodiscard]] Node& b() { return lab()[1]; }
  [[nodiscard]] Node& c() { return lab()[2]; }
  [[nodiscard]] bool on_kernel() const { return on_kernel_; }  // not on wireguard-go
  // What the kernel of a node held before the fault, and whether it holds just that again.
  [[nodiscard]] const std::string& before(const Node& node) const;
  [[nodiscard]] bool as_before(const Node& node) const;
  // Merges YAML into the node's configuration and asks for a reload. Throws NotBuilt with meshd's
  // words when it refuses.
  static void reload(Node& node, const std::string& yaml);
  // `meshctl WORD`, which throws NotBuilt when it fails.
  static void command(Node& node, const std::string& word);
  // Whether both of the pair show each other so, as last seen.
  [[nodiscard]] bool both(const std::string& state);
  [[nodiscard]] bool shows(const Node& node, const Node& peer, const std::string& state);
  [[nodiscard]] StatusWatch& watch() { return *watch_; }
  [[nodiscard]] Capture& capture() { return *capture_; }
  // Time, counted in probes (5 ms apart).
  void let_pass(unsigned probes) { pingers_.front()->let_pass(probes); }
  // Plaintext packets on the underlay between any nodes since the fault.
  [[nodiscard]] std::uint64_t leaked();
  // Rows that measure other ends than the pair's first workloads: called in set_up.
  void measure_instead(std::vector<std::unique_ptr<Pinger>> pingers) {
    pingers_ = std::move(pingers);
  }
  // Something a row keeps until it is over (a workload that moves, a file's text).
  std::shared_ptr<void> kept;

 private:
  void prepare(const Fault& fault);
  void make_lab(Start start);
  [[nodiscard]] bool whole();  // all encrypted, and the kernels as they were at the start
  [[nodiscard]] bool wait_whole(milliseconds timeout);
  void remember();
  void measure(const Fault& fault, Measured& result);
  [[nodiscard]] std::string what_differs() const;
  [[nodiscard]] std::string examples() const;
  [[nodiscard]] bool is_over(const Fault& fault);
  void start_traffic();
  void stop_traffic(Clock::time_point injected, Measured& result);
  void clean_up(const Fault::Step& undo);

  std::string backend_;
  bool on_kernel_;
  std::unique_ptr<Lab> lab_;
  std::map<std::string, std::string> start_;   // kernel states of the mesh when it was made
  std::map<std::string, std::string> before_;  // before the fault
  std::unique_ptr<Capture> capture_;
  std::unique_ptr<StatusWatch> watch_;
  std::vector<std::unique_ptr<Pinger>> pingers_;  // of the pair
  std::unique_ptr<Pinger> bystander_;
};

}  // namespace mesh::lab
