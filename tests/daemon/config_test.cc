// The configuration as a whole: defaults, problems with their exact places, relationships.
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

TEST(Config, EmptyFileHasTheDefaultsOfTheContract) {
  const Config config = good("");
  EXPECT_EQ(config.node.name, "host-a");
  EXPECT_THAT(config.node.addresses, IsEmpty());
  EXPECT_THAT(config.node.cidrs, IsEmpty());
  EXPECT_THAT(config.node.labels, IsEmpty());

  EXPECT_EQ(config.store.type, StoreType::kDirectory);
  EXPECT_EQ(config.store.forget_after, std::chrono::hours(24));
  EXPECT_EQ(config.store.directory.path, "/var/lib/meshd/store");
  EXPECT_THAT(config.store.etcd.endpoints, ElementsAre("http://127.0.0.1:2379"));
  EXPECT_EQ(config.store.etcd.prefix, "/meshd");
  EXPECT_EQ(config.store.etcd.ca_file, "");
  EXPECT_EQ(config.store.etcd.cert_file, "");
  EXPECT_EQ(config.store.etcd.key_file, "");
  EXPECT_EQ(config.store.etcd.username, "");
  EXPECT_EQ(config.store.etcd.password_file, "");
  EXPECT_EQ(config.store.kubernetes.kubeconfig, "");
  EXPECT_EQ(config.store.kubernetes.node_name, "");

  EXPECT_EQ(config.wireguard.backend, BackendPreference::kAuto);
  EXPECT_EQ(config.wireguard.interface, "mesh0");
  EXPECT_EQ(config.wireguard.listen_port, 51820);
  EXPECT_EQ(config.wireguard.mtu, 0U);
  EXPECT_EQ(config.wireguard.persistent_keepalive, std::chrono::seconds(0));
  EXPECT_EQ(config.wireguard.fwmark, 0x2000U);
  EXPECT_EQ(config.wireguard.routing_table, 5182U);
  EXPECT_EQ(config.wireguard.host_table(), 5183U);
  EXPECT_EQ(config.wireguard.rule_priority, 99U);
  EXPECT_EQ(config.wireguard.userspace_command, "wireguard-go");

  EXPECT_EQ(config.encryption.mode, Mode::kPrefer);
  EXPECT_FALSE(config.encryption.host_traffic);
  EXPECT_EQ(config.encryption.fallback_after, Duration(0));
  EXPECT_TRUE(config.encryption.allow_withdrawal);

  EXPECT_EQ(config.keys.directory, "/var/lib/meshd/keys");
  EXPECT_EQ(config.api.socket, "/run/meshd/meshd.sock");
  ASSERT_TRUE(config.api.listen);
  EXPECT_EQ(config.api.listen->to_string(), "127.0.0.1:9586");
  EXPECT_EQ(config.log.level, LogLevel::kInfo);
  EXPECT_EQ(config.log.format, LogFormat::kText);
}

TEST(Config, WhatSaysNothingIsAllDefaults) {
  const Config defaults = good("");
  for (const char* text : {"\n\n", "# a comment\n", "---\n", "{}", "~", "node:\nstore:\n",
                           "wireguard: {}\n", "---\nlog:\n...\n", "\xef\xbb\xbfnode:\n"})
    EXPECT_EQ(good(text), defaults) << text;
}

TEST(Config, HostNameStandsForTheNodeNameInLowerCase) {
  EXPECT_EQ(good("", "Node-A.Example.ORG").node.name, "node-a.example.org");
  EXPECT_EQ(good("node: {name: b}", "not_a_name").node.name, "b");
}

TEST(Config, UnusableHostNameIsAProblemWithTheRemedyAndNoPlace) {
  const std::vector<std::string> lines = bad("log: {level: warn}", "my_host");
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_THAT(lines[0], StartsWith("f: node.name: is not given, and the host name cannot stand "
                                   "for it: 'my_host' is not a node name"));
  EXPECT_THAT(lines[0], HasSubstr("write a name here"));
  EXPECT_EQ(bad("", "").size(), 1U);
}

