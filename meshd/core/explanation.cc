#include "core/explanation.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/decide.h"

namespace mesh {
namespace {

bool means(const std::optional<Selector>& selector, const PairSide& side) {
  return !selector || selector->matches(side.labels);
}

// The node that `selector` means when the other is one that `peer_selector` means; null: no match.
const PairSide* selected(const std::optional<Selector>& selector,
                         const std::optional<Selector>& peer_selector,
                         const std::array<PairSide, 2>& sides) {
  for (const std::size_t i : {0U, 1U})
    if (means(selector, sides.at(i)) && means(peer_selector, sides.at(1 - i))) return &sides.at(i);
  return nullptr;
}

std::string text_of(const std::optional<Selector>& selector) {
  return selector ? selector->to_string() : "";
}

std::optional<double> finite(double order) {
  return std::isfinite(order) ? std::optional(order) : std::nullopt;
}

struct Ordered {
  double order;
  PolicyMatch match;
};

void add_matches(const Policies& policies, const std::array<PairSide, 2>& sides,
                 std::vector<Ordered>& found) {
  for (const Policy* policy : policies.ordered()) {
    const EncryptionPolicy& document = policy->document;
    const PairSide* side = selected(policy->selector, policy->peer_selector, sides);
    if (side == nullptr) continue;
    found.push_back(
        {document.order,
         {document.name, finite(document.order), std::string(to_string(document.action)),
          document.selector, document.peer_selector, side->node, ""}});
  }
  for (const auto& [name, refused] : policies.refused()) {
    if (refused.earlier_in_force) continue;
    const PairSide* side = selected(refused.selector, refused.peer_selector, sides);
    if (side == nullptr) continue;
    found.push_back({refused.order,
                     {name, finite(refused.order), "", text_of(refused.selector),
                      text_of(refused.peer_selector), side->node, refused.message}});
  }
  std::stable_sort(found.begin(), found.end(), [](const Ordered& a, const Ordered& b) {
    return std::tie(a.order, a.match.policy) < std::tie(b.order, b.match.policy);
  });
}

std::string order_words(const PolicyMatch& match) {
  return match.order ? fmt::format("order {}", *match.order) : "without an order";
}

std::string labels_words(const Labels& labels) {
  std::string out;
  for (const auto& [name, value] : labels) out += fmt::format(" {}={}", name, value);
  return out.empty() ? " none" : out;
}

std::string headline(const Explanation& it) {
  const std::string pair =
      fmt::format("{} and {}: {}", it.sides[0].node, it.sides[1].node, to_string(it.mode));
  if (const PolicyMatch* decides = it.decides())
    return fmt::format("{}, by the policy {} ({}, {})\n", pair, decides->policy,
                       order_words(*decides), decides->action);
  return fmt::format(
      "{}: no policy matches, so the nodes' own modes decide ({}: {}, {}: {}): require if either "
      "requires, else off if either is off, else prefer\n",
      pair, it.sides[0].node, to_string(it.sides[0].mode), it.sides[1].node,
      to_string(it.sides[1].mode));
}

}  // namespace

const PolicyMatch* Explanation::decides() const {
  const auto found = std::find_if(matches.begin(), matches.end(),
                                  [](const PolicyMatch& match) { return match.problem.empty(); });
  return found == matches.end() ? nullptr : &*found;
}

Explanation explain_pair(const Policies& policies, PairSide a, PairSide b) {
  Explanation explanation;
  explanation.sides = {std::move(a), std::move(b)};
  std::vector<Ordered> found;
  add_matches(policies, explanation.sides, found);
  explanation.nodes_mode = pair_mode(explanation.sides[0].mode, explanation.sides[1].mode);
  std::vector<Mode> modes;
  for (Ordered& one : found) {
    if (one.match.problem.empty())
      modes.push_back(mode_of(policies.find(one.match.policy)->document.action));
    explanation.matches.push_back(std::move(one.match));
  }
  modes.push_back(explanation.nodes_mode);
  explanation.mode = modes.front();
  explanation.without = modes.size() > 1 ? modes[1] : modes.front();
  return explanation;
}

nlohmann::ordered_json to_json(const Explanation& it) {
  using Json = nlohmann::ordered_json;
  Json nodes = Json::array();
  for (const PairSide& side : it.sides)
    nodes.push_back({{"node", side.node}, {"mode", to_string(side.mode)}, {"labels", side.labels}});
  Json matches = Json::array();
  for (const PolicyMatch& match : it.matches)
    matches.push_back({{"policy", match.policy},
                       {"order", match.order ? Json(*match.order) : Json(nullptr)},
                       {"action", match.action},
                       {"selector", match.selector},
                       {"peerSelector", match.peer_selector},
                       {"selected", match.selected},
                       {"problem", match.problem}});
  const PolicyMatch* decides = it.decides();
  return {{"nodes", std::move(nodes)},
          {"mode", to_string(it.mode)},
          {"policy", decides == nullptr ? "" : decides->policy},
          {"withoutPolicy", to_string(it.without)},
          {"nodesMode", to_string(it.nodes_mode)},
          {"inForce", it.in_force ? Json(to_string(*it.in_force)) : Json(nullptr)},
          {"state", it.state ? to_string(*it.state) : ""},
          {"reason", it.reason},
          {"matches", std::move(matches)}};
}

std::string render_explanation(const Explanation& it) {
  std::string out = headline(it);
  const auto line = [&out](std::string_view text) { out.append("  ").append(text).append("\n"); };
  const PolicyMatch* decides = it.decides();
  if (decides != nullptr) {
    const bool first = decides->selected == it.sides[0].node;
    line(fmt::format("{} is meant by its selector: {}", it.sides[first ? 0 : 1].node,
                     decides->selector));
    line(fmt::format("{} is meant by its peerSelector: {}", it.sides[first ? 1 : 0].node,
                     decides->peer_selector));
  }
  for (const PairSide& side : it.sides)
    line(fmt::format("labels of {}:{}", side.node, labels_words(side.labels)));
  if (it.state)
    line(fmt::format("state: {}{}", to_string(*it.state),
                     it.reason.empty() ? "" : fmt::format(" ({})", it.reason)));
  for (const PolicyMatch& match : it.matches)
    if (!match.problem.empty())
      line(fmt::format("the policy {} cannot be read and might match: {}", match.policy,
                       match.problem));
  if (it.in_force && *it.in_force != it.mode)
    line(
        fmt::format("in force is {}: while a policy cannot be read, the pair becomes no weaker "
                    "than it was",
                    to_string(*it.in_force)));
  if (decides == nullptr) return out;
  std::string next;
  for (const PolicyMatch& match : it.matches) {
    if (&match == decides || !match.problem.empty()) continue;
    line(fmt::format("matches later and does not count: {} ({}, {})", match.policy,
                     order_words(match), match.action));
    if (next.empty()) next = "by the policy " + match.policy;
  }
  line(fmt::format("without {} it would be {}, {}", decides->policy, to_string(it.without),
                   next.empty() ? "by the nodes' own modes" : next));
  return out;
}

}  // namespace mesh
