// The key file: made once, whole or not at all, private, and never overwritten when it cannot be
// used.
#include "keys/key_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

#include "temporary_directory.h"

namespace mesh {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

mode_t mode_of(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777U;
}

std::string content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::string base64_of(const PrivateKey& key) {
  std::array<std::uint8_t, PrivateKey::kSize> bytes{};
  std::copy(key.reveal().begin(), key.reveal().end(), bytes.begin());
  return PublicKey(bytes).to_base64();
}

class KeyFile : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::mkdir(directory_.c_str(), 0700), 0);
    old_umask_ = ::umask(022);
  }
  void TearDown() override { ::umask(old_umask_); }

  void write(std::string_view text, mode_t mode = 0600) {
    std::ofstream(file_, std::ios::binary) << text;
    ASSERT_EQ(::chmod(file_.c_str(), mode), 0);
  }

  // The call fails with an error that names the file and holds `remedy`, and what was there is
  // there still.
  void expect_refused_untouched(ErrorCode code, const std::string& remedy) {
    struct stat before {};
    struct stat after {};
    ASSERT_EQ(::lstat(file_.c_str(), &before), 0);
    for (const auto& error : {load_or_create_key(directory_).error(), load_key(directory_).error(),
                              save_key(directory_, PrivateKey::generate()).error()}) {
      EXPECT_EQ(error.code, code) << error.message;
      EXPECT_THAT(error.message, AllOf(HasSubstr(file_.string()), HasSubstr(remedy)));
      EXPECT_THAT(error.message, Not(HasSubstr("\n")));
    }
    ASSERT_EQ(::lstat(file_.c_str(), &after), 0);
    EXPECT_EQ(before.st_ino, after.st_ino);
    EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    EXPECT_EQ(names_in(directory_).size(), 1U);
  }

  testing::TemporaryDirectory root_;
  fs::path directory_ = root_ / "keys";
  fs::path file_ = directory_ / kKeyFileName;
  mode_t old_umask_ = 0;
};

TEST_F(KeyFile, IsMadeOnTheFirstStartAndReadOnTheNext) {
  const auto made = load_or_create_key(directory_);
  ASSERT_TRUE(made.has_value()) << made.error().message;
  const auto read = load_or_create_key(directory_);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(read->public_key(), made->public_key());
}

TEST_F(KeyFile, IsOneLineAsWgGenkeyWritesItModeSixHundredAndAlone) {
  const auto key = load_or_create_key(directory_);
  ASSERT_TRUE(key.has_value());
  EXPECT_EQ(content_of(file_), base64_of(*key) + "\n");
  EXPECT_EQ(mode_of(file_), 0600U);
  EXPECT_THAT(names_in(directory_), ::testing::ElementsAre("private.key"));
}

TEST_F(KeyFile, IsPrivateUnderAnyUmask) {
  for (const mode_t mask : {0U, 077U, 0777U}) {
    fs::remove(file_);
    ::umask(mask);
    ASSERT_TRUE(load_or_create_key(directory_).has_value()) << mask;
    EXPECT_EQ(mode_of(file_), 0600U) << mask;
  }
}

TEST_F(KeyFile, MakesMissingDirectoriesForItsOwnerOnly) {
  const fs::path deep = root_ / "var" / "lib" / "keys";
  const auto key = load_or_create_key(deep);
  ASSERT_TRUE(key.has_value()) << key.error().message;
  EXPECT_EQ(mode_of(deep), 0700U);
  EXPECT_EQ(mode_of(deep.parent_path()), 0700U);
  ASSERT_TRUE(load_or_create_key(root_ / "trailing" / "slash" / "").has_value());
}

TEST_F(KeyFile, WithoutItsNewlineIsReadAsWell) {
  const std::string text = base64_of(PrivateKey::generate());
  write(text);
  const auto key = load_or_create_key(directory_);
  ASSERT_TRUE(key.has_value()) << key.error().message;
  EXPECT_EQ(base64_of(*key), text);
}

TEST_F(KeyFile, ThatDoesNotParseStopsTheStartAndIsNeverOverwritten) {
  const std::string good = base64_of(PrivateKey::generate());
  const std::vector<std::string> bad = {"",
                                        "\n",
                                        "not a key\n",
                                        good.substr(0, 20),
                                        good.substr(0, 43) + "\n",
                                        good + "\n\n",
                                        good + "\r\n",
                                        "# comment\n" + good + "\n",
                                        good + "\n" + good + "\n",
                                        std::string(43, 'A') + "=\n",
                                        std::string(45, '\0'),
                                        std::string(1U << 20U, 'A')};
  for (const std::string& text : bad) {
    write(text);
    expect_refused_untouched(ErrorCode::kInvalid, "move it away to get a new key");
    EXPECT_EQ(content_of(file_), text);
  }
}

