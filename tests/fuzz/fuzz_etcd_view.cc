// Any bytes as keys and values below etcd's prefix. One line is one event: the first byte says what
// happens, then the key and, after a tab, the value.
#include "fuzz/record_fuzzing.h"
#include "meshd/store/etcd/etcd_view.h"

namespace mesh::testing {
namespace {

void check_update(const StoreUpdate& update) {
  std::set<std::string> nodes;
  for (const StoreChange& change : update.changes) {
    require(nodes.insert(change.node).second, "a node once in an update");
    require_printable(change.node);
    if (change.entry == nullptr) continue;
    if (const auto* bad = std::get_if<BadRecord>(change.entry.get()))
      require_printable(bad->message);
    else
      require(std::get<NodeRecord>(*change.entry).name == change.node, "the key names the node");
  }
  for (const PolicyChange& change : update.policies) {
    require_printable(change.policy);
    if (change.entry == nullptr) continue;
    if (const auto* bad = std::get_if<BadRecord>(change.entry.get()))
      require_printable(bad->message);
    else
      require(std::get<EncryptionPolicy>(*change.entry).name == change.policy, "the key names it");
  }
}

}  // namespace
}  // namespace mesh::testing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mesh;           // NOLINT(*-using-namespace): of one function
  using namespace mesh::testing;  // NOLINT(*-using-namespace)
  std::string_view text(reinterpret_cast<const char*>(data), size);
  EtcdView view(EtcdKeys("/meshd"));
  std::int64_t revision = 0;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.empty()) continue;
    const char what = line.front();
    line.remove_prefix(1);
    const std::string_view key = line.substr(0, line.find('\t'));
    const std::string_view value = line.substr(std::min(key.size() + 1, line.size()));
    view.set_revision(++revision);
    if (what == '-') {
      view.remove(key);
    } else if (what == '=') {
      check_update(view.take(value.empty()));
    } else if (what == '!') {
      view.start_over();
    } else if (what == '.') {
      view.finish({key.size(), revision});
    } else {
      view.put(key, value, revision);
    }
  }
  check_update(view.take(false));
  const StoreUpdate everything = view.take(true);
  check_update(everything);
  require(everything.changes.size() == view.nodes().size(), "the whole store");
  require(view.take(false).changes.empty(), "told once");
  return 0;
}