TEST(Config, EveryValueIsRead) {
  const Config config = good(R"(
node: {name: n, addresses: ["2001:db8::1", 192.0.2.1], cidrs: [10.1.0.0/24, 10.1.0.9], labels: {}}
store:
  type: etcd
  forgetAfter: 1h30m
  directory: {path: /s}
  etcd: {endpoints: ["https://etcd-0.example:2379", "https://[::1]:1"], prefix: /a/b, caFile: ca,
         certFile: cert, keyFile: key, username: u, passwordFile: p}
  kubernetes: {kubeconfig: /k, nodeName: kn}
wireguard: {backend: userspace, interface: wg.x-1, listenPort: 1, mtu: 1280,
            persistentKeepalive: 25s, fwmark: 0x10, routingTable: 100, rulePriority: 32763,
            userspaceCommand: boringtun}
encryption: {mode: off, hostTraffic: true, fallbackAfter: 500ms, allowWithdrawal: false}
keys: {directory: /keys}
api: {socket: /a.sock, listen: "[::]:80"}
log: {level: error, format: json})");
  EXPECT_EQ(config.node.name, "n");
  EXPECT_EQ(config.node.addresses[0].to_string(), "2001:db8::1");  // in the order of the file
  EXPECT_EQ(config.node.cidrs[1].to_string(), "10.1.0.9/32");
  EXPECT_EQ(config.store.type, StoreType::kEtcd);
  EXPECT_EQ(config.store.forget_after, std::chrono::minutes(90));
  EXPECT_EQ(config.store.directory.path, "/s");
  EXPECT_THAT(config.store.etcd.endpoints,
              ElementsAre("https://etcd-0.example:2379", "https://[::1]:1"));
  EXPECT_EQ(config.store.etcd.prefix, "/a/b");
  EXPECT_EQ(config.store.etcd.ca_file, "ca");
  EXPECT_EQ(config.store.etcd.cert_file, "cert");
  EXPECT_EQ(config.store.etcd.key_file, "key");
  EXPECT_EQ(config.store.etcd.username, "u");
  EXPECT_EQ(config.store.etcd.password_file, "p");
  EXPECT_EQ(config.store.kubernetes.kubeconfig, "/k");
  EXPECT_EQ(config.store.kubernetes.node_name, "kn");
  EXPECT_EQ(config.wireguard.backend, BackendPreference::kUserspace);
  EXPECT_EQ(config.wireguard.interface, "wg.x-1");
  EXPECT_EQ(config.wireguard.listen_port, 1);
  EXPECT_EQ(config.wireguard.mtu, 1280U);
  EXPECT_EQ(config.wireguard.persistent_keepalive, std::chrono::seconds(25));
  EXPECT_EQ(config.wireguard.fwmark, 16U);
  EXPECT_EQ(config.wireguard.routing_table, 100U);
  EXPECT_EQ(config.wireguard.rule_priority, 32763U);
  EXPECT_EQ(config.wireguard.userspace_command, "boringtun");
  EXPECT_EQ(config.encryption.mode, Mode::kOff);  // a word, though YAML 1.1 reads a boolean
  EXPECT_TRUE(config.encryption.host_traffic);
  EXPECT_EQ(config.encryption.fallback_after, std::chrono::milliseconds(500));
  EXPECT_FALSE(config.encryption.allow_withdrawal);
  EXPECT_EQ(config.keys.directory, "/keys");
  EXPECT_EQ(config.api.socket, "/a.sock");
  EXPECT_EQ(config.api.listen->to_string(), "[::]:80");
  EXPECT_EQ(config.log.level, LogLevel::kError);
  EXPECT_EQ(config.log.format, LogFormat::kJson);
}

TEST(Config, EveryWordOfEveryEnumerationIsTaken) {
  for (const char* word : {"auto", "kernel", "userspace", "none"})
    EXPECT_EQ(to_string(good(fmt::format("wireguard: {{backend: {}}}", word)).wireguard.backend),
              word);
  for (const char* word : {"prefer", "require", "off"})
    EXPECT_EQ(to_string(good(fmt::format("encryption: {{mode: {}}}", word)).encryption.mode), word);
  for (const char* word : {"directory", "etcd", "kubernetes"})
    EXPECT_EQ(to_string(good(fmt::format("store: {{type: {}}}", word)).store.type), word);
  for (const char* word : {"debug", "info", "warn", "error"})
    EXPECT_EQ(to_string(good(fmt::format("log: {{level: {}}}", word)).log.level), word);
  for (const char* word : {"text", "json"})
    EXPECT_EQ(to_string(good(fmt::format("log: {{format: {}}}", word)).log.format), word);
}

