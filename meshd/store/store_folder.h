// StoreFolder: one folder of a directory store, `<path>/nodes` or `<path>/policies`, held open, or
// known to be missing. One thread at a time.
//
// A path can come to mean another directory at any moment (renamed, removed and made anew, mounted
// over), while an open descriptor goes on naming the old one: is_current() tells.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "mesh/result.h"
#include "mesh/unique_fd.h"

namespace mesh {

class StoreFolder {
 public:
  bool exists() const { return static_cast<bool>(fd_); }
  bool is_current() const;  // of a missing one: it still is
  // The names of everything in it but "." and ".."; none when it is missing. An error is an error,
  // never an empty list.
  Result<std::vector<std::string>> list() const;

  int fd() const { return fd_.get(); }  // -1: missing
  const std::filesystem::path& path() const { return path_; }
  // The path of a file in it, for messages.
  std::string place(const std::string& file) const;

 private:
  friend class StoreDirectory;
  StoreFolder(std::filesystem::path path, UniqueFd fd)
      : path_(std::move(path)), fd_(std::move(fd)) {}

  std::filesystem::path path_;
  UniqueFd fd_;
};

class StoreDirectory {
 public:
  static constexpr const char* kNodes = "nodes";
  static constexpr const char* kPolicies = "policies";

  // What a missing `path` is never: made. `nodes` in it is, where that is missing, unless
  // `known_device` says that the store was seen on another file system: then this one has probably
  // not been mounted (yet), and an empty store in its place would look as if all nodes had left.
  // A missing `policies` is an empty one, and only made for `with_policies`: to write into.
  static Result<StoreDirectory> open(const std::filesystem::path& path,
                                     std::optional<dev_t> known_device, bool with_policies = false);

  bool is_current() const { return nodes_.is_current() && policies_.is_current(); }
  const StoreFolder& nodes() const { return nodes_; }
  const StoreFolder& policies() const { return policies_; }
  dev_t device() const { return device_; }  // of the file system that `path` is on

 private:
  StoreDirectory(StoreFolder nodes, StoreFolder policies, dev_t device)
      : nodes_(std::move(nodes)), policies_(std::move(policies)), device_(device) {}

  StoreFolder nodes_;
  StoreFolder policies_;
  dev_t device_;
};

}  // namespace mesh
