// The snapshot's file and the thread that writes it.
#include "meshd/store/snapshot_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "meshd/store/snapshot_writer.h"

namespace mesh {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const StoreIdentity kStore{"directory", "/store", "node-a"};

Snapshot snapshot_of(int nodes) {
  Snapshot snapshot;
  snapshot.store = kStore;
  for (int n = 0; n < nodes; ++n) {
    NodeRecord record;
    record.name = fmt::format("node-{:05}", n);
    snapshot.nodes.push_back({std::make_shared<const StoreEntry>(record), std::nullopt, false});
  }
  return snapshot;
}

class SnapshotFile : public ::testing::Test {
 protected:
  SnapshotFile() {
    std::string path = (fs::temp_directory_path() / "snapshot-XXXXXX").native();
    EXPECT_NE(::mkdtemp(path.data()), nullptr);
    directory = path;
    file = directory / "node-a.snapshot";
  }
  ~SnapshotFile() override {
    std::error_code ignored;
    fs::remove_all(directory, ignored);
  }

  void write(const std::string& text) const { std::ofstream(file) << text; }
  std::string read() const {
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    return text.str();
  }
  std::string why_not() const {
    const auto loaded = load_snapshot(file, kStore);
    EXPECT_FALSE(loaded.has_value());
    if (loaded) return "";
    EXPECT_THAT(loaded.error().message, HasSubstr(file.native()));
    return loaded.error().message;
  }
  std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
  }

  fs::path directory;
  fs::path file;
};

TEST_F(SnapshotFile, NoFileIsNoSnapshotAndNoError) {
  const auto loaded = load_snapshot(file, kStore);
  ASSERT_TRUE(loaded.has_value());
  EXPECT_FALSE(loaded->has_value());
}

TEST_F(SnapshotFile, IsItsOwnersAloneAndReplacedWhole) {
  const mode_t before = ::umask(0);
  ASSERT_TRUE(save_snapshot(file, snapshot_of(3)));
  ASSERT_TRUE(save_snapshot(file, snapshot_of(2)));
  (void)::umask(before);
  struct stat status {};
  ASSERT_EQ(::stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0600U);
  EXPECT_EQ(files(), 1U);
  const auto loaded = load_snapshot(file, kStore);
  ASSERT_TRUE(loaded && *loaded);
  EXPECT_EQ((*loaded)->nodes.size(), 2U);
}

TEST_F(SnapshotFile, WhatACrashLeftBesideItIsRemovedAndNothingElseIs) {
  const fs::path left = directory / ".node-a.snapshot.0123456789abcdef.tmp";
  const fs::path others = directory / ".node-b.snapshot.0123456789abcdef.tmp";
  std::ofstream(left) << "half";
  std::ofstream(others) << "half";
  ASSERT_TRUE(load_snapshot(file, kStore));
  EXPECT_FALSE(fs::exists(left));
  EXPECT_TRUE(fs::exists(others));
}

TEST_F(SnapshotFile, AnotherStoresOrNodesIsNotUsed) {
  ASSERT_TRUE(save_snapshot(file, snapshot_of(1)));
  for (const StoreIdentity& other :
       {StoreIdentity{"etcd", "/store", "node-a"}, StoreIdentity{"directory", "/other", "node-a"},
        StoreIdentity{"directory", "/store", "node-b"}}) {
    const auto loaded = load_snapshot(file, other);
    ASSERT_FALSE(loaded);
    EXPECT_THAT(loaded.error().message, HasSubstr("/store"));
  }
}

TEST_F(SnapshotFile, WhatCannotBeUsedIsNamedAndLeftAsItIs) {
  write("something else\n");
  EXPECT_THAT(why_not(), HasSubstr("no snapshot"));
  EXPECT_EQ(read(), "something else\n");
}