TEST(Config, LabelsThatLookLikeNumbersOrBoolsAreTexts) {
  const Config config = good("node: {labels: {a: 1, b: true, 3: x, d: 0x10, e: \"\", f: no}}");
  EXPECT_EQ(config.node.labels,
            (std::map<std::string, std::string>{
                {"a", "1"}, {"b", "true"}, {"3", "x"}, {"d", "0x10"}, {"e", ""}, {"f", "no"}}));
}

TEST(Config, EmptyListenTurnsTheTcpListenerOff) {
  EXPECT_FALSE(good("api: {listen: \"\"}").api.listen);
}

TEST(Config, AnAliasIsTheValueItNames) {
  const Config config = good("node: {name: &n node-b, labels: {self: *n}}");
  EXPECT_EQ(config.node.labels.at("self"), "node-b");
}

TEST(Config, AllProblemsArePrintedInTheOrderOfTheFile) {
  EXPECT_THAT(bad("log:\n"
                  "  level: loud\n"
                  "wireguard:\n"
                  "  listenPort: 0\n"
                  "  mtoo: 3\n"
                  "node: []\n"),
              ElementsAre("f:2:10: log.level: 'loud' is not one of debug, info, warn, error",
                          "f:4:15: wireguard.listenPort: 0 is out of range: write a whole number "
                          "from 1 to 65535",
                          "f:5:3: wireguard.mtoo: unknown key; did you mean 'mtu'?",
                          "f:6:7: node: must be a mapping of the keys name, addresses, cidrs, "
                          "labels, not a list"));
}

TEST(Config, UnknownKeySuggestsTheNearestOne) {
  const auto suggestion = [](std::string_view text) {
    const std::string line = bad(text).front();
    return line.substr(line.find("unknown key"));
  };
  EXPECT_EQ(suggestion("nod: {}"), "unknown key; did you mean 'node'?");
  EXPECT_EQ(suggestion("encyrption: {}"), "unknown key; did you mean 'encryption'?");
  EXPECT_EQ(suggestion("wireguard: {listen_port: 1}"), "unknown key; did you mean 'listenPort'?");
  EXPECT_EQ(suggestion("wireguard: {ListenPort: 1}"), "unknown key; did you mean 'listenPort'?");
  EXPECT_EQ(suggestion("store: {etcd: {endpoint: x}}"), "unknown key; did you mean 'endpoints'?");
  EXPECT_EQ(suggestion("node: {cidr: x}"), "unknown key; did you mean 'cidrs'?");
}

TEST(Config, UnknownKeyThatIsAtHomeElsewhereIsSentThere) {
  EXPECT_THAT(bad("mtu: 1400"), ElementsAre("f:1:1: mtu: unknown key; did you mean "
                                            "'wireguard.mtu'?"));
  EXPECT_THAT(bad("store: {path: /x}"), ElementsAre("f:1:9: store.path: unknown key; did you mean "
                                                    "'store.directory.path'?"));
}

TEST(Config, UnknownKeyLikeNoOtherIsToldTheKeysThereAre) {
  EXPECT_THAT(bad("log: {zzzzzz: 1}"),
              ElementsAre("f:1:7: log.zzzzzz: unknown key; the keys here are level, format"));
}

TEST(Config, UnknownWordSuggestsTheNearestOne) {
  EXPECT_THAT(bad("encryption: {mode: Required}"),
              ElementsAre("f:1:20: encryption.mode: 'Required' is not one of prefer, require, off; "
                          "did you mean 'require'?"));
  EXPECT_THAT(bad("wireguard: {backend: user-space}"), ElementsAre(HasSubstr("'userspace'?")));
}

