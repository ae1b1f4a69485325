// Config: what meshd.yaml says, as typed values with the contract's defaults, and the readers that
// make it.
//
// Reading never stops at the first mistake: a bad file yields every problem it has, each with its
// place, its key and the remedy, so that one look mends the file. A file with one problem yields no
// Config at all: meshd never runs on half of what was asked for.
// Thread rules: values and free functions, any thread. Cost: one parse of at most kMaxConfigBytes;
// for start and reload only. Secrets: none is in a Config (it names files that hold them), and no
// problem quotes a value that could carry one.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "mesh/clock.h"
#include "mesh/dataplane.h"
#include "mesh/ip.h"
#include "mesh/peer_state.h"

namespace mesh {

inline constexpr std::size_t kMaxConfigBytes = std::size_t{1} << 20;
inline constexpr std::string_view kDefaultConfigFile = "/etc/meshd/meshd.yaml";

struct NodeConfig {
  // Never empty: where the file names none, the environment's MESHD_NODE_NAME, else the host name,
  // in lower case.
  std::string name;
  std::vector<IpAddress> addresses;  // in the file's order; empty: those of the default route
  std::vector<Cidr> cidrs;           // in the file's order
  std::map<std::string, std::string> labels;
  friend bool operator==(const NodeConfig&, const NodeConfig&) = default;
};

enum class StoreType : std::uint8_t { kDirectory, kEtcd, kKubernetes };

struct DirectoryStoreConfig {
  std::filesystem::path path = "/var/lib/meshd/store";
  friend bool operator==(const DirectoryStoreConfig&, const DirectoryStoreConfig&) = default;
};

struct EtcdStoreConfig {
  std::vector<std::string> endpoints = {"http://127.0.0.1:2379"};  // http:// or https://, no user
  std::string prefix = "/meshd";
  std::filesystem::path ca_file;  // "": the system's authorities
  std::filesystem::path cert_file;
  std::filesystem::path key_file;
  std::string username;
  std::filesystem::path password_file;
  friend bool operator==(const EtcdStoreConfig&, const EtcdStoreConfig&) = default;
};

struct KubernetesStoreConfig {
  std::filesystem::path kubeconfig;        // "": the in-cluster service account
  std::filesystem::path patch_kubeconfig;  // who writes this machine's Node; "": who reads
  std::string node_name;                   // "": node.name, which it stands for otherwise
  friend bool operator==(const KubernetesStoreConfig&, const KubernetesStoreConfig&) = default;
};

struct StoreConfig {
  StoreType type = StoreType::kDirectory;
  Duration forget_after = std::chrono::hours(24);
  DirectoryStoreConfig directory;  // the blocks of the other types are filled too, and unused
  EtcdStoreConfig etcd;
  KubernetesStoreConfig kubernetes;
  // Where the last good records are written down; "": nowhere. Not given: see snapshot_path().
  std::optional<std::filesystem::path> snapshot;
  friend bool operator==(const StoreConfig&, const StoreConfig&) = default;
};

struct WireguardConfig {
  BackendPreference backend = BackendPreference::kAuto;
  std::string interface = "mesh0";  // a name the kernel takes and nftables needs no quotes for
  std::uint16_t listen_port = 51820;
  std::uint32_t mtu = 0;  // 0: derived from the underlay path
  std::chrono::seconds persistent_keepalive{0};
  std::uint32_t fwmark = 0x2000;       // M, never 0
  std::uint32_t routing_table = 5182;  // W
  std::uint32_t rule_priority = 99;    // and the two that follow
  std::string userspace_command = "wireguard-go";

  std::uint32_t host_table() const { return routing_table + 1; }  // H
  friend bool operator==(const WireguardConfig&, const WireguardConfig&) = default;
};

struct EncryptionConfig {
  Mode mode = Mode::kPrefer;
  bool host_traffic = false;
  Duration fallback_after{0};  // 0: never
  bool allow_withdrawal = true;
  friend bool operator==(const EncryptionConfig&, const EncryptionConfig&) = default;
};

struct KeysConfig {
  std::filesystem::path directory = "/var/lib/meshd/keys";
  friend bool operator==(const KeysConfig&, const KeysConfig&) = default;
};

struct ApiConfig {
  std::filesystem::path socket = "/run/meshd/meshd.sock";  // fits sockaddr_un
  // Empty: no TCP listener.
  std::optional<Endpoint> listen = Endpoint{IpAddress::v4(0x7f000001), 9586};
  friend bool operator==(const ApiConfig&, const ApiConfig&) = default;
};

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarn, kError };
enum class LogFormat : std::uint8_t { kText, kJson };

struct LogConfig {
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
  friend bool operator==(const LogConfig&, const LogConfig&) = default;
};

struct Config {
  NodeConfig node;
  StoreConfig store;
  WireguardConfig wireguard;
  EncryptionConfig encryption;
  KeysConfig keys;
  ApiConfig api;
  LogConfig log;
  friend bool operator==(const Config&, const Config&) = default;
};

std::string_view to_string(StoreType type);             // "directory", "etcd", "kubernetes"
std::string_view to_string(BackendPreference backend);  // "auto", "kernel", "userspace", "none"
std::string_view to_string(LogLevel level);             // "debug", "info", "warn", "error"
std::string_view to_string(LogFormat format);           // "text", "json"

// Of the snapshot: as it is given, or beside the keys, by the node's name. "": none is kept.
std::filesystem::path snapshot_path(const Config& config);

// One mistake. Lines and columns count from 1; line 0: the mistake has no place in the file (it
// cannot be read, or the value came from elsewhere). `key` is the dotted path
// ("wireguard.listenPort", "node.cidrs[1]"), "" when the mistake is not about one key.
struct ConfigProblem {
  std::string file;
  int line = 0;
  int column = 0;
  std::string key;
  std::string message;  // what is wrong and what to write instead
  friend bool operator==(const ConfigProblem&, const ConfigProblem&) = default;
};

// "file:line:column: key: message", without the parts the problem does not have.
std::string describe(const ConfigProblem& problem);

// Either a whole configuration or every problem, in the order of the file (never an empty list).
using ConfigProblems = std::vector<ConfigProblem>;
using ConfigResult = std::variant<Config, ConfigProblems>;

// Pure: `file_name` only names the place in problems, `host_name` is the default of node.name.
ConfigResult parse_config(std::string_view text, std::string_view file_name,
                          std::string_view host_name);

// Reads the file, then the same with the environment's MESHD_NODE_NAME, which a pod gets from its
// cluster, else this machine's host name. A file that cannot be read is one
// problem without a line. An empty file is all defaults.
ConfigResult load_config(const std::filesystem::path& path);

// The dotted keys that differ and that a reload cannot apply, in the file's order; empty when a
// reload may take `wanted` whole. Blocks of store types that neither uses do not count.
std::vector<std::string> changed_but_needs_restart(const Config& running, const Config& wanted);

}  // namespace mesh
