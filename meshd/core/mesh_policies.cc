// How policies come into the model: before the records of the same update, so that whoever vanishes
// with it is judged by them.
#include <algorithm>

#include "core/mesh_model.h"

namespace mesh {

std::size_t MeshModel::apply_policies(const StoreUpdate& update) {
  const std::size_t changed = policies_.apply(update);
  if (changed == 0) return 0;
  pair_policies_.set_policies(policies_);
  refresh_policies();
  return changed;
}

void MeshModel::remember_policies(const std::vector<EncryptionPolicy>& earlier,
                                  const std::set<std::string>& lost) {
  policies_.remember(earlier, lost);
  if (lost.empty()) return;
  pair_policies_.set_policies(policies_);
  refresh_policies();
}

// The store's word counts, because the peers go by it, too. Of a record that cannot be read the
// last good labels stay.
void MeshModel::take_own_labels() {
  if (own_bad_) return;
  if (const NodeRecord* record = own_record())
    own_labels_ = record->labels;
  else if (restored_labels_ && !store_answered_)
    own_labels_ = *restored_labels_;
  else
    own_labels_ = local_.labels;
  pair_policies_.set_own(own_labels_);
  refresh_policies();
}

void MeshModel::refresh_policies() {
  for (const std::string& node : pair_policies_.settle()) {
    Peer& peer = peers_.at(node);
    peer.set_policy(pair_policies_.of(node));
    dirty_.insert(node);
  }
}

bool MeshModel::must_close() const {
  return std::any_of(peers_.begin(), peers_.end(), [&](const auto& item) {
    return item.second.mode(local_) == Mode::kRequire || item.second.decision().path == Path::kDrop;
  });
}

}  // namespace mesh
