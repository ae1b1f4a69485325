// DirectoryStoreTest: a directory store of each test's own, and what is done to its files.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>

#include "meshd/store/directory_store.h"
#include "meshd/store/record_codec.h"
#include "store/observer.h"
#include "temporary_directory.h"

namespace mesh::testing {

namespace fs = std::filesystem;

// The store may make nodes/ again while the tree goes.
inline void remove_tree(const fs::path& path) {
  std::error_code error;
  do {
    fs::remove_all(path, error);
  } while (error);
}

inline std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::set<std::string> names_in(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory))
    names.insert(entry.path().filename().string());
  return names;
}

class DirectoryStoreTest : public ::testing::Test {
 protected:
  DirectoryStoreTest() { fs::create_directories(nodes_); }

  std::unique_ptr<DirectoryStore> make_store() const {
    return std::make_unique<DirectoryStore>(path_, options_);
  }
  fs::path file_of(const std::string& node) const { return nodes_ / (node + ".yaml"); }
  void write(const fs::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
  }
  void put(const NodeRecord& record) { write(file_of(record.name), format_record_yaml(record)); }

  TemporaryDirectory root_;
  fs::path path_ = root_ / "store";
  fs::path nodes_ = path_ / "nodes";
  DirectoryStoreOptions options_;
};

}  // namespace mesh::testing
