// The directory store against the real file system: what its files may be, what their writers may
// do, and what may happen to the directory itself.
#include "meshd/store/directory_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

#include "mesh/unique_fd.h"
#include "meshd/store/directory_admin.h"
#include "meshd/store/policy_codec.h"
#include "meshd/store/record_codec.h"
#include "meshd/store/record_file.h"
#include "observer.h"
#include "temporary_directory.h"

namespace mesh::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

// The store may make nodes/ again while the tree goes.
void remove_tree(const fs::path& path) {
  std::error_code error;
  do {
    fs::remove_all(path, error);
  } while (error);
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::set<std::string> names_in(const fs::path& directory) {
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

// ---- files ----

TEST_F(DirectoryStoreTest, WritesOneReadableFileInBlockStyleAndLeavesNothingElse) {
  ObservedStore store(make_store());
  NodeRecord record = example_record("node-a");
  record.annotations = {{std::string(kPublicKeyAnnotation), "8520f0098930a754748b7ddcb43ef75a0db="},
                        {std::string(kModeAnnotation), "prefer"}};
  const mode_t before = ::umask(0777);
  store->publish(record);
  ASSERT_TRUE(store.seen().wait_record(record));
  ::umask(before);
  EXPECT_EQ(read_text(file_of("node-a")), R"(name: node-a
addresses:
  - 192.0.2.1
  - "2001:db8::1"
cidrs:
  - 10.1.0.0/24
  - "fd00:1::/64"
labels:
  role: web
annotations:
  meshd.io/encryption-mode: "prefer"
  meshd.io/wireguard-public-key: "8520f0098930a754748b7ddcb43ef75a0db="
)");
  struct stat status {};
  ASSERT_EQ(::stat(file_of("node-a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0644U);
  EXPECT_EQ(names_in(nodes_), std::set<std::string>{"node-a.yaml"});
}

TEST_F(DirectoryStoreTest, ReadsARecordThatSomebodyWroteByHand) {
  write(file_of("node-b"), "name: node-b\naddresses: [192.0.2.2]\ncidrs: [10.2.0.0/24]\n");
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  const Observed seen = store.seen().now();
  ASSERT_NE(seen.record("node-b"), nullptr);
  EXPECT_TRUE(seen.record("node-b")->annotations.empty());
  EXPECT_EQ(seen.record("node-b")->cidrs.size(), 1U);
}

TEST_F(DirectoryStoreTest, IgnoresDotFilesTemporaryFilesAndOtherSuffixes) {
  for (const char* name : {".hidden.yaml", ".yaml", "node-b.yaml~", "node-b.yaml.swp", "node-b.yml",
                           "#node-b.yaml#", "README", ".node-b.yaml.0123456789abcdef.tmp"})
    write(nodes_ / name, "name: node-b\n");
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  EXPECT_TRUE(store.seen().now().entries.empty());
  write(nodes_ / ".another.yaml", "name: another\n");
  put(example_record("node-c"));
  ASSERT_TRUE(store.seen().wait_record(example_record("node-c")));
  EXPECT_EQ(store.seen().now().entries.size(), 1U);
}

TEST_F(DirectoryStoreTest, RefusesWhatIsNotARegularFileAndNeverHangsOnIt) {
  const fs::path outside = root_ / "outside.yaml";
  write(outside, "name: link\n");
  fs::create_symlink(outside, file_of("link"));
  fs::create_symlink("nowhere", file_of("dangling"));
  fs::create_symlink("loop.yaml", file_of("loop"));
  fs::create_directory(file_of("folder"));
  ASSERT_EQ(::mkfifo(file_of("fifo").c_str(), 0644), 0);
  const UniqueFd unix_socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string socket_path = file_of("socket").string();
  ASSERT_LT(socket_path.size(), sizeof address.sun_path);
  socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(unix_socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
            0);
  put(example_record("node-b"));

  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  const Observed seen = store.seen().now();
  EXPECT_NE(seen.record("node-b"), nullptr);
  for (const char* node : {"link", "dangling", "loop", "folder", "fifo", "socket"}) {
    ASSERT_NE(seen.bad(node), nullptr) << node;
    EXPECT_THAT(seen.bad(node)->message, HasSubstr(file_of(node).string()));
  }
  EXPECT_THAT(seen.bad("link")->message, HasSubstr("symbolic link"));
}

TEST_F(DirectoryStoreTest, SeesThoseThatAppearLaterToo) {
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  fs::create_symlink("nowhere", file_of("link"));
  ASSERT_EQ(::mkfifo(file_of("fifo").c_str(), 0644), 0);
  fs::create_directory(file_of("folder"));
  write(root_ / "elsewhere", "name: hard\n");
  fs::create_hard_link(root_ / "elsewhere", file_of("hard"));
  EXPECT_TRUE(store.seen().wait_bad("link"));
  EXPECT_TRUE(store.seen().wait_bad("fifo"));
  EXPECT_TRUE(store.seen().wait_bad("folder"));
  EXPECT_TRUE(store.seen().wait(
      "the hard link", [](const Observed& seen) { return seen.record("hard") != nullptr; }));
}

TEST_F(DirectoryStoreTest, RefusesAFileOfTenMegabytesWithoutReadingIt) {
  const UniqueFd sparse(::open(file_of("huge").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  // So large that to read it would be noticed.
  ASSERT_EQ(::ftruncate(sparse.get(), off_t{1} << 40), 0);
  write(file_of("large"), "name: large\n#" + std::string(10U << 20U, 'x'));
  put(example_record("node-b"));
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  const Observed seen = store.seen().now();
  ASSERT_NE(seen.bad("huge"), nullptr);
  ASSERT_NE(seen.bad("large"), nullptr);
  EXPECT_THAT(seen.bad("large")->message, AllOf(HasSubstr("large.yaml"), HasSubstr("1048576")));
  EXPECT_NE(seen.record("node-b"), nullptr);
}

TEST_F(DirectoryStoreTest, RefusesAFileWhoseNameNoNodeCanHave) {
  write(nodes_ / "Upper_Case.yaml", "name: Upper_Case\n");
  write(nodes_ / "with\nnewline.yaml", "name: x\n");
  write(nodes_ / "\xff.yaml", "name: x\n");
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  const Observed seen = store.seen().now();
  EXPECT_EQ(seen.entries.size(), 3U);
  for (const auto& [node, entry] : seen.entries) {
    ASSERT_TRUE(std::holds_alternative<BadRecord>(entry));
    EXPECT_EQ(std::get<BadRecord>(entry).message.find('\n'), std::string::npos);
    EXPECT_FALSE(check_node_name(node).has_value()) << "it cannot be taken for a node's";
  }
}

TEST_F(DirectoryStoreTest, RefusesARecordOfAnotherName) {
  write(file_of("node-b"), "name: node-c\n");
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_bad("node-b"));
  EXPECT_THAT(store.seen().now().bad("node-b")->message,
              AllOf(HasSubstr("node-b.yaml:1:7"), HasSubstr("'node-c'")));
  EXPECT_FALSE(store.seen().now().has("node-c"));
}

TEST_F(DirectoryStoreTest, TakesNoNoticeOfAWriteThatChangesNothing) {
  put(example_record("node-b"));
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  put(example_record("node-b"));
  fs::permissions(file_of("node-b"), fs::perms::owner_read);
  fs::last_write_time(file_of("node-b"), fs::file_time_type::clock::now());
  put(example_record("node-c"));
  ASSERT_TRUE(store.seen().wait_record(example_record("node-c")));
  EXPECT_EQ(store.seen().now().changes, 1);
}

// ---- writers ----

TEST_F(DirectoryStoreTest, AHalfWrittenFileEndsWithTheRightRecord) {
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  const NodeRecord record = example_record("node-b", std::string(3000, 'k'));
  const std::string text = format_record_yaml(record);
  std::ofstream file(file_of("node-b"), std::ios::binary);
  for (const char c : text) file << c << std::flush;  // every prefix of it is there once
  file.close();
  ASSERT_TRUE(store.seen().wait_record(record));
  EXPECT_EQ(store.seen().now().changes, 1) << "nothing was made of the halves";
}

TEST_F(DirectoryStoreTest, AnEditorThatRenamesTheFileAwayAndWritesItAnewMakesNobodyLeave) {
  put(example_record("node-b"));
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  for (int i = 0; i < 20; ++i) {
    fs::rename(file_of("node-b"), nodes_ / "node-b.yaml~");
    const NodeRecord record = example_record("node-b", fmt::format("edit{}", i));
    put(record);
    ASSERT_TRUE(store.seen().wait_record(record));
  }
  EXPECT_TRUE(store.seen().now().ever_gone.empty());
}

TEST_F(DirectoryStoreTest, WritersOfAllKindsAtOnceLeaveTheRightStateBehind) {
  constexpr int kRounds = 300;
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  std::vector<std::thread> writers;
  writers.emplace_back([&] {  // in place, which is not atomic
    for (int i = 0; i <= kRounds; ++i) put(example_record("plain", fmt::format("key{}", i)));
  });
  writers.emplace_back([&] {  // by rename
    for (int i = 0; i <= kRounds; ++i) {
      write(nodes_ / ".temporary",
            format_record_yaml(example_record("atomic", fmt::format("key{}", i))));
      fs::rename(nodes_ / ".temporary", file_of("atomic"));
    }
  });
  writers.emplace_back([&] {  // comes and goes
    for (int i = 0; i <= kRounds; ++i) {
      put(example_record("flapping", fmt::format("key{}", i)));
      fs::remove(file_of("flapping"));
    }
  });
  writers.emplace_back([&] {  // good and bad by turns
    for (int i = 0; i <= kRounds; ++i) {
      write(file_of("mended"), "name: [");
      put(example_record("mended", fmt::format("key{}", i)));
    }
  });
  for (std::thread& writer : writers) writer.join();
  const std::string last = fmt::format("key{}", kRounds);
  for (const char* node : {"plain", "atomic", "mended"})
    EXPECT_TRUE(store.seen().wait_record(example_record(node, last))) << node;
  EXPECT_TRUE(store.seen().wait_gone("flapping"));
}

TEST_F(DirectoryStoreTest, MoreEventsThanTheKernelKeepsLoseNothing) {
  int limit = 0;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> limit;
  ASSERT_GT(limit, 0);
  for (const char* noise : {"noise0", "noise1"}) write(nodes_ / noise, "");
  put(example_record("node-b"));
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  store.seen().held([&] {
    put(example_record("node-b", "held"));  // its update waits for the end of this
    // Events of one file in a row are kept as one: alternate.
    for (int i = 0; i < limit + 1000; ++i)
      ASSERT_EQ(::chmod((nodes_ / fmt::format("noise{}", i % 2)).c_str(), 0644), 0);
    put(example_record("node-c"));
    fs::remove(file_of("node-b"));
  });
  EXPECT_TRUE(store.seen().wait_record(example_record("node-c")));
  EXPECT_TRUE(store.seen().wait_gone("node-b"));
}

TEST_F(DirectoryStoreTest, RemoteWritesThatMakeNoEventsAreFoundByTheRescan) {
  // Nothing here makes writes without events; a store that does not look at them stands for it.
  options_.use_inotify = false;
  options_.rescan = std::chrono::milliseconds(50);
  put(example_record("node-b"));
  put(example_record("node-c"));
  ObservedStore store(make_store());
  ASSERT_TRUE(store.seen().wait_in_sync());
  put(example_record("node-b", "changed"));
  fs::remove(file_of("node-c"));
  EXPECT_TRUE(store.seen().wait_record(example_record("node-b", "changed")));
  EXPECT_TRUE(store.seen().wait_gone("node-c"));
}

// ---- publishing ----

TEST_F(DirectoryStoreTest, RemovesItsOwnStaleTemporaryFilesAndNobodyElses) {
  const std::string own = temporary_prefix("node-a.yaml") + "0123456789abcdef.tmp";
  const std::string young = temporary_prefix("node-a.yaml") + "fedcba9876543210.tmp";
  const std::string others = temporary_prefix("node-b.yaml") + "0123456789abcdef.tmp";
  for (const std::string& name : {own, young, others}) write(nodes_ / name, "half a rec");
  // A file's change time cannot be set, so time is what a test cannot wait for: the name alone.
  EXPECT_TRUE(is_temporary_of(own, "node-a.yaml"));
  EXPECT_FALSE(is_temporary_of(others, "node-a.yaml"));
  EXPECT_FALSE(is_temporary_of("node-a.yaml", "node-a.yaml"));
  EXPECT_FALSE(is_temporary_of(".node-a.yaml.x.tmp", "node-a.yaml"));
  EXPECT_FALSE(is_temporary_of(".node-a.yaml.0123456789abcdeg.tmp", "node-a.yaml"));
  ObservedStore store(make_store());
  store->publish(example_record("node-a"));
  ASSERT_TRUE(store.seen().wait_record(example_record("node-a")));
  EXPECT_EQ(names_in(nodes_), (std::set<std::string>{own, young, others, "node-a.yaml"}));
}

TEST_F(DirectoryStoreTest, ReportsAnOwnRecordThatCannotBeWrittenAndGoesOnReading) {
  fs::create_directory(file_of("node-a"));  // where the own record belongs
  write(file_of("node-a") / "full", "");
  ObservedStore store(make_store());
  store->publish(example_record("node-a"));
  ASSERT_TRUE(store.seen().wait("the error", [](const Observed& seen) {
    return seen.in_sync && seen.error.find("node-a.yaml") != std::string::npos;
  }));
  put(example_record("node-b"));
  EXPECT_TRUE(store.seen().wait_record(example_record("node-b")));
  fs::remove_all(file_of("node-a"));
  EXPECT_TRUE(store.seen().wait_record(example_record("node-a"))) << "and it goes on trying";
  EXPECT_TRUE(
      store.seen().wait("no error", [](const Observed& seen) { return seen.error.empty(); }));
}

TEST_F(DirectoryStoreTest, RefusesToWriteARecordThatNobodyCouldRead) {
  ObservedStore store(make_store());
  NodeRecord record = example_record("node-a");
  record.labels[std::string(1000, 'x')] = "a key that is too long";
  store->publish(record);
  EXPECT_TRUE(store.seen().wait("the error", [](const Observed& seen) {
    return seen.error.find("cannot be published") != std::string::npos;
  }));
  store->publish(example_record("../escape"));
  EXPECT_TRUE(store.seen().wait("the error", [](const Observed& seen) {
    return seen.error.find("not a node name") != std::string::npos;
  }));
  EXPECT_TRUE(fs::is_empty(nodes_));
  EXPECT_EQ(names_in(path_), std::set<std::string>{"nodes"});
}

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