TEST_F(KeyFile, ErrorsNeverQuoteTheFile) {
  const std::string secret = base64_of(PrivateKey::generate());
  write(secret + "x\n");
  const auto key = load_or_create_key(directory_);
  ASSERT_FALSE(key.has_value());
  for (std::size_t i = 0; i + 6 <= secret.size(); ++i)
    EXPECT_THAT(key.error().message, Not(HasSubstr(secret.substr(i, 6))));
}

TEST_F(KeyFile, ThatOthersHaveAccessToIsRefusedWithTheRemedy) {
  for (const mode_t mode : {0644U, 0640U, 0604U, 0620U, 0601U, 0610U, 0666U}) {
    write(base64_of(PrivateKey::generate()) + "\n", mode);
    expect_refused_untouched(ErrorCode::kPermission, "chmod 600");
    EXPECT_EQ(mode_of(file_), mode);
  }
}

TEST_F(KeyFile, ThatIsASymbolicLinkIsNotFollowed) {
  const fs::path target = root_ / "elsewhere";
  std::ofstream(target) << base64_of(PrivateKey::generate()) << "\n";
  ASSERT_EQ(::chmod(target.c_str(), 0600), 0);
  fs::create_symlink(target, file_);
  expect_refused_untouched(ErrorCode::kInvalid, "symbolic link");
  fs::remove(target);  // and a dangling one is no invitation to write through it
  expect_refused_untouched(ErrorCode::kInvalid, "symbolic link");
  EXPECT_FALSE(fs::exists(target));
}

TEST_F(KeyFile, ThatIsNotARegularFileIsRefusedAndNeverHangs) {
  ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  expect_refused_untouched(ErrorCode::kInvalid, "not a regular file");
  fs::remove(file_);
  ASSERT_EQ(::mkdir(file_.c_str(), 0700), 0);
  expect_refused_untouched(ErrorCode::kInvalid, "not a regular file");
}

TEST_F(KeyFile, ThatAnotherUserOwnsIsRefusedWithTheRemedy) {
  if (::geteuid() != 0) GTEST_SKIP() << "SKIPPED LOUDLY: giving a file away needs root";
  write(base64_of(PrivateKey::generate()) + "\n");
  ASSERT_EQ(::chown(file_.c_str(), 12345, 12345), 0);
  expect_refused_untouched(ErrorCode::kPermission, "chown 0");
}

TEST_F(KeyFile, InADirectoryThatOthersCanWriteIsRefusedWithTheRemedy) {
  for (const mode_t mode : {0777U, 01777U, 0770U, 0702U}) {
    ASSERT_EQ(::chmod(directory_.c_str(), mode), 0);
    const auto key = load_or_create_key(directory_);
    ASSERT_FALSE(key.has_value()) << mode;
    EXPECT_EQ(key.error().code, ErrorCode::kPermission);
    EXPECT_THAT(key.error().message, AllOf(HasSubstr(directory_.string()), HasSubstr("chmod 700")));
    EXPECT_TRUE(fs::is_empty(directory_));
  }
}

TEST_F(KeyFile, InADirectoryOfAnotherUserIsRefusedWithTheRemedy) {
  if (::geteuid() != 0) GTEST_SKIP() << "SKIPPED LOUDLY: giving a directory away needs root";
  ASSERT_EQ(::chown(directory_.c_str(), 12345, 12345), 0);
  const auto key = load_or_create_key(directory_);
  ASSERT_FALSE(key.has_value());
  EXPECT_THAT(key.error().message, HasSubstr("chown 0"));
}

TEST_F(KeyFile, InAPlaceThatIsNoDirectoryIsOneClearError) {
  const fs::path plain = root_ / "file";
  std::ofstream(plain) << "x";
  for (const fs::path& place : {plain, plain / "keys"}) {
    const auto key = load_or_create_key(place);
    ASSERT_FALSE(key.has_value());
    EXPECT_THAT(key.error().message, AllOf(HasSubstr(plain.string()), HasSubstr("directory")));
  }
  EXPECT_EQ(content_of(plain), "x");
}

TEST_F(KeyFile, LeftoversOfACrashDoNotMatter) {
  std::ofstream(directory_ / ".private.key.0123456789abcdef.tmp") << "half a k";
  std::ofstream(directory_ / "private.key.tmp") << "";
  const auto made = load_or_create_key(directory_);
  ASSERT_TRUE(made.has_value()) << made.error().message;
  EXPECT_EQ(load_or_create_key(directory_)->public_key(), made->public_key());
}

