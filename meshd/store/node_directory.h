// NodeDirectory: `<path>/nodes`, held open. One thread at a time.
//
// A path can come to mean another directory at any moment (renamed, removed and made anew, mounted
// over), while an open descriptor goes on naming the old one: is_current() tells.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "mesh/result.h"
#include "mesh/unique_fd.h"

namespace mesh {

class NodeDirectory {
 public:
  // Never creates `path`. Creates `nodes` in it where that is missing, unless `known_device` says
  // that the store was seen on another file system: then this one has probably not been mounted
  // (yet), and an empty store in its place would look as if all nodes had left.
  static Result<NodeDirectory> open(const std::filesystem::path& path,
                                    std::optional<dev_t> known_device);

  bool is_current() const;
  // The names of everything in it but "." and "..". An error is an error, never an empty list.
  Result<std::vector<std::string>> list() const;

  int fd() const { return fd_.get(); }
  const std::filesystem::path& path() const { return nodes_; }
  dev_t device() const { return device_; }  // of the file system that `path` is on
  // The path of a file in it, for messages.
  std::string place(const std::string& file) const;

 private:
  NodeDirectory(std::filesystem::path nodes, UniqueFd fd, dev_t device)
      : nodes_(std::move(nodes)), fd_(std::move(fd)), device_(device) {}

  std::filesystem::path nodes_;
  UniqueFd fd_;
  dev_t device_;
};

}  // namespace mesh
