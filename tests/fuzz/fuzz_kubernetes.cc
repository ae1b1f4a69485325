// What an API server answers, and kubeconfigs: the first byte chooses which is read.
#include "fuzz/record_fuzzing.h"
#include "meshd/store/kubernetes/access.h"
#include "meshd/store/kubernetes/api_codec.h"
#include "meshd/store/kubernetes/policy_object.h"

namespace {

using mesh::testing::require;
using mesh::testing::require_printable;

template <class Entry>
void check_entry(const Entry& entry) {
  if (const auto* bad = std::get_if<mesh::BadRecord>(&entry)) require_printable(bad->message);
}

void check_object(const nlohmann::json& object) {
  const mesh::StoreEntry entry = mesh::entry_of_node(object);
  check_entry(entry);
  if (const auto* record = std::get_if<mesh::NodeRecord>(&entry)) {
    require(record->name == mesh::name_of(object), "the record has the name of its Node");
    require(record->addresses.size() <= mesh::kMaxRecordAddresses, "addresses are bounded");
    for (const auto& [key, value] : record->annotations)
      require(key.starts_with(mesh::kAnnotationPrefix), "annotations are meshd's alone");
    for (const std::string& problem : record->problems) require_printable(problem);
  }
  check_entry(mesh::entry_of_policy(object));
  // What was written is as it was wanted.
  const mesh::Annotations present = mesh::own_annotations(object);
  require(mesh::annotations_patch(present, present).empty(), "nothing to do is nothing done");
}

void check_list(std::string_view text) {
  const auto list = mesh::parse_api_list(text);
  if (!list) return require_printable(list.error().message);
  for (const auto& item : list->items) check_object(item);
}

void check_event(std::string_view text) {
  const auto event = mesh::parse_watch_event(text);
  if (!event) return require_printable(event.error().message);
  if (event->kind == mesh::WatchEvent::Kind::kError)
    return require_printable(mesh::status_of(event->object).message);
  check_object(event->object);
}

void check_kubeconfig(std::string_view text) {
  const auto access = mesh::parse_kubeconfig(text, "kubeconfig", "/etc");
  if (!access) return require_printable(access.error().message);
  require(access->server.starts_with("http"), "a server is a URL");
  require_printable(access->server);
  require_printable(access->source);
  require(access->certificate.empty() == access->key.empty(), "certificate and key go together");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      check_list(text);
      break;
    case 1:
      check_event(text);
      break;
    case 2:
      require_printable(mesh::parse_api_status(text).message);
      break;
    default:
      check_kubeconfig(text);
  }
  return 0;
}
