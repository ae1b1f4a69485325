// The schema of meshd.yaml: which keys there are, what each may be, and what must fit together.
#include "meshd/daemon/config_schema.h"

#include <algorithm>
#include <array>
#include <set>

#include "mesh/node_record.h"
#include "meshd/daemon/config_values.h"

namespace mesh {
namespace {

constexpr ConfigWords<StoreType, 3> kStoreTypes{{{StoreType::kDirectory, "directory"},
                                                 {StoreType::kEtcd, "etcd"},
                                                 {StoreType::kKubernetes, "kubernetes"}}};
constexpr ConfigWords<BackendPreference, 4> kBackends{{{BackendPreference::kAuto, "auto"},
                                                       {BackendPreference::kKernel, "kernel"},
                                                       {BackendPreference::kUserspace, "userspace"},
                                                       {BackendPreference::kNone, "none"}}};
constexpr ConfigWords<Mode, 3> kModes{
    {{Mode::kPrefer, "prefer"}, {Mode::kRequire, "require"}, {Mode::kOff, "off"}}};
constexpr ConfigWords<LogLevel, 4> kLogLevels{{{LogLevel::kDebug, "debug"},
                                               {LogLevel::kInfo, "info"},
                                               {LogLevel::kWarn, "warn"},
                                               {LogLevel::kError, "error"}}};
constexpr ConfigWords<LogFormat, 2> kLogFormats{
    {{LogFormat::kText, "text"}, {LogFormat::kJson, "json"}}};

template <class E, std::size_t N>
std::string_view word_of(const ConfigWords<E, N>& words, E value) {
  for (const auto& [candidate, text] : words)
    if (candidate == value) return text;
  return "";
}

// `seen` holds the same values as `values`, so that a list of any length costs n log n.
template <class T>
Result<void> add_unique(std::vector<T>& values, std::set<T>& seen, const T& value) {
  if (!seen.insert(value).second)
    return make_error(ErrorCode::kInvalid, "{} is given twice: keep one of them",
                      value.to_string());
  values.push_back(value);
  return {};
}

// The host name as a node's name; a bad one is reported without a place, for it is not in the file.
void take_host_name(ConfigReader& reader, std::string_view host_name, std::string& name) {
  name = host_name;
  std::transform(name.begin(), name.end(), name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  if (const auto checked = check_node_name(name); !checked)
    reader.refuse({}, "node.name",
                  fmt::format("is not given, and the host name cannot stand for it: {}; write a "
                              "name here",
                              checked.error().message));
}

void read_node(ConfigSection& section, ConfigReader& reader, std::string_view host_name,
               NodeConfig& node) {
  if (section.text("name", node.name))
    section.accept("name", check_node_name(node.name));
  else if (!section.has("name"))
    take_host_name(reader, host_name, node.name);
  std::set<IpAddress> seen_addresses;
  section.list(
      "addresses", [&] { node.addresses.clear(); },
      [&](const std::string& text) -> Result<void> {
        const auto address = IpAddress::parse(text);
        if (!address) return address.error();
        if (const auto why = address->why_not_reachable(); !why.empty())
          return make_error(ErrorCode::kInvalid, "{} is {}, which no other node can reach", text,
                            why);
        return add_unique(node.addresses, seen_addresses, *address);
      });
  std::set<Cidr> seen_cidrs;
  section.list(
      "cidrs", [&] { node.cidrs.clear(); },
      [&](const std::string& text) -> Result<void> {
        const auto cidr = Cidr::parse(text);
        if (!cidr) return cidr.error();
        if (auto checked = check_workload_prefix(*cidr); !checked) return checked;
        return add_unique(node.cidrs, seen_cidrs, *cidr);
      });
  section.map("labels", node.labels);
}

void read_etcd(ConfigSection& section, bool in_use, EtcdStoreConfig& etcd) {
  const bool endpoints = section.list(
      "endpoints", [&] { etcd.endpoints.clear(); },
      [&](const std::string& url) -> Result<void> {
        if (auto checked = check_etcd_endpoint(url); !checked) return checked;
        etcd.endpoints.push_back(url);
        return {};
      });
  if (section.text("prefix", etcd.prefix) &&
      (!etcd.prefix.starts_with('/') || etcd.prefix.size() < 2 || etcd.prefix.ends_with('/')))
    section.refuse("prefix", "must start with '/', have a name and not end with '/', as /meshd");
  section.path("caFile", etcd.ca_file, true);
  section.path("certFile", etcd.cert_file, true);
  section.path("keyFile", etcd.key_file, true);
  section.text("username", etcd.username);
  section.path("passwordFile", etcd.password_file, true);
  if (!in_use) return;  // half-filled blocks of other types may stand there
  if (endpoints && etcd.endpoints.empty())
    section.refuse("endpoints", "must name at least one endpoint, as http://127.0.0.1:2379");
  if (etcd.cert_file.empty() != etcd.key_file.empty())
    section.refuse(etcd.cert_file.empty() ? "keyFile" : "certFile",
                   "certFile and keyFile go together: give both or neither");
  if (etcd.username.empty() != etcd.password_file.empty())
    section.refuse(etcd.username.empty() ? "passwordFile" : "username",
                   "username and passwordFile go together: give both or neither");
}

void read_kubernetes(ConfigSection& section, KubernetesStoreConfig& kubernetes) {
  section.path("kubeconfig", kubernetes.kubeconfig, true);
  section.path("patchKubeconfig", kubernetes.patch_kubeconfig, true);
  if (section.text("nodeName", kubernetes.node_name) && !kubernetes.node_name.empty())
    section.accept("nodeName", check_node_name(kubernetes.node_name));
}

bool is_inside(const std::filesystem::path& inner, const std::filesystem::path& outer) {
  // Both end in an empty element, which stands for "the directory itself".
  const auto outer_path = (outer / "").lexically_normal();
  const auto inner_path = (inner / "").lexically_normal();
  const auto end = std::prev(outer_path.end());
  return std::mismatch(outer_path.begin(), end, inner_path.begin(), inner_path.end()).first == end;
}

// A snapshot in the store is away when the store is.
void read_snapshot(ConfigSection& section, StoreConfig& store) {
  std::filesystem::path path;
  if (!section.path("path", path, true)) return;
  if (!path.empty() && store.type == StoreType::kDirectory && is_inside(path, store.directory.path))
    section.refuse("path",
                   fmt::format("{} is inside the store {}, and would be away with it: "
                               "choose a file on this machine's own disk",
                               in_quotes(path.native()), in_quotes(store.directory.path.native())));
  else
    store.snapshot = path;
}

void read_store(ConfigSection& section, StoreConfig& store, YamlPlace& directory_place) {
  section.word("type", kStoreTypes, store.type);
  if (section.duration("forgetAfter", store.forget_after) && store.forget_after < Duration(0))
    section.refuse("forgetAfter", "must not be negative; 0s: no record is ever removed");
  section.section("directory", [&](ConfigSection& s) {
    s.path("path", store.directory.path);
    directory_place = s.place_of("path");
  });
  section.section(
      "etcd", [&](ConfigSection& s) { read_etcd(s, store.type == StoreType::kEtcd, store.etcd); });
  section.section("kubernetes", [&](ConfigSection& s) { read_kubernetes(s, store.kubernetes); });
  section.section("snapshot", [&](ConfigSection& s) { read_snapshot(s, store); });
}

void read_mtu(ConfigSection& section, std::uint32_t& mtu) {
  constexpr std::uint32_t kSmallestMtu = 1280;  // below it the kernel takes IPv6 off the device
  std::uint32_t value = 0;
  if (!section.number("mtu", 0, 65535, value)) return;
  if (value != 0 && value < kSmallestMtu)
    section.refuse("mtu", fmt::format("{} is too small: write at least {}, below which IPv6 stops, "
                                      "or 0 to derive it from the underlay",
                                      value, kSmallestMtu));
  else
    mtu = value;
}

void read_keepalive(ConfigSection& section, std::chrono::seconds& keepalive) {
  constexpr std::string_view kKey = "persistentKeepalive";
  Duration value{0};
  if (!section.duration(kKey, value)) return;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(value);
  if (seconds != value || seconds.count() > 65535)  // WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL: u16
    section.refuse(kKey, "WireGuard counts whole seconds: write 0s for off, or 1s to 65535s");
  else
    keepalive = seconds;
}

void read_wireguard(ConfigSection& section, WireguardConfig& wireguard) {
  constexpr std::uint64_t kMax32 = 0xffff'ffff;
  // Two more rules follow ours, and all must come before the kernel's own of table main (32766).
  constexpr std::uint64_t kLastRulePriority = 32766 - 3;
  section.word("backend", kBackends, wireguard.backend);
  if (section.text("interface", wireguard.interface))
    section.accept("interface", check_interface_name(wireguard.interface));
  section.number("listenPort", 1, 65535, wireguard.listen_port);
  read_mtu(section, wireguard.mtu);
  read_keepalive(section, wireguard.persistent_keepalive);
  section.number("fwmark", 1, kMax32, wireguard.fwmark, true);
  if (section.number("routingTable", 0, kMax32, wireguard.routing_table))
    section.accept("routingTable", check_routing_table(wireguard.routing_table));
  section.number("rulePriority", 1, kLastRulePriority, wireguard.rule_priority);
  if (section.text("userspaceCommand", wireguard.userspace_command) &&
      wireguard.userspace_command.empty())
    section.refuse("userspaceCommand",
                   "must not be empty: write a program, or backend: kernel to use none");
}

constexpr std::size_t kMostFailsafePorts = 64;

void read_encryption(ConfigSection& section, EncryptionConfig& encryption) {
  section.word("mode", kModes, encryption.mode);
  section.boolean("hostTraffic", encryption.host_traffic);
  section.duration("fallbackAfter", encryption.fallback_after);
  section.boolean("allowWithdrawal", encryption.allow_withdrawal);
  std::set<FailsafePort> seen;
  section.list(
      "failsafePorts", [&] { encryption.failsafe_ports.clear(); },
      [&](const std::string& text) -> Result<void> {
        const auto port = parse_failsafe_port(text);
        if (!port) return port.error();
        if (encryption.failsafe_ports.size() == kMostFailsafePorts)
          return make_error(ErrorCode::kInvalid,
                            "at most {} ports or ranges can be exempt: each is four policy rules",
                            kMostFailsafePorts);
        return add_unique(encryption.failsafe_ports, seen, *port);
      });
}

// A private key in the directory that all nodes read would be everybody's. Reported at the key that
// the file gives: one of the two is there, for the defaults do not meet.
void read_keys(ConfigSection& section, ConfigReader& reader, const StoreConfig& store,
               YamlPlace store_place, KeysConfig& keys) {
  section.path("directory", keys.directory);
  if (store.type != StoreType::kDirectory || !is_inside(keys.directory, store.directory.path))
    return;
  if (section.has("directory"))
    section.refuse("directory", fmt::format("{} is inside the store {}, which every node reads: "
                                            "keep private keys elsewhere",
                                            in_quotes(keys.directory.native()),
                                            in_quotes(store.directory.path.native())));
  else
    reader.refuse(store_place, "store.directory.path",
                  fmt::format("{} holds the private keys ({}), and every node reads the store: "
                              "choose another directory for one of them",
                              in_quotes(store.directory.path.native()), keys.directory.native()));
}

void read_api(ConfigSection& section, ApiConfig& api) {
  if (section.path("socket", api.socket)) section.accept("socket", check_socket_path(api.socket));
  std::string listen;
  if (!section.text("listen", listen)) return;
  if (listen.empty()) {
    api.listen.reset();
    return;
  }
  if (const auto endpoint = parse_listen_address(listen))
    api.listen = *endpoint;
  else
    section.refuse("listen", endpoint.error().message);
}

void read_log(ConfigSection& section, LogConfig& log) {
  section.word("level", kLogLevels, log.level);
  section.word("format", kLogFormats, log.format);
}

}  // namespace

namespace {

// In Kubernetes a node has the name of its Node.
void take_kubernetes_name(ConfigReader& reader, const YamlPlace& name_place, Config& config) {
  const std::string& wanted = config.store.kubernetes.node_name;
  if (config.store.type != StoreType::kKubernetes || wanted.empty()) return;
  if (name_place.line > 0 && config.node.name != wanted)
    reader.refuse(name_place, "node.name",
                  fmt::format("differs from store.kubernetes.nodeName ({}): a node has the name of "
                              "its Node; keep one of them",
                              in_quotes(wanted)));
  config.node.name = wanted;
}

}  // namespace

void read_config(ConfigReader& reader, std::string_view host_name, Config& config) {
  const YamlNode& root = reader.tree().root();
  YamlPlace store_place;
  YamlPlace name_place;
  ConfigSection::read(reader, &root, root.place, "", [&](ConfigSection& file) {
    file.section("node", [&](auto& s) {
      read_node(s, reader, host_name, config.node);
      name_place = s.place_of("name");
    });
    file.section("store", [&](auto& s) { read_store(s, config.store, store_place); });
    file.section("wireguard", [&](auto& s) { read_wireguard(s, config.wireguard); });
    file.section("encryption", [&](auto& s) { read_encryption(s, config.encryption); });
    file.section("keys",
                 [&](auto& s) { read_keys(s, reader, config.store, store_place, config.keys); });
    file.section("api", [&](auto& s) { read_api(s, config.api); });
    file.section("log", [&](auto& s) { read_log(s, config.log); });
  });
  take_kubernetes_name(reader, name_place, config);
}

std::filesystem::path snapshot_path(const Config& config) {
  if (config.store.snapshot) return *config.store.snapshot;
  return (config.keys.directory / ".." / (config.node.name + ".snapshot")).lexically_normal();
}

std::string_view to_string(StoreType type) { return word_of(kStoreTypes, type); }
std::string_view to_string(BackendPreference backend) { return word_of(kBackends, backend); }
std::string_view to_string(LogLevel level) { return word_of(kLogLevels, level); }
std::string_view to_string(LogFormat format) { return word_of(kLogFormats, format); }

}  // namespace mesh
