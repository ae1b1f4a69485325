// The directory store against the real file system: what may happen to the directory itself, to
// the folder of policies in it, and to the file system that it is on.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "meshd/store/directory_admin.h"
#include "meshd/store/directory_store.h"
#include "meshd/store/policy_codec.h"
#include "store/directory_fixture.h"

namespace mesh::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// ---- the directory ----

TEST_F(DirectoryStoreTest, IsOutWithoutItsDirectoryAndNeverMakesIt) {
  remove_tree(path_);
  ObservedStore store(make_store());
  store->publish(example_record("node-a"));
  ASSERT_TRUE(store.seen().wait_out());
  EXPECT_THAT(store.seen().now().error,
              AllOf(HasSubstr(path_.string()), HasSubstr("store.directory.path")));
  EXPECT_FALSE(fs::exists(path_));
  fs::create_directory(path_);
  EXPECT_TRUE(store.seen().wait_record(example_record("node-a"))) << "nodes/ it makes itself";
}

TEST_F(DirectoryStoreTest, IsOutWhereItsPathIsAFile) {
  remove_tree(path_);
  write(path_, "x");
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_out());
  EXPECT_THAT(store.seen().now().error, HasSubstr("Not a directory"));
}

TEST_F(DirectoryStoreTest, WholeTreeRemovedIsAnOutageNotADeparture) {
  for (int i = 0; i < 200; ++i) put(example_record(fmt::format("node-{}", i)));
  options_.settle = std::chrono::minutes(2);  // longer than any machine takes for it
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  remove_tree(path_);
  ASSERT_TRUE(store.seen().wait_out());
  EXPECT_TRUE(store.seen().now().ever_gone.empty());
  EXPECT_EQ(store.seen().now().entries.size(), 200U);
  fs::create_directories(nodes_);
  put(example_record("node-7"));
  EXPECT_TRUE(store.seen().wait_record(example_record("node-7")));
}

TEST_F(DirectoryStoreTest, NodesDirectoryRemovedIsMadeAnewOnTheSameFileSystem) {
  ObservedStore store(make_store());
  store->publish(example_record("node-a"));
  ASSERT_TRUE(store.seen().wait_record(example_record("node-a")));
  remove_tree(nodes_);
  EXPECT_TRUE(store.seen().wait("nodes/ again", [&](const Observed& seen) {
    return seen.completes == 2 && seen.record("node-a") != nullptr;
  })) << "with the own record in it";
  EXPECT_TRUE(fs::exists(file_of("node-a")));
}

TEST_F(DirectoryStoreTest, AnotherDirectoryInItsPlaceIsReadAsAWhole) {
  put(example_record("node-b"));
  put(example_record("node-c"));
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  fs::create_directories(root_ / "next" / "nodes");
  write(root_ / "next" / "nodes" / "node-c.yaml",
        format_record_yaml(example_record("node-c", "2")));
  write(root_ / "next" / "nodes" / "node-d.yaml", format_record_yaml(example_record("node-d")));
  ASSERT_EQ(
      ::renameat2(AT_FDCWD, (root_ / "next").c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE), 0);
  ASSERT_TRUE(store.seen().wait_record(example_record("node-d")));
  EXPECT_TRUE(store.seen().wait_record(example_record("node-c", "2")));
  EXPECT_FALSE(store.seen().now().has("node-b"));
  put(example_record("node-e"));
  EXPECT_TRUE(store.seen().wait_record(example_record("node-e"))) << "and watched";
}

TEST_F(DirectoryStoreTest, NodesDirectoryReplacedIsReadAsAWhole) {
  put(example_record("node-b"));
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  fs::create_directory(path_ / "next");
  write(path_ / "next" / "node-c.yaml", format_record_yaml(example_record("node-c")));
  ASSERT_EQ(
      ::renameat2(AT_FDCWD, (path_ / "next").c_str(), AT_FDCWD, nodes_.c_str(), RENAME_EXCHANGE),
      0);
  ASSERT_TRUE(store.seen().wait_record(example_record("node-c")));
  EXPECT_TRUE(store.seen().wait_gone("node-b"));
}

TEST_F(DirectoryStoreTest, AMovedParentDirectoryIsNoticed) {
  const fs::path deep = root_ / "a" / "b" / "store";
  fs::create_directories(deep / "nodes");
  ObservedStore store(std::make_unique<DirectoryStore>(deep, options_));
  ASSERT_TRUE(store.seen().wait_in_sync());
  fs::rename(root_ / "a", root_ / "z");
  ASSERT_TRUE(store.seen().wait_out());
  fs::rename(root_ / "z", root_ / "a");
  EXPECT_TRUE(store.seen().wait_in_sync());
}

