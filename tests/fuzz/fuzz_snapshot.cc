// Any bytes as a snapshot, and as what stands under a checksum that is right.
#include "fuzz/record_fuzzing.h"
#include "meshd/store/snapshot.h"

namespace mesh::testing {
namespace {

void check_snapshot(std::string_view text) {
  Result<Snapshot> read = parse_snapshot(text, "fuzz");
  if (!read) {
    require(read.error().code == ErrorCode::kInvalid, "what cannot be read is invalid");
    return require_printable(read.error().message);
  }
  for (const std::string& problem : read->problems) require_printable(problem);
  require(!read->store.node.empty(), "a snapshot says whose it is");
  for (SnapshotNode& node : read->nodes) {
    require(node.record != nullptr, "every node has its record");
    NodeRecord record = std::get<NodeRecord>(*node.record);
    record.problems.clear();
    node.record = std::make_shared<const StoreEntry>(std::move(record));
  }
  if (Snapshot& whole = *read; whole.own) whole.own->problems.clear();
  const auto again = parse_snapshot(format_snapshot(*read), "again");
  require(again.has_value(), "what was read can be written and read again");
  require(again->store == read->store && again->written == read->written &&
              again->nodes == read->nodes && again->policies == read->policies &&
              again->own_labels == read->own_labels && again->own == read->own &&
              again->problems.empty(),
          "and is the same then");
}

}  // namespace
}  // namespace mesh::testing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  mesh::testing::check_snapshot(text);
  mesh::testing::check_snapshot(mesh::seal_snapshot(text));
  return 0;
}
