// What Reconciler::explain says of two nodes.
#include <nlohmann/json.hpp>

#include "core/explanation.h"
#include "meshd/daemon/reconciler.h"

namespace mesh {
namespace {

Result<PairSide> side_of(const MeshModel& model, const std::string& node) {
  const LocalNode& local = model.local();
  if (node == local.name) return PairSide{node, model.own_labels(), local.mode};
  const auto peer = model.peers().find(node);
  if (peer != model.peers().end())
    return PairSide{node, peer->second.record().labels, peer->second.announcement().mode};
  const auto refused = model.refused().find(node);
  if (refused != model.refused().end())
    return make_error(ErrorCode::kNotFound, "{} is no peer: its record is refused: {}", node,
                      refused->second);
  return make_error(ErrorCode::kNotFound, "{} knows no node '{}'", local.name, node);
}

}  // namespace

Result<std::string> Reconciler::explain(const std::string& node, const std::string& other) const {
  if (node == other)
    return make_error(ErrorCode::kInvalid, "'{}' alone is no pair: name two nodes", node);
  auto a = side_of(model_, node);
  if (!a) return a.error();
  auto b = side_of(model_, other);
  if (!b) return b.error();
  Explanation explanation = explain_pair(model_.policies(), std::move(*a), std::move(*b));
  const std::string& own = model_.local().name;
  const auto peer = model_.peers().find(node == own ? other : node);
  if ((node == own || other == own) && peer != model_.peers().end()) {
    explanation.in_force = peer->second.mode(model_.local());
    explanation.state = peer->second.decision().state;
    explanation.reason = std::string(mesh::explain(peer->second.decision().reason));
  }
  nlohmann::ordered_json json = to_json(explanation);
  json["text"] = render_explanation(explanation);
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace mesh
