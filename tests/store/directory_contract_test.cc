// The contract of stores, run against the directory store.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "meshd/store/directory_admin.h"
#include "meshd/store/directory_store.h"
#include "meshd/store/record_codec.h"
#include "store_contract.h"
#include "temporary_directory.h"

namespace mesh::testing {
namespace {

class DirectoryUnderTest : public StoreUnderTest {
 public:
  DirectoryUnderTest() { std::filesystem::create_directories(present_ / "nodes"); }

  std::unique_ptr<NodeStore> client() override {
    return std::make_unique<DirectoryStore>(root_ / "store", options());
  }
  void put(const NodeRecord& record) override { write(record.name, format_record_yaml(record)); }
  void fill(const std::vector<NodeRecord>& records) override {
    for (const NodeRecord& record : records)
      std::ofstream(file_of(record.name), std::ios::binary) << format_record_yaml(record);
  }
  void put_garbage(const std::string& node) override { write(node, "name: [\n"); }
  void remove(const std::string& node) override { std::filesystem::remove(file_of(node)); }
  std::optional<NodeRecord> get(const std::string& node) override {
    std::ifstream file(file_of(node), std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    auto record = parse_record_yaml(text.str(), "test", node);
    if (!record) return std::nullopt;
    return *record;
  }
  std::string revision(const std::string& node) override {
    struct stat status {};
    if (::stat(file_of(node).c_str(), &status) != 0) return "none";
    return fmt::format("{} {}.{}", status.st_ino, status.st_ctim.tv_sec, status.st_ctim.tv_nsec);
  }
  std::unique_ptr<StoreAdmin> admin() override {
    return std::make_unique<DirectoryAdmin>(root_ / "store");
  }
  void put_garbage_policy(const std::string& policy) override {
    std::filesystem::create_directory(present_ / "policies");
    std::ofstream(present_ / "policies" / (policy + ".yaml"), std::ios::binary) << "spec: [\n";
  }
  void go_away() override {
    std::filesystem::rename(root_ / "store", root_ / "away");
    present_ = root_ / "away";
  }
  void come_back() override {
    std::filesystem::rename(root_ / "away", root_ / "store");
    present_ = root_ / "store";
  }

 protected:
  virtual DirectoryStoreOptions options() const { return {}; }

 private:
  std::filesystem::path file_of(const std::string& node) const {
    return present_ / "nodes" / (node + ".yaml");
  }
  void write(const std::string& node, const std::string& text) {
    const std::filesystem::path temporary = present_ / "nodes" / ".written-by-the-test";
    std::ofstream(temporary, std::ios::binary) << text;
    std::filesystem::rename(temporary, file_of(node));
  }

  TemporaryDirectory root_;
  std::filesystem::path present_ = root_ / "store";
};

// As on a kernel without inotify watches to spare, or on a file system whose remote writes make no
// events: everything is found by the rescan.
class UnwatchedDirectoryUnderTest : public DirectoryUnderTest {
  DirectoryStoreOptions options() const override {
    DirectoryStoreOptions options;
    options.use_inotify = false;
    options.rescan_unwatched = std::chrono::milliseconds(20);
    options.settle = std::chrono::milliseconds(10);
    return options;
  }
};

const auto kBackends = ::testing::Values(
    StoreBackend{"Directory", make_store_under_test<DirectoryUnderTest>},
    StoreBackend{"UnwatchedDirectory", make_store_under_test<UnwatchedDirectoryUnderTest>});

INSTANTIATE_TEST_SUITE_P(Stores, StoreContract, kBackends, NameOfBackend());
INSTANTIATE_TEST_SUITE_P(Stores, StorePolicyContract, kBackends, NameOfBackend());

}  // namespace
}  // namespace mesh::testing
