// Whether a row met its expectation.
#include <fmt/format.h>

#include "faults/bench.h"

namespace mesh::lab {
namespace {

constexpr std::uint32_t kProbesAtOnce = 4;  // two families, both ways

void judge_time(const Fault& fault, const Measured& result, std::vector<std::string>& unmet) {
  if (!result.repair) {
    unmet.push_back(fmt::format("not right within {} s{}{}",
                                fault.deadline.count() * patience() / 1000,
                                result.remark.empty() ? "" : ": ", result.remark));
    return;
  }
  if (!fault.ceiling) return;
  const milliseconds most = fault.ceiling->right_after * patience();
  if (*result.repair > most)
    unmet.push_back(fmt::format("right after {} ms only, {} at the most", result.repair->count(),
                                most.count()));
}

void judge_loss(const Fault& fault, const Measured& result, std::vector<std::string>& unmet) {
  const std::uint32_t lost = result.lost_there + result.lost_back;
  if (fault.loss == Cost::kNone && lost > 0) unmet.push_back(fmt::format("{} probes lost", lost));
  if (fault.loss == Cost::kSome && lost == 0) unmet.emplace_back("no loss seen");
  if (fault.loss != Cost::kMeasured || !fault.ceiling) return;
  const std::uint32_t most =
      fault.lasts * kProbesAtOnce + fault.ceiling->lost * static_cast<std::uint32_t>(patience());
  if (lost > most) unmet.push_back(fmt::format("{} probes lost, {} at the most", lost, most));
}

void judge_plaintext(const Fault& fault, const Measured& result, const std::string& plaintext,
                     std::vector<std::string>& unmet) {
  if (fault.leak == Cost::kNone && result.leaked > 0)
    unmet.push_back(fmt::format("{} packets in plaintext, as {}", result.leaked, plaintext));
  if (fault.leak != Cost::kMeasured || !fault.ceiling) return;
  const std::uint64_t most = fault.ceiling->leaked * static_cast<std::uint64_t>(patience());
  if (result.leaked > most)
    unmet.push_back(fmt::format("{} packets in plaintext, {} at the most, as {}", result.leaked,
                                most, plaintext));
}

}  // namespace

void judge(const Fault& fault, const std::string& plaintext, Measured& result) {
  std::vector<std::string> unmet;
  judge_time(fault, result, unmet);
  judge_loss(fault, result, unmet);
  judge_plaintext(fault, result, plaintext, unmet);
  if (result.bystander_lost > 0 && fault.bystander == Cost::kNone)
    unmet.push_back(fmt::format("the bystander lost {}", result.bystander_lost));
  if (fault.counted && result.repairs == 0) unmet.emplace_back("no repair was counted");
  result.verdict = unmet.empty() ? Verdicts::kMet : Verdicts::kNotMet;
  result.remark = fmt::format("{}", fmt::join(unmet, "; "));
}

}  // namespace mesh::lab
