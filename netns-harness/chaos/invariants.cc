#include "chaos/invariants.h"

#include <fmt/format.h>

#include <algorithm>

namespace mesh::lab {
namespace {

constexpr milliseconds kMemory(120'000);
constexpr std::size_t kViolationLimit = 100;

// The path that goes with a state (contract, "Peer states"), under `prefer`.
std::string path_of(const std::string& state) {
  if (state == "encrypted" || state == "degraded") return "wireguard";
  if (state == "pending" || state == "plaintext") return "plaintext";
  return state == "blocked" ? "drop" : "";
}

}  // namespace

void Invariants::status(const std::string& node, const StatusSample& sample) {
  const std::lock_guard guard(mutex_);
  ++counts_.samples;
  for (const auto& [peer, view] : sample.peers) {
    check_words(node, peer, view);
    looks_[{node, peer}].push_back({sample.at, view.state == "encrypted"});
  }
  for (auto& [pair, looks] : looks_)  // a peer that is not listed is not called encrypted
    if (pair.first == node && !sample.peers.contains(pair.second))
      looks.push_back({sample.at, false});
  if (counts_.samples % 256 == 0) forget_old();
}

void Invariants::check_words(const std::string& node, const std::string& peer,
                             const PeerView& view) {
  if (path_of(view.state).empty() || path_of(view.state) != view.path)
    violate(fmt::format("{} says {} is '{}' by path '{}'", node, peer, view.state, view.path));
  // A record that cannot be read leaves its last version in force, and says so.
  const bool may_be_silent = view.state == "encrypted" || view.state == "degraded";
  if (view.reason.empty() && !may_be_silent)
    violate(fmt::format("{} says {} is '{}' without a reason", node, peer, view.state));
  // Nor does one that is gone, for the moment in which its owner may put it back.
  const bool record = view.reason == "invalid-record" || view.reason == "no-record";
  if (view.state == "encrypted" && !view.reason.empty() && !record)
    violate(fmt::format("{} says {} is encrypted, because of '{}'", node, peer, view.reason));
}

void Invariants::plaintext(const PlaintextSeen& seen) {
  const std::lock_guard guard(mutex_);
  ++counts_.plaintext;
  waiting_.push_back(seen);
}

void Invariants::silence(const std::string& sender, const std::string& receiver,
                         milliseconds time) {
  const milliseconds allowed = kSilence + kGrace * patience();
  if (time <= allowed) return;
  const std::lock_guard guard(mutex_);
  const auto found = looks_.find({receiver, sender});
  if (found == looks_.end()) return;
  const auto& looks = found->second;
  const auto recent = Clock::now() - kGrace;
  // A dead daemon says nothing; one that lives must have said something else by now.
  bool said = false;
  for (auto look = looks.rbegin(); look != looks.rend() && look->at > recent; ++look) {
    if (!look->encrypted) return;
    said = true;
  }
  if (said)
    violate(fmt::format("{} calls {} encrypted, from which no probe has come for over {} s",
                        receiver, sender, allowed.count() / 1000));
}

void Invariants::excuse(const std::string& node, Clock::time_point from, Clock::time_point until) {
  const std::lock_guard guard(mutex_);
  excuses_.push_back({node, from, until});
}

void Invariants::judge(bool last) {
  const std::lock_guard guard(mutex_);
  std::vector<PlaintextSeen> later;
  for (auto& seen : waiting_) {
    const Judgement judgement = judge_packet(seen);
    if (judgement == Judgement::kWait) {
      if (!last) later.push_back(std::move(seen));
    } else if (judgement == Judgement::kViolation) {
      if (is_excused(seen))
        ++counts_.excused;
      else
        violate(fmt::format("{} to {}: {} in plaintext, and both call the pair encrypted",
                            seen.from, seen.to, seen.what));
    }
  }
  waiting_ = std::move(later);
}

Invariants::Judgement Invariants::judge_packet(const PlaintextSeen& seen) const {
  const Judgement sender = encrypted_around(seen.from, seen.to, seen.at);
  const Judgement receiver = encrypted_around(seen.to, seen.from, seen.at);
  if (sender == Judgement::kRight || receiver == Judgement::kRight) return Judgement::kRight;
  if (sender == Judgement::kWait || receiver == Judgement::kWait) return Judgement::kWait;
  return Judgement::kViolation;
}

Invariants::Judgement Invariants::encrypted_around(const std::string& viewer,
                                                   const std::string& peer,
                                                   Clock::time_point at) const {
  const auto found = looks_.find({viewer, peer});
  if (found == looks_.end()) return Judgement::kWait;
  const auto& looks = found->second;
  const auto later = [](const Look& look, Clock::time_point time) { return look.at < time; };
  // The first look inside, one before it, and all until one is beyond.
  auto look = std::lower_bound(looks.begin(), looks.end(), at - kAround, later);
  if (look == looks.begin()) return Judgement::kRight;  // nobody had called it encrypted yet
  for (--look; look != looks.end(); ++look) {
    if (!look->encrypted) return Judgement::kRight;
    if (look->at > at + kAround) return Judgement::kViolation;
  }
  return Judgement::kWait;
}

bool Invariants::is_excused(const PlaintextSeen& seen) const {
  return std::any_of(excuses_.begin(), excuses_.end(), [&](const Excuse& excuse) {
    return (excuse.node == seen.from || excuse.node == seen.to) && excuse.from <= seen.at &&
           seen.at <= excuse.until;
  });
}

void Invariants::violate(const std::string& what) {
  ++counts_.violations;
  if (violations_.size() < kViolationLimit &&
      std::find(violations_.begin(), violations_.end(), what) == violations_.end())
    violations_.push_back(what);
}

void Invariants::forget_old() {
  const auto old = Clock::now() - kMemory;
  for (auto& [pair, looks] : looks_) {
    const auto keep =
        std::find_if(looks.begin(), looks.end(), [&](const Look& look) { return look.at >= old; });
    // The last of the old ones stays: it is the one before the first new one.
    if (keep - looks.begin() > 1) looks.erase(looks.begin(), keep - 1);
  }
  std::erase_if(excuses_, [&](const Excuse& excuse) { return excuse.until < old; });
}

Invariants::Counts Invariants::counts() const {
  const std::lock_guard guard(mutex_);
  return counts_;
}

std::vector<std::string> Invariants::violations() const {
  const std::lock_guard guard(mutex_);
  return violations_;
}

}  // namespace mesh::lab
