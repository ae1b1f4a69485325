// The meshd binary itself, in a network namespace of the test's own: what a user, systemd and a
// script see.
#include <gmock/gmock.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "ctl/child.h"
#include "keys/key_file.h"
#include "meshd/daemon/version.h"
#include "raw_http.h"
#include "temporary_directory.h"
#include "tests/dataplane/sandbox.h"

namespace mesh::test {
namespace {

namespace fs = std::filesystem;
using sandbox::eventually;
using ::testing::HasSubstr;
using ::testing::Not;

std::string contents(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

struct Outcome {
  int code = 0;
  std::string out;
  std::string err;
};

// A program that does not end by itself is ended, with 124, so that no test hangs.
Outcome run(std::vector<std::string> command) {
  command.insert(command.begin(), {"/usr/bin/timeout", "60"});
  Child child(command);
  Outcome outcome;
  outcome.code = child.wait();
  outcome.out = child.output();
  outcome.err = child.errors();
  return outcome;
}

Outcome meshd(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), MESHD_BINARY);
  return run(arguments);
}

bool one_line(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n') == 1 && text.back() == '\n';
}

// A running meshd whose log is a file, so that it can be read while it runs.
class Running {
 public:
  Running(const fs::path& config, const fs::path& log,
          const std::vector<std::string>& environment = {})
      : log_(log),
        log_fd_(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)),
        child_(
            {"/bin/sh", "-c", "exec \"$0\" --config \"$1\" 2>>\"$2\"", MESHD_BINARY, config, log},
            {environment, log_fd_.get(), false, false}) {}
  std::string log() const { return contents(log_); }
  void send(int signal) { child_.send(signal); }
  int stop() {
    child_.send(SIGTERM);
    const int code = child_.wait();
    if (code != 0) std::fputs(log().c_str(), stderr);  // what a sanitizer found, say
    return code;
  }
  int wait() { return child_.wait(); }

 private:
  fs::path log_;
  UniqueFd log_fd_;
  Child child_;
};

class MeshdProgram : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!sandbox::available()) GTEST_SKIP() << sandbox::why_not();
    // wireguard-go's sockets have one directory for all network namespaces.
    static int tests = 0;
    interface = "pm" + std::to_string(tests++) + "t";
    network = std::make_unique<sandbox::NetworkNamespace>();
    // An address that is being checked for duplicates changes by itself meanwhile.
    write("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
    write("/proc/sys/net/ipv6/conf/all/accept_dad", "0");
    sandbox::make_link("up0", "bridge");
    sandbox::add_address("up0", IpAddress::parse("192.0.2.1").value(), 24);
    sandbox::set_up("up0");
    fs::create_directories(home / "store/nodes");
    write_config();
  }

  void write_config(const std::string& cidr = "10.1.0.0/24", const std::string& more = "") {
    write(config, "node: {name: a, addresses: [192.0.2.1], cidrs: [" + cidr + "]}\n" +
                      "store: {directory: {path: " + (home / "store").string() + "}}\n" +
                      "keys: {directory: " + (home / "keys").string() + "}\n" +
                      "api: {socket: " + socket.string() + ", listen: \"\"}\n" +
                      "wireguard: {interface: " + interface + "}\n" + more);
  }
  std::unique_ptr<Running> start(const std::vector<std::string>& environment = {}) {
    return std::make_unique<Running>(config, log, environment);
  }
  HttpAnswer get(const std::string& path) const {
    const UniqueFd fd = connect_unix(socket);
    return fd ? test::exchange(fd, request_text("GET", path)) : HttpAnswer{};
  }
  nlohmann::json status() const {
    return nlohmann::json::parse(get("/v1/status").body, nullptr, false);
  }
  bool answers() const { return get("/v1/status").status == 200; }
  bool published() const { return fs::exists(home / "store/nodes/a.yaml"); }
  // All of this namespace's networking that meshd could touch.
  static std::string networking() {
    std::string text;
    for (const char* command :
         {"/usr/sbin/ip -o link", "/usr/sbin/ip -o addr", "/usr/sbin/ip -4 rule",
          "/usr/sbin/ip -6 rule", "/usr/sbin/ip -4 route show table all",
          "/usr/sbin/ip -6 route show table all", "/usr/sbin/nft list ruleset",
          "cat /proc/sys/net/ipv4/conf/up0/rp_filter"}) {
      const Outcome outcome = run({"/bin/sh", "-c", command});
      EXPECT_EQ(outcome.code, 0) << command << ": " << outcome.err;
      text += std::string("# ") + command + "\n" + outcome.out;
    }
    return text;
  }

  testing::TemporaryDirectory home;
  const fs::path config = home / "meshd.yaml";
  const fs::path socket = home / "run/meshd.sock";
  const fs::path log = home / "meshd.log";
  std::string interface;
  std::unique_ptr<sandbox::NetworkNamespace> network;
};

