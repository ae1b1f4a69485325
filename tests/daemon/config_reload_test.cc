// What a reload takes, what only a restart can change; and the ports that never enter the mesh.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/config_texts.h"

namespace mesh {
namespace {

using test::bad;
using test::good;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST(Reload, WhatOnlyARestartCanChangeIsNamed) {
  const Config running = good("");
  const auto changed = [&](std::string_view text) {
    return changed_but_needs_restart(running, good(text));
  };
  EXPECT_THAT(changed(""), IsEmpty());
  EXPECT_THAT(changed("node: {name: other}"), ElementsAre("node.name"));
  EXPECT_THAT(changed("wireguard: {backend: none, interface: x}"),
              ElementsAre("wireguard.backend", "wireguard.interface"));
  EXPECT_THAT(changed("wireguard: {listenPort: 1, fwmark: 1, routingTable: 9, rulePriority: 9}"),
              IsEmpty());
  EXPECT_THAT(changed("keys: {directory: /k}\napi: {socket: /s, listen: \"\"}"),
              ElementsAre("keys.directory", "api.socket", "api.listen"));
  EXPECT_THAT(changed("store: {forgetAfter: 1h, directory: {path: /d}}"),
              ElementsAre("store.forgetAfter", "store.directory.path"));
  EXPECT_THAT(changed("store: {snapshot: {path: /s}}"), ElementsAre("store.snapshot.path"));
  EXPECT_THAT(changed("store: {type: etcd}"), ElementsAre("store.type"));
}

TEST(Reload, TheRestIsTaken) {
  EXPECT_THAT(
      changed_but_needs_restart(
          good(""), good("node: {addresses: [192.0.2.1], cidrs: [10.0.0.0/8], labels: {a: b}}\n"
                         "wireguard: {mtu: 1400, persistentKeepalive: 5s, userspaceCommand: x}\n"
                         "encryption: {mode: require, hostTraffic: true, fallbackAfter: 1m, "
                         "allowWithdrawal: false}\n"
                         "log: {level: debug, format: json}\n")),
      IsEmpty());
}

TEST(Reload, OnlyTheStoreInUseCounts) {
  EXPECT_THAT(changed_but_needs_restart(
                  good(""), good("store: {etcd: {prefix: /x}, kubernetes: {nodeName: x}}")),
              IsEmpty());
  EXPECT_THAT(changed_but_needs_restart(
                  good("store: {type: etcd}"),
                  good("store: {type: etcd, directory: {path: /d}, etcd: {endpoints: "
                       "[\"http://h:1\"], prefix: /x, caFile: /c, certFile: /c, keyFile: /k, "
                       "username: u, passwordFile: /p}}")),
              ElementsAre("store.etcd.endpoints", "store.etcd.prefix", "store.etcd.caFile",
                          "store.etcd.certFile", "store.etcd.keyFile", "store.etcd.username",
                          "store.etcd.passwordFile"));
  EXPECT_THAT(changed_but_needs_restart(
                  good("store: {type: kubernetes}"),
                  good("store: {type: kubernetes, kubernetes: {kubeconfig: /k, nodeName: x}}")),
              ElementsAre("node.name", "store.kubernetes.kubeconfig", "store.kubernetes.nodeName"));
}

TEST(ConfigFailsafe, PortsAndRangesReplaceTheDefaultsAlsoByNone) {
  EXPECT_EQ(good("").encryption.failsafe_ports, default_failsafe_ports());
  EXPECT_TRUE(good("encryption: {failsafePorts: []}").encryption.failsafe_ports.empty());
  EXPECT_EQ(good("encryption: {failsafePorts: ['tcp:22', 'udp:67-68']}").encryption.failsafe_ports,
            (std::vector<FailsafePort>{{IpProtocol::kTcp, {22, 22}, {}},
                                       {IpProtocol::kUdp, {67, 68}, {}}}));
}

TEST(ConfigFailsafe, AMistakeNamesItsPlaceAndWhatToWrite) {
  for (const auto& [text, why] : {std::pair("ssh", "names no protocol"),
                                  {"22", "names no protocol"},
                                  {"sctp:22", "protocol"},
                                  {"tcp:0", "port from 1"},
                                  {"tcp:", "port from 1"},
                                  {"tcp:22-", "port from 1"},
                                  {"udp:68-67", "ends before"},
                                  {"tcp:65536", "port from 1"},
                                  {"tcp:22x", "port from 1"},
                                  {"tcp:-1", "port from 1"}})
    EXPECT_THAT(bad(fmt::format("encryption: {{failsafePorts: ['{}']}}", text)),
                ElementsAre(::testing::AllOf(HasSubstr("f:1:30: encryption.failsafePorts[0]: "),
                                             HasSubstr(why), HasSubstr("as tcp:22 or udp:67-68"))));
  EXPECT_THAT(bad("encryption: {failsafePorts: ['tcp:22', 'tcp:22']}"),
              ElementsAre(HasSubstr("tcp:22 is given twice")));
}

TEST(ConfigFailsafe, TheEndpointsOfTheStoreInUseAreAmongThem) {
  const std::string etcd =
      "store: {type: etcd, etcd: {endpoints: ['http://192.0.2.9:12379', "
      "'https://store.example:443',"
      " 'http://[2001:db8::9]:12379', 'http://127.0.0.1:3333', 'http://192.0.2.8:2379']}}\n"
      "encryption: {failsafePorts: ['tcp:2379']}";
  std::vector<std::string> words;
  for (const FailsafePort& port : failsafe_of(good(etcd))) words.push_back(port.to_string());
  EXPECT_THAT(words, ElementsAre("tcp:2379", "tcp:192.0.2.9:12379", "tcp:443",
                                 "tcp:[2001:db8::9]:12379", "tcp:3333"));
  Config kubernetes = good("encryption: {failsafePorts: []}");
  kubernetes.api_server = "https://192.0.2.7:7443";
  EXPECT_EQ(failsafe_of(kubernetes).at(0).to_string(), "tcp:192.0.2.7:7443");
  kubernetes.api_server = "https://192.0.2.7";
  EXPECT_EQ(failsafe_of(kubernetes).at(0).to_string(), "tcp:192.0.2.7:443");
  EXPECT_EQ(failsafe_of(good("")), default_failsafe_ports()) << "etcd's block is not in use";
}

}  // namespace
}  // namespace mesh