TEST_F(KeyFile, IsNotMadeByLoadAlone) {
  const auto key = load_key(directory_);
  ASSERT_FALSE(key.has_value());
  EXPECT_EQ(key.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(load_key(root_ / "nowhere").error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(fs::is_empty(directory_));
  EXPECT_FALSE(fs::exists(root_ / "nowhere"));
}

TEST_F(KeyFile, SaveReplacesTheKeyInOneStep) {
  ASSERT_TRUE(load_or_create_key(directory_).has_value());
  const auto next = PrivateKey::generate();
  const auto saved = save_key(directory_, next);
  ASSERT_TRUE(saved.has_value()) << saved.error().message;
  EXPECT_EQ(load_or_create_key(directory_)->public_key(), next.public_key());
  EXPECT_EQ(mode_of(file_), 0600U);
  EXPECT_THAT(names_in(directory_), ::testing::ElementsAre("private.key"));
}

TEST_F(KeyFile, AReaderDuringManyReplacementsSeesAlwaysAWholeKey) {
  ASSERT_TRUE(load_or_create_key(directory_).has_value());
  std::set<PublicKey> saved = {load_key(directory_)->public_key()};
  std::vector<PublicKey> seen;
  std::atomic<bool> done = false;
  std::string failure;
  std::thread reader([&] {
    do {
      const auto key = load_key(directory_);
      if (key)
        seen.push_back(key->public_key());
      else
        failure = key.error().message;
    } while (!done);
  });
  for (int i = 0; i < 200; ++i) {
    const auto next = PrivateKey::generate();
    saved.insert(next.public_key());
    EXPECT_TRUE(save_key(directory_, next).has_value());
  }
  done = true;
  reader.join();
  EXPECT_EQ(failure, "");
  EXPECT_FALSE(seen.empty());
  for (const PublicKey& key : seen) EXPECT_TRUE(saved.contains(key));
}

TEST_F(KeyFile, ProcessesThatStartAtOnceEndWithOneKey) {
  constexpr int kProcesses = 8;
  for (int round = 0; round < 10; ++round) {
    const fs::path directory = root_ / ("round" + std::to_string(round)) / "keys";
    std::array<int, 2> start{};
    std::array<int, 2> result{};
    ASSERT_EQ(::pipe2(start.data(), O_CLOEXEC), 0);
    ASSERT_EQ(::pipe2(result.data(), O_CLOEXEC), 0);
    std::vector<pid_t> children;
    for (int i = 0; i < kProcesses; ++i) {
      const pid_t pid = ::fork();
      ASSERT_GE(pid, 0);
      if (pid == 0) {
        ::close(start[1]);
        char byte = 0;
        (void)!::read(start[0], &byte, 1);  // until the parent closes its end
        const auto key = load_or_create_key(directory);
        const bool sent =
            key && ::write(result[1], key->public_key().bytes().data(), PublicKey::kSize) ==
                       static_cast<ssize_t>(PublicKey::kSize);
        ::_exit(sent ? 0 : 1);
      }
      children.push_back(pid);
    }
    ::close(start[0]);
    ::close(start[1]);
    ::close(result[1]);
    std::set<PublicKey> keys;
    std::array<std::uint8_t, PublicKey::kSize> bytes{};
    int answers = 0;
    while (::read(result[0], bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size())) {
      keys.insert(PublicKey(bytes));
      ++answers;
    }
    ::close(result[0]);
    for (const pid_t pid : children) {
      int status = 0;
      ASSERT_EQ(::waitpid(pid, &status, 0), pid);
      EXPECT_EQ(status, 0);
    }
    EXPECT_EQ(answers, kProcesses);
    EXPECT_EQ(keys.size(), 1U);
    EXPECT_THAT(names_in(directory), ::testing::ElementsAre("private.key"));
    EXPECT_EQ(load_key(directory)->public_key(), *keys.begin());
  }
}

TEST_F(KeyFile, ThatCannotBeWrittenLeavesNothingBehind) {
  // A limit of no bytes stands for a full disk: creating works, writing does not.
  const pid_t pid = ::fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    const rlimit none{0, 0};
    ::signal(SIGXFSZ, SIG_IGN);
    ::setrlimit(RLIMIT_FSIZE, &none);
    const auto key = load_or_create_key(directory_);
    ::_exit(!key && key.error().code == ErrorCode::kIo ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(fs::is_empty(directory_));
  EXPECT_TRUE(load_or_create_key(directory_).has_value()) << "and the next start makes it";
}

}  // namespace
}  // namespace mesh
