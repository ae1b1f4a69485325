#include "meshd/store/directory_admin.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "meshd/store/folder_view.h"
#include "meshd/store/record_file.h"
#include "meshd/store/store_folder.h"

namespace mesh {
namespace {

std::string file_of(const std::string& name) { return name + ".yaml"; }

// `Change` is StoreChange or PolicyChange.
template <class Value, class Change>
Result<void> read_folder(const StoreFolder& folder, const RecordKind<Value>& kind,
                         std::vector<Change>& changes) {
  FolderView<Value> view(Duration::zero(), kind);
  typename FolderView<Value>::Changes everything;
  if (auto read = view.read_all(folder, {}, everything); !read) return read;
  for (auto& [name, entry] : everything) changes.push_back({name, std::move(entry)});
  return {};
}

template <class Value>
Result<void> put(const StoreFolder& folder, const std::string& name, const std::string& text,
                 const RecordKind<Value>& kind) {
  if (auto checked = kind.check_name(name); !checked) return checked;
  const std::string file = file_of(name);
  auto written = write_record_file(folder.fd(), file, folder.place(file), name, text, kind);
  if (!written) return written.error();
  return {};
}

Result<void> remove(const StoreFolder& folder, const std::string& name, std::string_view what) {
  const std::string file = file_of(name);
  if (folder.exists() && ::unlinkat(folder.fd(), file.c_str(), 0) == 0) {
    // Gone for every reader; only a crash of the machine could still undo it.
    (void)::fsync(folder.fd());
    return {};
  }
  if (!folder.exists() || errno == ENOENT)
    return make_error(ErrorCode::kNotFound, "there is no {} '{}' in {}", what, name,
                      folder.path().string());
  const bool refused = errno == EACCES || errno == EPERM || errno == EROFS;
  return Error{refused ? ErrorCode::kPermission : ErrorCode::kIo,
               fmt::format("{}: cannot be removed: {}", folder.place(file),
                           std::generic_category().message(errno)),
               errno};
}

}  // namespace

Result<StoreAdmin::Contents> DirectoryAdmin::read() {
  const auto directory = StoreDirectory::open(path_, std::nullopt);
  if (!directory) return directory.error();
  Contents contents;
  if (auto read = read_folder(directory->nodes(), kNodeRecords, contents.nodes); !read)
    return read.error();
  if (auto read = read_folder(directory->policies(), kPolicies, contents.policies); !read)
    return read.error();
  return contents;
}

Result<void> DirectoryAdmin::put_node(const NodeRecord& record) {
  const auto directory = StoreDirectory::open(path_, std::nullopt);
  if (!directory) return directory.error();
  return put(directory->nodes(), record.name, format_record_yaml(record), kNodeRecords);
}

Result<void> DirectoryAdmin::delete_node(const std::string& name) {
  if (auto checked = check_node_name(name); !checked) return checked;
  const auto directory = StoreDirectory::open(path_, std::nullopt);
  if (!directory) return directory.error();
  return remove(directory->nodes(), name, "record of a node");
}

Result<void> DirectoryAdmin::put_policy(const EncryptionPolicy& policy) {
  const auto directory = StoreDirectory::open(path_, std::nullopt, /*with_policies=*/true);
  if (!directory) return directory.error();
  return put(directory->policies(), policy.name, format_policy_yaml(policy), kPolicies);
}

Result<void> DirectoryAdmin::delete_policy(const std::string& name) {
  if (auto checked = check_policy_name(name); !checked) return checked;
  const auto directory = StoreDirectory::open(path_, std::nullopt);
  if (!directory) return directory.error();
  return remove(directory->policies(), name, "policy");
}

}  // namespace mesh