TEST(Config, WrongTypesAreNamed) {
  EXPECT_THAT(bad("[]"), ElementsAre(HasSubstr("f:1:1: must be a mapping of the keys node, ")));
  EXPECT_THAT(bad("hello"), ElementsAre(HasSubstr("not a single value")));
  EXPECT_THAT(bad("node: 7"),
              ElementsAre(StartsWith("f:1:7: node: must be a mapping of the keys")));
  EXPECT_THAT(bad("node: {name: [a]}"),
              ElementsAre("f:1:14: node.name: must be a text, not a list"));
  EXPECT_THAT(bad("node: {name: }"),
              ElementsAre("f:1:8: node.name: has no value: write a text, or remove the key for its "
                          "default"));
  EXPECT_THAT(bad("node: {cidrs: 10.0.0.0/8}"),
              ElementsAre("f:1:15: node.cidrs: must be a list such as [a, b], not a single value"));
  EXPECT_THAT(bad("node: {cidrs: }"), ElementsAre(HasSubstr("write [] for an empty list")));
  EXPECT_THAT(bad("node: {cidrs: [10.1.0.0/24, {}, ~]}"),
              ElementsAre("f:1:15: node.cidrs[2]: must be a single value, not nothing",
                          "f:1:29: node.cidrs[1]: must be a single value, not a mapping of keys"));
  EXPECT_THAT(bad("node: {labels: [a]}"), ElementsAre(HasSubstr("must be a mapping such as")));
  EXPECT_THAT(bad("node: {labels: {a: [b]}}"),
              ElementsAre(StartsWith("f:1:20: node.labels.a: must be a single value, not a list")));
  EXPECT_THAT(bad("node: {labels: {\"\": b}}"), ElementsAre(HasSubstr("must not be empty")));
  EXPECT_THAT(bad("{[a]: 1}"), ElementsAre(HasSubstr("a key must be a single word, not a list")));
  EXPECT_THAT(bad("wireguard: {listenPort: \"51820\"}"),
              ElementsAre(HasSubstr("must be a number, not a text: write 51820 without quotes")));
  EXPECT_THAT(bad("wireguard: {listenPort: many}"),
              ElementsAre(HasSubstr("'many' is not a whole")));
  for (const char* word : {"yes", "on", "1", "\"true\"", "True"})
    EXPECT_THAT(bad(fmt::format("encryption: {{hostTraffic: {}}}", word)),
                ElementsAre(HasSubstr("encryption.hostTraffic: must be true or false")));
}

TEST(Config, KeyGivenTwiceIsRefusedWithBothPlaces) {
  EXPECT_THAT(bad("log:\n  level: info\n  level: warn\n"),
              ElementsAre("f:3:3: log.level: given twice, first in line 2: keep one of them"));
  EXPECT_THAT(bad("log: {}\nlog: {}\n"), ElementsAre(HasSubstr("f:2:1: log: given twice")));
  EXPECT_THAT(bad("node: {labels: {a: 1, a: 1}}"), ElementsAre(HasSubstr("node.labels.a: given")));
}

TEST(Config, BrokenSyntaxHasAPlaceAndARemedy) {
  EXPECT_THAT(bad("log:\n\tlevel: info\n"),
              ElementsAre("f:2:1: a tab in the indentation: YAML indents with spaces only"));
  EXPECT_THAT(bad("log:\n  level: info\n format: json\n"),
              ElementsAre(StartsWith("f:3:2: not valid YAML: ")));
  EXPECT_THAT(bad("node: {name: a"), ElementsAre(HasSubstr("not valid YAML")));
  EXPECT_THAT(bad("node: \"a"), ElementsAre(HasSubstr("not valid YAML")));
  EXPECT_THAT(bad("node: *nobody"), ElementsAre(StartsWith("f:1:7: not valid YAML")));
}

TEST(Config, SecondDocumentIsRefused) {
  EXPECT_THAT(bad("log: {}\n---\nlog: {}\n"), ElementsAre(StartsWith("f:2:1: a second document")));
}

// The YAML library ends the file silently at byte 4: half a configuration would be in force.
TEST(Config, BytesThatAreNoTextAreRefused) {
  EXPECT_THAT(bad("log: {}\nnode:\x04\n"), ElementsAre(StartsWith("f:2:6: byte 0x04 is not text")));
  EXPECT_THAT(bad(std::string_view("log:\0", 5)), ElementsAre(StartsWith("f:1:5: byte 0x00")));
}

