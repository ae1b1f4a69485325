// The directory store against the real file system: what its files may be, and what their writers
// may do. What may happen to the directory itself: directory_outage_test.cc.
#include "meshd/store/directory_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>

#include "mesh/unique_fd.h"
#include "meshd/store/record_file.h"
#include "store/directory_fixture.h"

namespace mesh::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

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

TEST(RescanPause, IsAShareOfACoreWhereEventsTellAndAsShortAsEverWhereNothingDoes) {
  using std::chrono::milliseconds;
  using std::chrono::seconds;
  const DirectoryStoreOptions options;
  EXPECT_EQ(rescan_pause(options, true, milliseconds(1)), options.rescan);
  EXPECT_EQ(rescan_pause(options, true, milliseconds(75)), seconds(15));
  EXPECT_EQ(rescan_pause(options, true, seconds(1)), seconds(30));
  EXPECT_EQ(rescan_pause(options, false, seconds(1)), options.rescan_unwatched);
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

}  // namespace
}  // namespace mesh::testing
