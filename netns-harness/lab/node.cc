#include "lab/node.h"

#include <yaml-cpp/yaml.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "lab/error.h"
#include "lab/ping.h"

namespace mesh::lab {
namespace {

namespace fs = std::filesystem;

std::string locate_binary(const std::string& name) {
  const char* chosen = std::getenv("MESHD_BIN_DIR");
  const std::string beside = fs::read_symlink("/proc/self/exe").parent_path();
  std::vector<std::string> folders;
  if (chosen) folders.emplace_back(chosen);
  folders.push_back(beside);
  // The build tree: this program is in netns-harness/, netns-harness/cli/ or tests/lab/.
  for (const char* up : {"/..", "/../.."})
    for (const char* module : {"/meshd/daemon", "/meshd/ctl", "/netns-harness"})
      folders.push_back(beside + up + module);
  for (const auto& folder : folders) {
    const std::string candidate = folder + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0 && !fs::is_directory(candidate))
      return fs::canonical(candidate);
  }
  return find_program(name);
}

// `patch` over `base`: maps merge key by key, anything else replaces.
void merge(YAML::Node base, const YAML::Node& patch) {
  for (const auto& entry : patch) {
    const auto key = entry.first.as<std::string>();
    if (entry.second.IsMap() && base[key] && base[key].IsMap())
      merge(base[key], entry.second);
    else
      base[key] = YAML::Clone(entry.second);
  }
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

std::string last_lines(const std::string& text, std::size_t count) {
  std::size_t from = text.size();
  for (std::size_t seen = 0; from > 0; --from)
    if (text[from - 1] == '\n' && ++seen > count) break;
  return text.substr(from);
}

}  // namespace

std::string find_binary(const std::string& name) {
  const std::string path = locate_binary(name);
  if (path.empty())
    fail(
        "{} not found beside this program, in its build tree or in PATH; build it, or set "
        "MESHD_BIN_DIR",
        name);
  return path;
}

bool has_binary(const std::string& name) { return !locate_binary(name).empty(); }

Node::Node(NodeSpec spec, int index, std::string directory, NetworkNamespace network,
           MountNamespace mounts)
    : spec_(std::move(spec)),
      index_(index),
      directory_(std::move(directory)),
      network_(std::move(network)),
      mounts_(std::move(mounts)),
      config_(std::make_unique<YAML::Node>(YAML::NodeType::Map)) {}

Node::~Node() = default;

IpAddress Node::address(Family family) const {
  for (const auto& address : addresses_)
    if (address.family() == family) return address;
  fail("{} has no {} underlay address", name(), family == Family::kIpv4 ? "IPv4" : "IPv6");
}

Workload& Node::workload(int number) {
  return *workloads_.at(static_cast<std::size_t>(number - 1));
}

Outcome Node::run(std::vector<std::string> argv, milliseconds timeout) const {
  return lab::run({.argv = std::move(argv), .place = place()}, timeout);
}

std::string Node::must(std::vector<std::string> argv) const {
  return run_or_throw({.argv = std::move(argv), .place = place()});
}

bool Node::reaches(const IpAddress& target, milliseconds timeout) const {
  return ping(network_, target, timeout).answered;
}

void Node::configure(const std::string& yaml_patch) {
  merge(*config_, YAML::Load(yaml_patch));
  write_config_text(YAML::Dump(*config_) + "\n");
}

void Node::write_config_text(const std::string& text) const {
  const std::string temporary = config_path() + ".new";
  write_file(temporary, text);
  check(::rename(temporary.c_str(), config_path().c_str()), "rename to " + config_path());
}

void Node::start(bool drop_net_admin) {
  if (running()) fail("{}: meshd runs already", name());
  meshd_.reset();
  meshd_.emplace(Command{
      .argv = {program_.empty() ? find_binary("meshd") : program_, "--config", config_path()},
      .place = place(),
      .log_path = log_path(),
      .drop_net_admin = drop_net_admin});
}

Process& Node::process() {
  if (!meshd_) fail("{}: meshd was not started", name());
  return *meshd_;
}

int Node::stop() { return process().stop(); }

void Node::kill() {
  process().signal(SIGKILL);
  (void)process().wait(milliseconds(10'000));
}

void Node::reload() { process().signal(SIGHUP); }

bool Node::running() { return meshd_ && meshd_->running(); }

void Node::release() {
  if (meshd_) meshd_->release();
}

Outcome Node::meshctl(std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), find_binary("meshctl"));
  return run(std::move(arguments));
}

std::optional<nlohmann::json> Node::try_status() const {
  const Outcome outcome = meshctl({"status", "-o", "json"});
  if (!outcome.ok()) return std::nullopt;
  nlohmann::json status = nlohmann::json::parse(outcome.output, nullptr, false);
  if (status.is_discarded()) fail("{}: status is no JSON: {}", name(), outcome.output);
  return status;
}

nlohmann::json Node::status() const {
  const Outcome outcome = meshctl({"status", "-o", "json"});
  if (!outcome.ok()) fail("{}: meshctl status: {}{}", name(), outcome.errors, outcome.output);
  return nlohmann::json::parse(outcome.output);
}

nlohmann::json Node::peer(const std::string& name) const {
  if (const auto status = try_status())
    for (const auto& peer : status->value("peers", nlohmann::json::array()))
      if (peer.value("node", "") == name) return peer;
  return nlohmann::json::object();
}

std::string Node::state_of(const std::string& name) const { return peer(name).value("state", ""); }

std::string Node::reason_of(const std::string& name) const {
  return peer(name).value("reason", "");
}

bool Node::wait_for_state(const std::string& name, const std::string& state,
                          milliseconds timeout) const {
  return wait_until([&] { return state_of(name) == state; }, timeout, milliseconds(50));
}

std::optional<WireguardDevice> Node::wireguard(const std::string& device) const {
  const Outcome outcome = run({"wg", "show", device, "dump"});
  if (!outcome.ok()) return std::nullopt;
  WireguardDevice result;
  bool first = true;
  for (const auto& line : split(outcome.output, '\n')) {
    const auto field = split(line, '\t');
    if (first && field.size() >= 4) {  // private key, public key, port, fwmark
      result.public_key = field[1];
      result.listen_port = std::atoi(field[2].c_str());
      result.fwmark =
          field[3] == "off" ? 0 : static_cast<unsigned>(std::stoul(field[3], nullptr, 0));
    } else if (!first && field.size() >= 7) {
      // public key, preshared key, endpoint, allowed ips, handshake, rx, tx
      WireguardPeer peer;
      peer.public_key = field[0];
      peer.endpoint = field[2] == "(none)" ? "" : field[2];
      if (field[3] != "(none)") peer.allowed_ips = split(field[3], ',');
      peer.latest_handshake = std::atoll(field[4].c_str());
      peer.rx_bytes = std::strtoull(field[5].c_str(), nullptr, 10);
      peer.tx_bytes = std::strtoull(field[6].c_str(), nullptr, 10);
      result.peers.push_back(std::move(peer));
    }
    first = false;
  }
  return result;
}

std::string Node::diagnosis() const {
  std::string text = fmt::format("======== {}\n", name());
  const std::vector<std::vector<std::string>> commands = {
      {"ip", "-br", "addr"},
      {"ip", "rule"},
      {"ip", "-6", "rule"},
      {"ip", "route", "show", "table", "all", "type", "unicast"},
      {"ip", "route", "show", "table", "5182"},
      {"ip", "route", "show", "table", "5183"},
      {"ip", "-6", "route", "show", "table", "5182"},
      {"ip", "-6", "route", "show", "table", "5183"},
      {"wg", "show", "all"},  // without private keys
      {"nft", "list", "table", "inet", "meshd"}};
  for (const auto& command : commands) {
    std::string line;
    for (const auto& word : command) line += word + " ";
    const Outcome outcome = run(command);
    text += fmt::format("---- {}\n{}{}", line, outcome.output, outcome.errors);
  }
  if (has_binary("meshctl")) {
    const Outcome outcome = meshctl({"status", "-o", "wide"});
    text += fmt::format("---- meshctl status\n{}{}", outcome.output, outcome.errors);
  }
  return text + fmt::format("---- meshd's log (its end)\n{}", last_lines(log(), 60));
}

}  // namespace mesh::lab
