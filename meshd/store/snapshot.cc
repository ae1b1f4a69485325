#include "meshd/store/snapshot.h"

#include <fmt/format.h>
#include <sodium.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "meshd/store/document.h"
#include "meshd/store/policy_codec.h"
#include "meshd/store/record_codec.h"
#include "meshd/store/utf8.h"

namespace mesh {
namespace {

constexpr std::string_view kMagic = "meshd-snapshot";
constexpr std::size_t kMaxHeaderBytes = 128;

std::string checksum(std::string_view body) {
  // Picks the fastest code for this processor; the plain one does as well.
  [[maybe_unused]] static const int kChosen = sodium_init();
  std::array<unsigned char, crypto_generichash_BYTES> hash{};
  crypto_generichash(hash.data(), hash.size(),
                     static_cast<const unsigned char*>(static_cast<const void*>(body.data())),
                     body.size(), nullptr, 0);
  std::string text;
  for (const unsigned char byte : hash) fmt::format_to(std::back_inserter(text), "{:02x}", byte);
  return text;
}

std::string header_of(std::string_view body) {
  return fmt::format("{} {} {} {}", kMagic, kSnapshotVersion, body.size(), checksum(body));
}

// Up to the next `separator`, which is dropped; all, when there is none.
std::string_view take_until(std::string_view& rest, char separator) {
  const std::size_t end = rest.find(separator);
  const std::string_view word = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return word;
}

template <class N>
std::optional<N> read_number(std::string_view text) {
  N number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

class Reader {
 public:
  explicit Reader(std::string_view place) : place_(place) {}

  Result<Snapshot> read(std::string_view text) {
    if (auto whole = check_header(text); !whole) return whole.error();
    for (line_ = 2; !text.empty(); ++line_)
      if (auto read = read_line(take_until(text, '\n')); !read) return read.error();
    if (snapshot_.store.node.empty()) return error("it does not say which store it is of");
    return std::move(snapshot_);
  }

 private:
  template <class... Args>
  Error error(fmt::format_string<Args...> format, Args&&... args) const {
    return make_error(ErrorCode::kInvalid, "{}: {}", place_,
                      fmt::format(format, std::forward<Args>(args)...));
  }

  // Leaves the body in `text`.
  Result<void> check_header(std::string_view& text) const {
    const std::string_view header = text.substr(0, text.find('\n'));
    if (header.size() > kMaxHeaderBytes || !header.starts_with(kMagic))
      return error("it is no snapshot of meshd, or its start is damaged");
    std::string_view words = header;
    (void)take_until(words, ' ');
    if (const auto version = read_number<int>(take_until(words, ' ')); !version)
      return error("it is damaged: the first line is not that of a snapshot");
    else if (*version != kSnapshotVersion)
      return error("it is of format {}, and this meshd reads {}", *version, kSnapshotVersion);
    const auto size = read_number<std::size_t>(take_until(words, ' '));
    text.remove_prefix(std::min(text.size(), header.size() + 1));
    if (size && *size > text.size())
      return error("it is cut short: {} bytes of {} are there", text.size(), *size);
    if (header != header_of(text)) return error("it is damaged: its checksum does not match");
    if (!text.ends_with('\n')) return error("it is damaged: its last line has no end");
    return {};
  }

  Result<void> read_line(std::string_view line) {
    const std::string_view kind = take_until(line, ' ');
    if (kind == "store") return read_store(line);
    if (kind == "node") return read_node(line);
    if (kind == "policy") return read_policy(line);
    if (kind == "lost") return read_lost(line);
    if (kind == "labels") return read_labels(line);
    if (kind == "own") return read_own(line);
    if (kind == "was") return read_memory(line);
    return {};
  }

  Result<void> read_store(std::string_view json) {
    const auto root = parse_json_document(json, place_);
    if (!root) return root.error();
    for (const DocumentNode& field : root->children) {
      if (field.key == "type") snapshot_.store.type = field.text;
      if (field.key == "location") snapshot_.store.location = field.text;
      if (field.key == "node") snapshot_.store.node = field.text;
      if (field.key != "written") continue;
      const auto written = read_time(field.text);
      if (!written) return error("line {}: '{}' is no time", line_, printable(field.text, 64));
      snapshot_.written = *written;
    }
    return {};
  }

  // NAME KEY|- SECONDS|- CAUSE|- allowed|-, before the node's own line
  Result<void> read_memory(std::string_view line) {
    EncryptionMemory& memory = memories_[std::string(take_until(line, ' '))];
    const std::string_view key = take_until(line, ' ');
    const std::string_view seconds = take_until(line, ' ');
    const std::string_view cause = take_until(line, ' ');
    if (key != "-") {
      const auto proven = PublicKey::parse(key);
      if (!proven) return error("line {}: '{}' is no key", line_, printable(key, 64));
      memory.proven = *proven;
    }
    if (seconds == "-") return {};
    const auto since = read_time(seconds);
    if (!since) return error("line {}: '{}' is no time", line_, printable(seconds, 64));
    // A cause that a later meshd knows.
    const Reason known = parse_reason(cause).value_or(Reason::kNoPublicKey);
    memory.downgrade = Downgrade{*since, known, take_until(line, ' ') == "allowed"};
    return {};
  }

  static std::optional<WallTime> read_time(std::string_view text) {
    constexpr std::int64_t kLatest = 9'000'000'000;  // what nanoseconds can count, roughly
    const auto seconds = read_number<std::int64_t>(text);
    if (!seconds || *seconds < 0 || *seconds > kLatest) return std::nullopt;
    return WallTime(std::chrono::seconds(*seconds));
  }

  // NAME KEY|- here|gone RECORD
  Result<void> read_node(std::string_view line) {
    const std::string_view name = take_until(line, ' ');
    const std::string_view key = take_until(line, ' ');
    const std::string_view presence = take_until(line, ' ');
    if (!check_node_name(name))
      return error("line {}: '{}' is no node's name", line_, printable(name, 64));
    if (!names_.insert(std::string(name)).second)
      return error("line {}: a second record of '{}'", line_, printable(name, 64));
    auto record = parse_record_json(line, fmt::format("{}:{}", place_, line_), name);
    if (!record) {
      snapshot_.problems.push_back(record.error().message);
      return {};
    }
    SnapshotNode node;
    node.record = std::make_shared<const StoreEntry>(std::move(*record));
    if (key != "-") {
      const auto proven = PublicKey::parse(key);
      if (!proven) return error("line {}: '{}' is no key", line_, printable(key, 64));
      node.proven = *proven;
    }
    node.gone = presence == "gone";
    if (const auto memory = memories_.find(name); memory != memories_.end())
      node.memory = memory->second;
    snapshot_.nodes.push_back(std::move(node));
    return {};
  }

  // NAME POLICY
  Result<void> read_policy(std::string_view line) {
    const std::string_view name = take_until(line, ' ');
    if (!policies_.insert(std::string(name)).second)
      return error("line {}: a second policy '{}'", line_, printable(name, 64));
    auto policy = parse_policy_json(line, fmt::format("{}:{}", place_, line_), name);
    if (policy)
      snapshot_.policies.push_back(std::move(*policy));
    else
      snapshot_.problems.push_back(policy.error().message);
    return {};
  }

  // NAME, after the policy's own line
  Result<void> read_lost(std::string_view name) {
    if (!policies_.contains(name))
      return error("line {}: '{}' is no policy of this snapshot", line_, printable(name, 64));
    snapshot_.lost_policies.emplace(name);
    return {};
  }

  Result<void> read_labels(std::string_view json) {
    const auto root = parse_json_document(json, fmt::format("{}:{}", place_, line_));
    if (!root) return root.error();
    for (const DocumentNode& label : root->children) snapshot_.own_labels[label.key] = label.text;
    return {};
  }

  Result<void> read_own(std::string_view json) {
    auto record =
        parse_record_json(json, fmt::format("{}:{}", place_, line_), snapshot_.store.node);
    if (record)
      snapshot_.own = std::move(*record);
    else
      snapshot_.problems.push_back(record.error().message);
    return {};
  }

  std::string_view place_;
  std::size_t line_ = 1;
  std::set<std::string> names_;
  std::set<std::string, std::less<>> policies_;
  std::map<std::string, EncryptionMemory, std::less<>> memories_;
  Snapshot snapshot_;
};

}  // namespace

std::string format_snapshot(const Snapshot& snapshot) {
  const auto seconds_of = [](WallTime time) {
    return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
  };
  const auto key_or_dash = [](const std::optional<PublicKey>& key) {
    return key ? key->to_base64() : "-";
  };
  nlohmann::ordered_json store;
  store["type"] = snapshot.store.type;
  store["location"] = snapshot.store.location;
  store["node"] = snapshot.store.node;
  store["written"] = fmt::to_string(seconds_of(snapshot.written));
  std::string body =
      "store " + store.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  for (const SnapshotNode& node : snapshot.nodes) {
    const auto& record = std::get<NodeRecord>(*node.record);
    if (const auto& less = node.memory.downgrade; !node.memory.empty())
      fmt::format_to(std::back_inserter(body), "was {} {} {} {} {}\n", record.name,
                     key_or_dash(node.memory.proven),
                     less ? fmt::to_string(seconds_of(less->since)) : "-",
                     less ? to_string(less->cause) : "-", less && less->allowed ? "allowed" : "-");
    fmt::format_to(std::back_inserter(body), "node {} {} {} {}\n", record.name,
                   key_or_dash(node.proven), node.gone ? "gone" : "here",
                   format_record_json(record));
  }
  if (snapshot.own)
    fmt::format_to(std::back_inserter(body), "own {}\n", format_record_json(*snapshot.own));
  if (!snapshot.own_labels.empty())
    body += "labels " +
            nlohmann::json(snapshot.own_labels)
                .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) +
            "\n";
  for (const EncryptionPolicy& policy : snapshot.policies)
    fmt::format_to(std::back_inserter(body), "policy {} {}\n", policy.name,
                   format_policy_json(policy));
  for (const std::string& name : snapshot.lost_policies)
    fmt::format_to(std::back_inserter(body), "lost {}\n", name);
  return seal_snapshot(body);
}

std::string seal_snapshot(std::string_view body) {
  return header_of(body).append("\n").append(body);
}

Result<Snapshot> parse_snapshot(std::string_view text, std::string_view place) {
  return Reader(place).read(text);
}

}  // namespace mesh