// --- the command line ---

TEST_F(MeshdProgram, SaysItsVersion) {
  const Outcome outcome = meshd({"--version"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.out, "meshd " + std::string(kVersion) + "\n");
}

TEST_F(MeshdProgram, AnUnknownOptionIsAUsageError) {
  const Outcome outcome = meshd({"--nonsense"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("--nonsense"));
}

TEST_F(MeshdProgram, AGoodConfigurationIsValid) {
  const Outcome outcome = meshd({"--config", config, "--check-config"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.out, config.string() + ": valid\n");
  EXPECT_EQ(outcome.err, "");
}

TEST_F(MeshdProgram, EveryErrorOfABadConfigurationIsPrinted) {
  write(config, "node: {nmae: a}\nwireguard: {listenPort: 99999}\nencryption: {mode: always}\n");
  for (const std::vector<std::string>& mode :
       {std::vector<std::string>{"--check-config"}, {}, {"--dry-run"}}) {
    std::vector<std::string> arguments{"--config", config};
    arguments.insert(arguments.end(), mode.begin(), mode.end());
    const Outcome outcome = meshd(arguments);
    EXPECT_EQ(outcome.code, 2);
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 3) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(config.string() + ":1:8: node.nmae"));
    EXPECT_THAT(outcome.err, HasSubstr(":2:"));
    EXPECT_THAT(outcome.err, HasSubstr(":3:"));
  }
}

TEST_F(MeshdProgram, AMissingConfigurationIsOneClearLine) {
  const Outcome outcome = meshd({"--config", home / "none.yaml"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_TRUE(one_line(outcome.err)) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("none.yaml"));
}

// --- the dry run ---

TEST_F(MeshdProgram, ADryRunChangesNothing) {
  write(home / "store/nodes/b.yaml", "name: b\naddresses: [192.0.2.2]\ncidrs: [10.2.0.0/24]\n");
  const std::string before = networking();
  const Outcome outcome = meshd({"--config", config, "--dry-run"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("10.2.0.0/24"));
  EXPECT_THAT(outcome.out, HasSubstr("key: make a new one"));
  EXPECT_EQ(networking(), before);
  EXPECT_FALSE(fs::exists(home / "keys"));
  EXPECT_FALSE(fs::exists(socket));
  EXPECT_FALSE(published());
}

// --- a run ---

TEST_F(MeshdProgram, ARunAnswersOnItsSocketAndItsEndLeavesTheDataPath) {
  write(home / "store/nodes/b.yaml", "name: b\naddresses: [192.0.2.2]\ncidrs: [10.2.0.0/24]\n");
  const auto running = start();
  ASSERT_TRUE(eventually([&] { return published() && answers(); })) << running->log();
  ASSERT_TRUE(eventually([&] { return status().value("node", "") == "a"; }));
  ASSERT_TRUE(eventually([&] { return status()["summary"].value("peers", 0) == 1; }));
  ASSERT_TRUE(eventually([] {
    return run({"/usr/sbin/ip", "route", "show", "table", "5182"}).out.find("10.2.0.0/24") !=
           std::string::npos;
  })) << running->log();
  struct stat made {};
  ASSERT_EQ(::stat((home / "keys/private.key").c_str(), &made), 0);
  EXPECT_EQ(made.st_mode & 0777, 0600U);
  std::string before;
  ASSERT_TRUE(eventually([&] { return std::exchange(before, networking()) == before; }));
  EXPECT_EQ(running->stop(), 0) << running->log();
  EXPECT_EQ(networking(), before);
  EXPECT_FALSE(fs::exists(socket));
  EXPECT_THAT(running->log(), HasSubstr("the data path stays as it is"));
}

TEST_F(MeshdProgram, ArgumentsOfAnotherTypeAreRefusedAndItLives) {
  const auto running = start();
  ASSERT_TRUE(eventually([&] { return answers(); })) << running->log();
  for (const char* command : {"forget", "allow-plaintext"})
    for (const char* body : {R"({"node": 1})", R"({"node": null})", R"({"node": ["a"]})"}) {
      const UniqueFd fd = connect_unix(socket);
      ASSERT_TRUE(fd);
      const HttpAnswer answer =
          test::exchange(fd, request_text("POST", std::string("/v1/") + command, body));
      EXPECT_EQ(answer.status, 400) << command << " " << body << ": " << answer.body;
      EXPECT_THAT(answer.body, HasSubstr("'node' must be a string"));
    }
  EXPECT_TRUE(answers());
  EXPECT_EQ(running->stop(), 0);
}

TEST_F(MeshdProgram, ARestartAdoptsAndChangesNothing) {
  auto running = start();
  ASSERT_TRUE(eventually([&] { return published() && answers(); })) << running->log();
  std::string before;
  ASSERT_TRUE(eventually([&] { return std::exchange(before, networking()) == before; }));
  ASSERT_EQ(running->stop(), 0);
  const std::string record = contents(home / "store/nodes/a.yaml");
  running = start();
  ASSERT_TRUE(eventually([&] { return answers() && status()["store"].value("inSync", false); }));
  EXPECT_EQ(status().value("repairs", -1), 0);
  EXPECT_EQ(networking(), before);
  EXPECT_EQ(contents(home / "store/nodes/a.yaml"), record);
  EXPECT_EQ(running->stop(), 0);
}

TEST_F(MeshdProgram, AReloadWithABadFileKeepsTheOldConfigurationAndSaysSo) {
  const auto running = start();
  ASSERT_TRUE(eventually([&] { return published() && answers(); })) << running->log();
  write(config, "node: {cidrs: [10.9.0.0/99]}\nwat: 1\n");
  running->send(SIGHUP);
  ASSERT_TRUE(eventually([&] {
    return running->log().find("the old configuration stays in force") != std::string::npos;
  })) << running->log();
  EXPECT_THAT(running->log(), HasSubstr("10.9.0.0/99"));
  EXPECT_THAT(running->log(), HasSubstr("wat"));
  EXPECT_EQ(status()["cidrs"], nlohmann::json({"10.1.0.0/24"}));
  // And a good one after it applies.
  write_config("10.7.0.0/24");
  running->send(SIGHUP);
  EXPECT_TRUE(eventually([&] {
    return contents(home / "store/nodes/a.yaml").find("10.7.0.0/24") != std::string::npos;
  })) << running->log();
  EXPECT_EQ(running->stop(), 0);
}

TEST_F(MeshdProgram, AReloadThatNeedsARestartIsRefusedAndNamesTheKey) {
  const auto running = start();
  ASSERT_TRUE(eventually([&] { return answers(); })) << running->log();
  std::string text = contents(config);
  text.replace(text.find(interface), interface.size(), "other0");
  write(config, text);
  running->send(SIGHUP);
  EXPECT_TRUE(eventually([&] {
    return running->log().find("wireguard.interface") != std::string::npos;
  })) << running->log();
  EXPECT_EQ(running->stop(), 0);
}

TEST_F(MeshdProgram, ASecondMeshdOnTheSameSocketIsRefusedInOneLine) {
  const auto running = start();
  ASSERT_TRUE(eventually([&] { return answers(); })) << running->log();
  const Outcome second = meshd({"--config", config});
  EXPECT_EQ(second.code, 1);
  EXPECT_TRUE(one_line(second.err)) << second.err;
  EXPECT_THAT(second.err, HasSubstr("another meshd answers there"));
  EXPECT_TRUE(answers());
  EXPECT_EQ(running->stop(), 0);
}

// --- refusals ---

TEST_F(MeshdProgram, TheGuardLeavesARunningMeshdAlone) {
  const auto running = start();
  ASSERT_TRUE(eventually([&] { return answers(); })) << running->log();
  const Outcome outcome = meshd({"--config", config, "--guard"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("meshd is running"));
}

TEST_F(MeshdProgram, ABrokenKeyFileIsOneLineAndUntouched) {
  for (const std::string& broken : {std::string("not a key\n"), std::string()}) {
    fs::create_directories(home / "keys");
    fs::permissions(home / "keys", fs::perms::owner_all);
    write(home / "keys/private.key", broken);
    fs::permissions(home / "keys/private.key", fs::perms::owner_read | fs::perms::owner_write);
    const std::string before = networking();
    const Outcome outcome = meshd({"--config", config});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_TRUE(one_line(outcome.err)) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("private.key"));
    EXPECT_EQ(contents(home / "keys/private.key"), broken);
    EXPECT_EQ(networking(), before);
    EXPECT_FALSE(published());
  }
}

TEST_F(MeshdProgram, AKeyFileThatOthersCanReadIsRefused) {
  ASSERT_EQ(meshd({"--config", config, "--check-config"}).code, 0);
  fs::create_directories(home / "keys");
  fs::permissions(home / "keys", fs::perms::owner_all);
  auto key = PrivateKey::generate();
  ASSERT_TRUE(save_key(home / "keys", key));
  fs::permissions(home / "keys/private.key", fs::perms::others_read, fs::perm_options::add);
  const Outcome outcome = meshd({"--config", config});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(one_line(outcome.err)) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("private.key"));
}

TEST_F(MeshdProgram, WithoutTheCapabilityItIsOneLineThatSaysWhatToDo) {
  const Outcome outcome = run({"/usr/bin/setpriv", "--bounding-set", "-net_admin", "--inh-caps",
                               "-net_admin", MESHD_BINARY, "--config", config});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(one_line(outcome.err)) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("CAP_NET_ADMIN"));
  EXPECT_FALSE(published());
}

// --- secrets ---

TEST_F(MeshdProgram, NeitherLogNorApiEverShowsThePrivateKey) {
  write_config("10.1.0.0/24", "log: {level: debug}\n");
  const auto running = start();
  ASSERT_TRUE(eventually([&] { return published() && answers(); })) << running->log();
  std::string all;
  for (const char* path : {"/v1/status", "/v1/plan", "/v1/version", "/metrics", "/"})
    all += get(path).body;
  EXPECT_THAT(all, HasSubstr("meshd.status/v1"));
  running->send(SIGHUP);
  ASSERT_TRUE(eventually([&] { return running->log().find("read again") != std::string::npos; }));
  EXPECT_EQ(running->stop(), 0);
  all += running->log() + contents(home / "store/nodes/a.yaml");
  const std::string base64 = contents(home / "keys/private.key").substr(0, 43);
  const auto key = load_key(home / "keys");
  ASSERT_TRUE(key);
  std::string hex;
  for (const std::uint8_t byte : key->reveal()) hex += fmt::format("{:02x}", byte);
  EXPECT_THAT(all, HasSubstr(key->public_key().to_base64()));
  EXPECT_THAT(all, Not(HasSubstr(base64)));
  std::transform(all.begin(), all.end(), all.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  EXPECT_THAT(all, Not(HasSubstr(hex)));
}

// --- systemd ---

// What systemd would hear.
class NotifySocket {
 public:
  explicit NotifySocket(const fs::path& path)
      : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.string().copy(address.sun_path, sizeof address.sun_path - 1);
    if (::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("bind " + path.string());
  }
  int heard(const std::string& word) {
    char buffer[4096];
    ssize_t got = 0;
    while ((got = ::recv(fd_.get(), buffer, sizeof buffer, 0)) > 0)
      messages_.append(buffer, static_cast<std::size_t>(got)).append("\n");
    int count = 0;
    std::istringstream lines(messages_);
    for (std::string line; std::getline(lines, line);) count += line == word ? 1 : 0;
    return count;
  }

 private:
  UniqueFd fd_;
  std::string messages_;
};

TEST_F(MeshdProgram, TellsSystemdThatItIsReadyAliveAndStopping) {
  NotifySocket systemd(home / "notify");
  const auto running =
      start({"NOTIFY_SOCKET=" + (home / "notify").string(), "WATCHDOG_USEC=400000"});
  EXPECT_TRUE(eventually([&] { return systemd.heard("READY=1") == 1; })) << running->log();
  EXPECT_TRUE(eventually([&] { return systemd.heard("WATCHDOG=1") >= 3; })) << running->log();
  running->send(SIGHUP);
  EXPECT_TRUE(eventually([&] { return systemd.heard("RELOADING=1") == 1; }));
  EXPECT_TRUE(eventually([&] { return systemd.heard("READY=1") == 2; }));
  EXPECT_EQ(running->stop(), 0);
  EXPECT_EQ(systemd.heard("STOPPING=1"), 1);
}

}  // namespace
}  // namespace mesh::test