TEST(Config, MessagesStayOnOneLineWhateverTheFileHolds) {
  for (const char* text : {R"("\e[31m\n": 1)", R"(log: {level: "\n\e"})", R"(node: {name: "a\nb"})",
                           R"(node: {labels: {"a\nb": []}})", R"(node: {cidrs: ["1\n"]})",
                           R"(wireguard: {interface: "a\nb", listenPort: "\n"})",
                           R"(api: {listen: "\r\n", socket: "/a\nb"})"})
    for (const std::string& line : bad(text))
      EXPECT_EQ(line.find_first_of("\n\r\x1b"), std::string::npos) << line;
}

TEST(Config, PasswordInAnEndpointIsNeverQuoted) {
  const auto lines = bad("store: {etcd: {endpoints: [\"http://root:s3cret@h:1\"]}}");
  EXPECT_THAT(lines, ElementsAre(HasSubstr("store.etcd.endpoints[0]: an endpoint holds no user")));
  EXPECT_THAT(lines[0], ::testing::Not(HasSubstr("s3cret")));
}

TEST(Config, NodeAddressesMustBeReachableAndGivenOnce) {
  for (const char* address : {"127.0.0.1", "0.0.0.0", "\"::\"", "\"fe80::1\"", "224.0.0.1",
                              "192.0.2.1/24", "node-b", "\"::ffff:192.0.2.1\""})
    EXPECT_THAT(bad(fmt::format("node: {{addresses: [{}]}}", address)),
                ElementsAre(HasSubstr("node.addresses[0]: ")));
  EXPECT_THAT(bad("node: {addresses: [192.0.2.1, 192.0.2.1]}"),
              ElementsAre("f:1:31: node.addresses[1]: 192.0.2.1 is given twice: keep one of them"));
}

TEST(Config, OneBadPrefixDoesNotHideTheNext) {
  EXPECT_THAT(bad("node: {cidrs: [10.1.0.1/24, 10.2.0.0/24, 10.2.0.0/24, 0.0.0.0/0]}"),
              ElementsAre("f:1:16: node.cidrs[0]: '10.1.0.1/24' has host bits set: write "
                          "10.1.0.0/24 or 10.1.0.1/32",
                          "f:1:42: node.cidrs[2]: 10.2.0.0/24 is given twice: keep one of them",
                          "f:1:55: node.cidrs[3]: 0.0.0.0/0 is the default route: write the "
                          "prefixes that live on this node"));
}

TEST(Config, MoreSpecificPrefixesOfOneNodeAreLegal) {
  EXPECT_EQ(good("node: {cidrs: [10.1.0.0/16, 10.1.2.0/24]}").node.cidrs.size(), 2U);
}

TEST(Config, NumbersHaveTheirRanges) {
  const auto refused = [](std::string_view setting) {
    EXPECT_EQ(bad(fmt::format("wireguard: {{{}}}", setting)).size(), 1U) << setting;
  };
  const auto taken = [](std::string_view setting) {
    (void)good(fmt::format("wireguard: {{{}}}", setting));
  };
  for (const char* setting : {"listenPort: 0",
                              "listenPort: 65536",
                              "listenPort: -1",
                              "listenPort: 1.5",
                              "listenPort: 080",
                              "mtu: 1279",
                              "mtu: 1",
                              "mtu: 65536",
                              "fwmark: 0",
                              "fwmark: 0x0",
                              "fwmark: 0x100000000",
                              "fwmark: 0x",
                              "fwmark: 99999999999999999999",
                              "routingTable: 0",
                              "routingTable: 251",
                              "routingTable: 252",
                              "routingTable: 253",
                              "routingTable: 254",
                              "routingTable: 255",
                              "routingTable: 4294967293",
                              "rulePriority: 0",
                              "rulePriority: 32764",
                              "persistentKeepalive: 65536s",
                              "persistentKeepalive: 1500ms",
                              "persistentKeepalive: 25",
                              "persistentKeepalive: -1s"})
    refused(setting);
  for (const char* setting :
       {"listenPort: 65535", "mtu: 0", "mtu: 1280", "mtu: 65535", "fwmark: \"0xFFFFffff\"",
        "fwmark: 4294967295", "routingTable: 1", "routingTable: 250", "routingTable: 256",
        "routingTable: 4294967292", "rulePriority: 1", "persistentKeepalive: 65535s",
        "persistentKeepalive: 2000ms"})
    taken(setting);
}

TEST(Config, ForgetAfterNothingIsNeverAndBeforeNowIsRefused) {
  EXPECT_EQ(good("store: {forgetAfter: 0s}").store.forget_after, Duration(0));
  EXPECT_THAT(bad("store: {forgetAfter: -1s}"),
              ElementsAre(StartsWith("f:1:22: store.forgetAfter")));
}

TEST(Config, EmptyPathsAndCommandsAreRefused) {
  for (const char* text : {"store: {directory: {path: \"\"}}", "keys: {directory: \"\"}",
                           "api: {socket: \"\"}", "wireguard: {userspaceCommand: \"\"}"})
    EXPECT_THAT(bad(text), ElementsAre(HasSubstr("must not be empty"))) << text;
}

TEST(Config, ApiSocketMustFitAUnixSocketAddress) {
  EXPECT_EQ(good("api: {socket: /" + std::string(106, 'a') + "}").api.socket.native().size(), 107U);
  EXPECT_THAT(bad("api: {socket: /" + std::string(107, 'a') + "}"),
              ElementsAre(HasSubstr("api.socket: the path has 108 bytes")));
}

TEST(Config, UnusedStoreBlocksAreCheckedForKeysTypesAndValues) {
  EXPECT_THAT(bad("store: {etcd: {prefx: /a, endpoints: x}, kubernetes: {nodeName: A_B}}"),
              ElementsAre(HasSubstr("store.etcd.prefx: unknown key; did you mean 'prefix'?"),
                          HasSubstr("store.etcd.endpoints: must be a list"),
                          HasSubstr("store.kubernetes.nodeName: 'A_B'")));
  for (const char* prefix : {"meshd", "/", "/meshd/", "\"\""})
    EXPECT_THAT(bad(fmt::format("store: {{etcd: {{prefix: {}}}}}", prefix)),
                ElementsAre(HasSubstr("store.etcd.prefix")));
}

TEST(Config, WhatBelongsTogetherMustBeWholeInTheStoreInUse) {
  const std::string_view etcd = "store: {{type: {}, etcd: {{{}}}}}";
  for (const char* half : {"certFile: /c", "keyFile: /k", "username: u", "passwordFile: /p"}) {
    EXPECT_THAT(bad(fmt::format(fmt::runtime(etcd), "etcd", half)),
                ElementsAre(HasSubstr("go together: give both or neither")));
    (void)good(fmt::format(fmt::runtime(etcd), "directory", half));
  }
  EXPECT_THAT(bad("store: {type: etcd, etcd: {endpoints: []}}"),
              ElementsAre(HasSubstr("must name at least one endpoint")));
}

TEST(Config, PrivateKeysMustNotLieInTheSharedStore) {
  EXPECT_THAT(bad("store: {directory: {path: /s}}\nkeys: {directory: /s/./keys/}\n"),
              ElementsAre(StartsWith("f:2:19: keys.directory: '/s/./keys/' is inside the store")));
  EXPECT_THAT(bad("store: {directory: {path: /var/lib/meshd/}}"),
              ElementsAre(StartsWith("f:1:27: store.directory.path: '/var/lib/meshd/' holds the "
                                     "private keys (/var/lib/meshd/keys)")));
  (void)good("store: {directory: {path: /s}}\nkeys: {directory: /skeys}\n");
  (void)good("store: {directory: {path: /s/x}}\nkeys: {directory: /s}\n");
  (void)good("store: {type: etcd, directory: {path: /s}}\nkeys: {directory: /s/keys}\n");
}

TEST(Config, TheSnapshotIsBesideTheKeysUnlessItIsGivenAPlaceOrNone) {
  EXPECT_EQ(snapshot_path(good("node: {name: n}")), "/var/lib/meshd/n.snapshot");
  EXPECT_EQ(snapshot_path(good("node: {name: n}\nkeys: {directory: /k/keys/}")), "/k/n.snapshot");
  EXPECT_EQ(snapshot_path(good("store: {snapshot: {path: /s/x}}")), "/s/x");
  EXPECT_EQ(snapshot_path(good("store: {snapshot: {path: ''}}")), "");
  EXPECT_THAT(bad("store: {snapshot: {path: /var/lib/meshd/store/x}}"),
              ElementsAre(HasSubstr("store.snapshot.path: '/var/lib/meshd/store/x' is inside")));
}

}  // namespace
}  // namespace mesh