TEST_F(DirectoryStoreTest, WithoutDescriptorsToSpareNothingIsGone) {
  put(example_record("node-b"));
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none{3, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  fs::rename(file_of("node-b"), file_of("node-c"));  // an event, to be answered by opening
  const bool out = store.seen().wait_out();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  ASSERT_TRUE(out);
  EXPECT_TRUE(store.seen().now().ever_gone.empty());
  EXPECT_TRUE(store.seen().wait_gone("node-b"));
  EXPECT_TRUE(store.seen().wait_bad("node-c"));
}

// ---- policies/ ----

TEST_F(DirectoryStoreTest, AMissingPoliciesFolderIsAnEmptyOneAndIsNeverMade) {
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  EXPECT_TRUE(store.seen().now().policies.empty());
  EXPECT_EQ(store.seen().now().error, "");
  EXPECT_EQ(names_in(path_), std::set<std::string>{"nodes"});
}

TEST_F(DirectoryStoreTest, ThePoliciesFolderMayComeAndGo) {
  const fs::path policies = path_ / "policies";
  const EncryptionPolicy policy{"databases", 1, "a", "b", PolicyAction::kRequire};
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  for (int i = 0; i < 3; ++i) {
    fs::create_directory(policies);
    write(policies / "databases.yaml", format_policy_yaml(policy));
    ASSERT_TRUE(store.seen().wait_policy(policy));
    fs::remove_all(policies);
    ASSERT_TRUE(store.seen().wait_policy_gone("databases"));
  }
  EXPECT_TRUE(store.seen().now().in_sync);
}

TEST_F(DirectoryStoreTest, ARemovedPoliciesFolderHasToSettleBeforeItCounts) {
  const fs::path policies = path_ / "policies";
  const EncryptionPolicy policy{"databases", 1, "a", "b", PolicyAction::kRequire};
  fs::create_directory(policies);
  write(policies / "databases.yaml", format_policy_yaml(policy));
  options_.settle = std::chrono::minutes(2);
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_policy(policy));
  fs::remove_all(policies);  // the first that an `rm -r` of the whole store takes
  put(example_record("node-b"));
  ASSERT_TRUE(store.seen().wait_record(example_record("node-b")));
  remove_tree(path_);
  ASSERT_TRUE(store.seen().wait_out());
  EXPECT_TRUE(store.seen().now().policies_ever_gone.empty());
}

TEST_F(DirectoryStoreTest, AFileWhoseNameIsNoneIsForgottenWhenItGoes) {
  write(nodes_ / "Not A Name.yaml", "name: x\n");
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_bad("Not A Name"));
  fs::remove(nodes_ / "Not A Name.yaml");
  EXPECT_TRUE(store.seen().wait_gone("Not A Name"));
}

TEST_F(DirectoryStoreTest, AnOperatorsWriteMakesThePoliciesFolderButNeverTheStore) {
  DirectoryAdmin admin(path_);
  const EncryptionPolicy policy{"databases", 1, "a", "b", PolicyAction::kRequire};
  EXPECT_FALSE(admin.delete_policy("databases"));
  EXPECT_FALSE(fs::exists(path_ / "policies"));
  ASSERT_TRUE(admin.put_policy(policy));
  EXPECT_EQ(read_text(path_ / "policies" / "databases.yaml"), format_policy_yaml(policy));
  struct stat before {};
  struct stat after {};
  ASSERT_EQ(::stat((path_ / "policies" / "databases.yaml").c_str(), &before), 0);
  ASSERT_TRUE(admin.put_policy(policy));
  ASSERT_EQ(::stat((path_ / "policies" / "databases.yaml").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino) << "an equal one is not written again";
  EncryptionPolicy unreadable = policy;
  unreadable.selector = "";
  EXPECT_FALSE(admin.put_policy(unreadable));
  ASSERT_TRUE(admin.put_node(example_record("node-b")));
  ASSERT_TRUE(admin.delete_node("node-b"));
  EXPECT_TRUE(fs::is_empty(nodes_));
  remove_tree(path_);
  const auto put = admin.put_policy(policy);
  ASSERT_FALSE(put);
  EXPECT_THAT(put.error().message, HasSubstr("store.directory.path"));
  EXPECT_FALSE(fs::exists(path_));
}

// ---- mounts: in a mount namespace of a child process, so that the machine's own stay as they are

// Runs `body` there; its gtest failures are printed by the child and fail the parent.
void in_mount_namespace(const std::function<void()>& body) {
  const pid_t pid = ::fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      ::_exit(77);
    body();
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
    GTEST_SKIP() << "SKIPPED LOUDLY: no mount namespace here (needs root), so read-only and "
                    "unmounted stores are not tested";
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

TEST_F(DirectoryStoreTest, OnAReadOnlyFileSystemTheOwnRecordIsReportedAndReadsGoOn) {
  in_mount_namespace([this] {
    ASSERT_EQ(::mount("tmpfs", path_.c_str(), "tmpfs", 0, nullptr), 0);
    fs::create_directory(nodes_);
    put(example_record("node-b"));
    ASSERT_EQ(::mount(nullptr, path_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
    ObservedStore store(make_store());
    store->publish(example_record("node-a"));
    ASSERT_TRUE(store.seen().wait("the error", [](const Observed& seen) {
      return seen.in_sync && seen.error.find("Read-only file system") != std::string::npos;
    }));
    EXPECT_TRUE(store.seen().wait_record(example_record("node-b")));
    ASSERT_EQ(::mount(nullptr, path_.c_str(), nullptr, MS_REMOUNT, nullptr), 0);
    EXPECT_TRUE(store.seen().wait_record(example_record("node-a")));
    EXPECT_TRUE(
        store.seen().wait("no error", [](const Observed& seen) { return seen.error.empty(); }));
  });
}

TEST_F(DirectoryStoreTest, AnUnmountedFileSystemIsAnOutageAndIsNotReplacedByAnEmptyStore) {
  fs::remove(nodes_);  // the mount point itself is an empty directory
  options_.rescan = std::chrono::milliseconds(100);
  in_mount_namespace([this] {
    ASSERT_EQ(::mount("tmpfs", path_.c_str(), "tmpfs", 0, nullptr), 0);
    fs::create_directory(nodes_);
    put(example_record("node-b"));
    ObservedStore store(make_store());
    store->publish(example_record("node-a"));
    ASSERT_TRUE(store.seen().wait_record(example_record("node-a")));
    ASSERT_EQ(::umount2(path_.c_str(), MNT_DETACH), 0);
    ASSERT_TRUE(store.seen().wait_out());
    EXPECT_THAT(store.seen().now().error, HasSubstr("another file system"));
    EXPECT_TRUE(store.seen().now().ever_gone.empty());
    EXPECT_TRUE(fs::is_empty(path_));
  });
}

}  // namespace
}  // namespace mesh::testing
