// Invariants: judges what a mesh showed of itself against what was seen of it, while it is broken.
//
//   1. No inner packet of a pair crosses the underlay while both sides show the pair encrypted
//      without interruption: in the last look before it, the first look after it, and all looks
//      within kAround of it. A daemon that was dead in between excuses nothing.
//   2. Nobody calls a peer encrypted from which no probe has come for more than 30 s.
//   3. State, path and reason fit each other.
//
// Fed by the status watch, the capture and the pingers; knows nothing of a lab, so that tests can
// show it a broken mesh. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "lab/capture.h"
#include "lab/status_watch.h"

namespace mesh::lab {

class Invariants {
 public:
  static constexpr milliseconds kAround{500};
  static constexpr milliseconds kSilence{30'000};
  static constexpr milliseconds kGrace{5'000};  // for the looks themselves, times patience()

  void status(const std::string& node, const StatusSample& sample);
  void plaintext(const PlaintextSeen& seen);
  // Nothing of `sender` has arrived at `receiver` for this long.
  void silence(const std::string& sender, const std::string& receiver, milliseconds time);
  // The harness itself opened the path at `node` then (somebody with root took a rule away): what
  // leaks meanwhile is measured by the table of faults, not judged here.
  void excuse(const std::string& node, Clock::time_point from, Clock::time_point until);
  // Judges plaintext packets of which enough is known; `last`: no more looks will come.
  void judge(bool last);

  struct Counts {
    std::uint64_t samples = 0;
    std::uint64_t plaintext = 0;  // all, most of them of pairs that were rightly not encrypted
    std::uint64_t excused = 0;
    std::uint64_t violations = 0;
  };
  [[nodiscard]] Counts counts() const;
  [[nodiscard]] std::vector<std::string> violations() const;  // the first hundred

 private:
  struct Look {
    Clock::time_point at;
    bool encrypted = false;
  };
  enum class Judgement { kWait, kRight, kViolation };
  struct Excuse {
    std::string node;
    Clock::time_point from;
    Clock::time_point until;
  };
  void check_words(const std::string& node, const std::string& peer, const PeerView& view);
  [[nodiscard]] Judgement judge_packet(const PlaintextSeen& seen) const;
  // Whether `viewer` called `peer` encrypted all around a moment.
  [[nodiscard]] Judgement encrypted_around(const std::string& viewer, const std::string& peer,
                                           Clock::time_point at) const;
  [[nodiscard]] bool is_excused(const PlaintextSeen& seen) const;
  void violate(const std::string& what);
  void forget_old();

  mutable std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::vector<Look>> looks_;  // viewer, peer
  std::vector<PlaintextSeen> waiting_;
  std::vector<Excuse> excuses_;
  Counts counts_;
  std::vector<std::string> violations_;
};

}  // namespace mesh::lab
