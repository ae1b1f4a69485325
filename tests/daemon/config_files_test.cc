// Configuration files: the contract's example, the packaged one, a bad one, and what is no file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "meshd/daemon/config.h"
#include "temporary_directory.h"

namespace mesh {
namespace {

namespace fs = std::filesystem;
using ::mesh::testing::TemporaryDirectory;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string read_file(const fs::path& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string print(const ConfigResult& result) {
  std::string lines;
  if (const auto* problems = std::get_if<ConfigProblems>(&result))
    for (const ConfigProblem& problem : *problems) lines += describe(problem) + "\n";
  return lines;
}

Config defaults() { return std::get<Config>(parse_config("", "", "node-a")); }

const fs::path kTestdata = MESHD_TESTDATA;

TEST(ConfigFile, TheFullExampleOfTheContractIsTheDefaultsPlusItsNode) {
  const ConfigResult result = load_config(kTestdata / "full.yaml");
  ASSERT_EQ(print(result), "");
  Config expected = defaults();
  expected.node.name = "node-a";
  expected.node.addresses = {*IpAddress::parse("192.0.2.1"), *IpAddress::parse("2001:db8::1")};
  expected.node.cidrs = {*Cidr::parse("10.1.0.0/24"), *Cidr::parse("fd00:1::/64")};
  expected.node.labels = {{"role", "db"}, {"zone", "z1"}};
  EXPECT_EQ(std::get<Config>(result), expected);
}

TEST(ConfigFile, ABadFilePrintsEveryMistakeExactly) {
  EXPECT_EQ(print(parse_config(read_file(kTestdata / "bad.yaml"), "bad.yaml", "node-a")),
            read_file(kTestdata / "bad.expected"));
}

TEST(ConfigFile, ThePackagedExampleIsAllDefaults) {
  const std::string text = read_file(MESHD_EXAMPLE_CONFIG);
  EXPECT_EQ(print(parse_config(text, "meshd.yaml", "node-a")), "");
  EXPECT_EQ(std::get<Config>(parse_config(text, "meshd.yaml", "node-a")), defaults());
}

// What the packaged example says in its comments is true too: every key, with its default.
TEST(ConfigFile, ThePackagedExampleUncommentedIsTheFullExample) {
  std::istringstream lines(read_file(MESHD_EXAMPLE_CONFIG));
  std::string text;
  for (std::string line; std::getline(lines, line);)
    text += (line.starts_with("#  ") ? line.substr(1) : line) + "\n";  // prose has one space
  const ConfigResult uncommented = parse_config(text, "meshd.yaml", "other");
  ASSERT_EQ(print(uncommented), "");
  Config config = std::get<Config>(uncommented);
  const Config full = std::get<Config>(load_config(kTestdata / "full.yaml"));
  // Its default is made of others.
  EXPECT_EQ(snapshot_path(config), snapshot_path(full));
  config.store.snapshot.reset();
  EXPECT_EQ(config, full);
  for (const char* key : {"name",          "addresses",
                          "cidrs",         "labels",
                          "type",          "forgetAfter",
                          "path",          "endpoints",
                          "prefix",        "caFile",
                          "certFile",      "keyFile",
                          "username",      "passwordFile",
                          "kubeconfig",    "patchKubeconfig",
                          "nodeName",      "backend",
                          "interface",     "listenPort",
                          "mtu",           "persistentKeepalive",
                          "fwmark",        "routingTable",
                          "rulePriority",  "userspaceCommand",
                          "mode",          "hostTraffic",
                          "fallbackAfter", "allowWithdrawal",
                          "failsafePorts", "directory",
                          "socket",        "listen",
                          "level",         "format"})
    EXPECT_THAT(text, HasSubstr(fmt::format("  {}:", key)));
}

TEST(ConfigFile, TheApiServerIsTheKubeconfigsOfItsCurrentContext) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "kubeconfig")
      << "clusters:\n- {name: one, cluster: {server: 'https://192.0.2.1:6443'}}\n"
         "- {name: two, cluster: {server: 'https://192.0.2.2:7443'}}\n"
         "contexts:\n- {name: c, context: {cluster: two}}\ncurrent-context: c\n";
  std::ofstream(directory / "meshd.yaml")
      << "node: {name: n}\nstore: {type: kubernetes, kubernetes: {kubeconfig: "
      << (directory / "kubeconfig").native() << "}}\n";
  const auto loaded = load_config(directory / "meshd.yaml");
  EXPECT_EQ(std::get<Config>(loaded).api_server, "https://192.0.2.2:7443");
  std::ofstream(directory / "kubeconfig") << "{broken";
  const auto again = load_config(directory / "meshd.yaml");
  EXPECT_EQ(std::get<Config>(again).api_server, "") << "the store says what is wrong";
}

TEST(ConfigFile, AnEmptyFileIsAllDefaults) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "meshd.yaml") << "node: {name: n}\n";
  EXPECT_EQ(print(load_config(directory / "meshd.yaml")), "");
  std::ofstream(directory / "empty.yaml");
  const ConfigResult result = load_config(directory / "empty.yaml");
  if (std::holds_alternative<Config>(result)) {
    EXPECT_NE(std::get<Config>(result).node.name, "");
  } else {
    EXPECT_THAT(print(result), HasSubstr("node.name"));  // a host whose name is no node's name
  }
}

TEST(ConfigFile, AMissingFileIsOneProblemWithTheRemedy) {
  const TemporaryDirectory directory;
  const fs::path path = directory / "none.yaml";
  EXPECT_EQ(print(load_config(path)),
            path.string() +
                ": cannot be read: No such file or directory (write one, an empty file is all "
                "defaults, or name another with --config)\n");
}

TEST(ConfigFile, WhatIsNoFileIsRefusedAndNeverWaitedFor) {
  const TemporaryDirectory directory;
  EXPECT_THAT(print(load_config(directory.path())), HasSubstr("is a directory"));
  const fs::path pipe = directory / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(print(load_config(pipe)), HasSubstr("is a pipe or a socket"));
  EXPECT_THAT(print(load_config("/dev/zero")), HasSubstr("is larger than 1048576 bytes"));
}

TEST(ConfigFile, OneMebibyteIsReadAndOneByteMoreIsNot) {
  const TemporaryDirectory directory;
  const std::string settings = "node: {name: n}\n#";
  const fs::path path = directory / "meshd.yaml";
  std::ofstream(path) << settings << std::string(kMaxConfigBytes - settings.size(), 'x');
  EXPECT_EQ(print(load_config(path)), "");
  std::ofstream(path, std::ios::app) << "x";
  EXPECT_THAT(print(load_config(path)), HasSubstr("is larger than 1048576 bytes"));
}

}  // namespace
}  // namespace mesh
