#include "meshd/store/etcd/etcd_keys.h"

#include <array>
#include <utility>

namespace mesh {

EtcdKeys::EtcdKeys(std::string prefix) : prefix_(std::move(prefix)) {
  while (prefix_.ends_with('/')) prefix_.pop_back();
}

EtcdKeys::Parsed EtcdKeys::parse(std::string_view key) const {
  constexpr std::array<std::pair<std::string_view, Kind>, 4> kKinds{
      {{"/nodes/", Kind::kNode},
       {"/live/", Kind::kLive},
       {"/silent/", Kind::kSilent},
       {"/policies/", Kind::kPolicy}}};
  if (!key.starts_with(prefix_)) return {};
  key.remove_prefix(prefix_.size());
  for (const auto& [text, kind] : kKinds)
    if (key.starts_with(text)) return {kind, key.substr(text.size())};
  return {};
}

}  // namespace mesh
