// The program mesh-lab, as a person runs it.
#include <csignal>
#include <filesystem>

#include "fixture.h"
#include "lab/registry.h"

namespace mesh::lab {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class Demo : public LabTest {
 protected:
  void SetUp() override {
    LabTest::SetUp();
    if (IsSkipped()) return;
    need_built({"meshd", "meshctl", "mesh-lab"});
  }
  static Process start(const std::string& id) {
    return Process({.argv = {find_binary("mesh-lab"), "demo", "--id", id}});
  }
  static std::string unique(const std::string& word) {
    return fmt::format("{}-{}", word, ::getpid());
  }
  static bool is_listed(const std::string& id) {
    for (const auto& lab : list_labs())
      if (lab.id == id) return true;
    return false;
  }
};

TEST_F(Demo, TwoAtOnceDoNotDisturbEachOther) {
  Process first = start(unique("one"));
  Process second = start(unique("two"));
  for (Process* demo : {&first, &second}) {
    const auto code = demo->wait(milliseconds(120'000) * patience());
    ASSERT_TRUE(code);
    EXPECT_EQ(*code, 0) << demo->output() << demo->errors();
    EXPECT_THAT(demo->output(), HasSubstr("All as it should be."));
  }
}

TEST_F(Demo, NothingIsLeftBehindAfterAKillAndTheNextStart) {
  const std::string id = unique("killed");
  Process demo = start(id);
  ASSERT_TRUE(wait_until([&] { return processes_of(id).size() >= 4; }, milliseconds(30'000)));
  const std::vector<int> processes = processes_of(id);
  demo.signal(SIGKILL);
  (void)demo.wait(milliseconds(10'000));
  EXPECT_TRUE(is_listed(id));
  const Lab next({.id = {}, .nodes = numbered_nodes(1)});
  EXPECT_FALSE(is_listed(id));
  EXPECT_THAT(processes_of(id), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(lab_directory(id)));
  EXPECT_THAT(read_file("/proc/self/mountinfo"), Not(HasSubstr(id)));
}

TEST_F(Demo, AnInterruptCleansUpBeforeItEnds) {
  const std::string id = unique("interrupted");
  Process demo = start(id);
  ASSERT_TRUE(wait_until([&] { return processes_of(id).size() >= 4; }, milliseconds(30'000)));
  demo.signal(SIGINT);
  EXPECT_EQ(demo.wait(milliseconds(30'000) * patience()), 128 + SIGINT);
  EXPECT_FALSE(is_listed(id));
}

TEST_F(Demo, ALabThatIsUpCanBeUsedAndTakenDown) {
  const std::string id = unique("up");
  const std::string program = find_binary("mesh-lab");
  const Outcome up = run({.argv = {program, "up", "--nodes", "2", "--id", id}});
  ASSERT_TRUE(up.ok()) << up.output << up.errors;
  const Outcome exec = run(
      {.argv = {program, "exec", "--id", id, "node-a/w1", "--", "ping", "-c1", "-W5", "10.2.0.2"}});
  EXPECT_TRUE(exec.ok()) << exec.output << exec.errors;
  // It is up when its daemons run, and a daemon answers a moment later.
  std::string status;
  EXPECT_TRUE(wait_until(
      [&] {
        status = run({.argv = {program, "status", "--id", id}}).output;
        return status.find("node-b") != std::string::npos;
      },
      milliseconds(30'000)))
      << status;
  EXPECT_TRUE(run({.argv = {program, "down", "--id", id}}).ok());
  EXPECT_FALSE(is_listed(id));
}

}  // namespace
}  // namespace mesh::lab