TEST_F(SnapshotFile, IsReadOnlyWhereNobodyElseCanWriteIt) {
  ASSERT_TRUE(save_snapshot(file, snapshot_of(1)));
  ASSERT_EQ(::chmod(file.c_str(), 0620), 0);
  EXPECT_THAT(why_not(), HasSubstr("others"));
  ASSERT_EQ(::chmod(file.c_str(), 0644), 0);
  EXPECT_TRUE(load_snapshot(file, kStore));
  if (::geteuid() != 0) GTEST_SKIP() << "giving a file to another user needs root";
  ASSERT_EQ(::chown(file.c_str(), 12345, 0), 0);
  EXPECT_THAT(why_not(), HasSubstr("12345"));
}

TEST_F(SnapshotFile, OnlyAFileIsRead) {
  ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
  EXPECT_THAT(why_not(), HasSubstr("regular file"));
  fs::remove(file);
  fs::create_directory(file);
  EXPECT_THAT(why_not(), HasSubstr("regular file"));
  fs::remove(file);
  fs::create_symlink("/dev/zero", file);
  EXPECT_THAT(why_not(), HasSubstr("symbolic link"));
}

TEST_F(SnapshotFile, OneThatIsTooLargeIsNotReadAtAll) {
  write("");
  ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
  ASSERT_EQ(::truncate(file.c_str(), static_cast<off_t>(kMaxSnapshotBytes) + 1), 0);
  EXPECT_THAT(why_not(), HasSubstr("at most"));
}

TEST_F(SnapshotFile, OneThatWouldBeTooLargeIsNotWrittenAndTheOldOneStays) {
  ASSERT_TRUE(save_snapshot(file, snapshot_of(1)));
  Snapshot large = snapshot_of(70);
  for (SnapshotNode& node : large.nodes) {
    NodeRecord record = std::get<NodeRecord>(*node.record);
    record.labels["a"] = std::string(1'000'000, 'x');
    node.record = std::make_shared<const StoreEntry>(std::move(record));
  }
  const auto saved = save_snapshot(file, large);
  ASSERT_FALSE(saved);
  EXPECT_THAT(saved.error().message, HasSubstr("at most"));
  const auto loaded = load_snapshot(file, kStore);
  ASSERT_TRUE(loaded && *loaded);
  EXPECT_EQ((*loaded)->nodes.size(), 1U);
}

TEST_F(SnapshotFile, AMissingDirectoryIsSaidAndNotMade) {
  const fs::path elsewhere = directory / "missing" / "a.snapshot";
  const auto saved = save_snapshot(elsewhere, snapshot_of(1));
  ASSERT_FALSE(saved);
  EXPECT_THAT(saved.error().message, HasSubstr("directory cannot be opened"));
  EXPECT_FALSE(fs::exists(elsewhere.parent_path()));
}

// --- the thread ---

TEST_F(SnapshotFile, TheWriterHasWrittenTheLastOneWhenItHasStopped) {
  SnapshotWriter writer(file);
  for (int n = 1; n <= 50; ++n) writer.save(snapshot_of(n));
  writer.stop();
  writer.stop();
  EXPECT_EQ(writer.problem(), "");
  const auto loaded = load_snapshot(file, kStore);
  ASSERT_TRUE(loaded && *loaded);
  EXPECT_EQ((*loaded)->nodes.size(), 50U);
}

TEST_F(SnapshotFile, TheWriterTriesAgainUntilItCan) {
  const fs::path later = directory / "later";
  SnapshotWriter writer(later / "a.snapshot");
  writer.save(snapshot_of(1));
  while (writer.problem().empty()) std::this_thread::yield();
  EXPECT_THAT(writer.problem(), HasSubstr("later"));
  fs::create_directory(later);
  while (!writer.problem().empty()) std::this_thread::yield();
  EXPECT_TRUE(fs::exists(later / "a.snapshot"));
}

TEST_F(SnapshotFile, TheWriterStopsAlsoWhenItCannotWrite) {
  SnapshotWriter writer(directory / "missing" / "a.snapshot");
  writer.save(snapshot_of(1));
  writer.stop();
  EXPECT_NE(writer.problem(), "");
}

}  // namespace
}  // namespace mesh
