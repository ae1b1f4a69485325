#include "meshd/daemon/config_values.h"

#include <sys/un.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

#include "mesh/node_record.h"

namespace mesh {
namespace {

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

constexpr std::string_view kHexDigits = "0123456789abcdefABCDEF";

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

// Digits of `base`; false also for what does not fit 64 bits.
bool parse_digits(std::string_view text, int base, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size();
}

constexpr std::string_view kDurationHint = "write a duration such as 0s, 500ms, 10m, 24h or 1h30m";
constexpr Duration kLongestDuration = std::chrono::hours(24 * 365 * 10);

struct Unit {
  std::string_view name;
  Duration length;
};
constexpr std::array<Unit, 4> kUnits{{{"h", std::chrono::hours(1)},
                                      {"m", std::chrono::minutes(1)},
                                      {"s", std::chrono::seconds(1)},
                                      {"ms", std::chrono::milliseconds(1)}}};

// Ranges whose addresses mean something else on every host, or that WireGuard's routes cannot
// carry.
struct ReservedRange {
  std::string_view prefix;
  std::string_view what;
};
constexpr std::array<ReservedRange, 10> kReservedRanges{{
    {"127.0.0.0/8", "loopback"},
    {"::1/128", "loopback"},
    {"169.254.0.0/16", "link-local"},
    {"fe80::/10", "link-local"},
    {"224.0.0.0/4", "multicast"},
    {"ff00::/8", "multicast"},
    {"::ffff:0:0/96", "IPv4-mapped"},
    {"0.0.0.0/32", "unspecified"},
    {"::/128", "unspecified"},
    {"255.255.255.255/32", "broadcast"},
}};

}  // namespace

std::string printable(std::string_view text) {
  std::string result(text);
  std::replace_if(result.begin(), result.end(), is_control, '?');
  return result;
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kMaxBytes = 64;
  return fmt::format("'{}{}'", printable(text.substr(0, kMaxBytes)),
                     text.size() > kMaxBytes ? "..." : "");
}

Result<std::uint64_t> parse_whole_number(std::string_view text, std::uint64_t minimum,
                                         std::uint64_t maximum) {
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  const std::string_view digits = hexadecimal ? text.substr(2) : text;
  const auto range = [&] { return fmt::format("a whole number from {} to {}", minimum, maximum); };
  if (all_digits(text) && text.size() > 1 && text.front() == '0')
    return make_error(ErrorCode::kInvalid,
                      "{} starts with a zero, which some read as octal: write {} without it",
                      in_quotes(text), range());
  std::uint64_t value = 0;
  if (parse_digits(digits, hexadecimal ? 16 : 10, value) && value >= minimum && value <= maximum)
    return value;
  const bool negative = text.starts_with('-') && all_digits(text.substr(1));
  if (hexadecimal
          ? !digits.empty() && digits.find_first_not_of(kHexDigits) == std::string_view::npos
          : negative || all_digits(text))
    return make_error(ErrorCode::kInvalid, "{} is out of range: write {}", text.substr(0, 64),
                      range());
  return make_error(ErrorCode::kInvalid, "{} is not {}", in_quotes(text), range());
}

Result<Duration> parse_duration(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return make_error(ErrorCode::kInvalid, "{} {}: {}", in_quotes(text), why, kDurationHint);
  };
  if (all_digits(text))
    return make_error(ErrorCode::kInvalid, "{} has no unit: write {}s for seconds, or ms, m, h",
                      in_quotes(text), text.substr(0, 64));
  if (text.starts_with('-')) return refuse("is negative");
  Duration total{0};
  std::string_view rest = text;
  auto unit = kUnits.begin();
  if (rest.empty()) return refuse("is no duration");
  while (!rest.empty()) {
    const auto after_digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
    const std::string_view number = rest.substr(0, after_digits);
    rest.remove_prefix(after_digits);
    const std::string_view name = rest.substr(0, rest.find_first_of("0123456789"));
    rest.remove_prefix(name.size());
    unit = std::find_if(unit, kUnits.end(), [&](const Unit& u) { return u.name == name; });
    if (!all_digits(number) || unit == kUnits.end()) return refuse("is no duration");
    std::uint64_t count = 0;
    const auto room = static_cast<std::uint64_t>((kLongestDuration - total) / unit->length);
    if (!parse_digits(number, 10, count) || count > room) return refuse("is longer than ten years");
    total += static_cast<std::int64_t>(count) * unit->length;
    ++unit;  // each unit once, largest first
  }
  return total;
}

Result<void> check_interface_name(std::string_view name) {
  constexpr std::size_t kMaxBytes = 15;  // IFNAMSIZ less the terminating zero
  const auto refuse = [&](std::string_view why) {
    return make_error(ErrorCode::kInvalid,
                      "{} cannot be an interface name: {} (use 1 to {} letters, digits, '_', '-' "
                      "or '.')",
                      in_quotes(name), why, kMaxBytes);
  };
  if (name.empty()) return refuse("it is empty");
  if (name.size() > kMaxBytes) return refuse("it is too long");
  const auto allowed = [](char c) {
    return is_letter(c) || is_digit(c) || c == '_' || c == '-' || c == '.';
  };
  if (!std::all_of(name.begin(), name.end(), allowed)) return refuse("it has another character");
  if (name.starts_with('-')) return refuse("tools would take it for an option");
  if (name == "." || name == "..") return refuse("it is a directory");
  if (name == "all" || name == "default") return refuse("sysctl means something else by it");
  if (name == "lo") return refuse("it is the loopback interface");
  return {};
}

Result<void> check_routing_table(std::uint64_t table) {
  constexpr std::uint64_t kLargest = std::numeric_limits<std::uint32_t>::max() - 1;
  if (table == 0 || table + 2 > kLargest)
    return make_error(ErrorCode::kInvalid, "{} is out of range: write a number from 1 to {}", table,
                      kLargest - 2);
  for (const std::uint64_t mine : {table, table + 1, table + 2})
    if (mine >= 253 && mine <= 255)  // default, main, local: linux/rtnetlink.h, rt_class_t
      return make_error(ErrorCode::kInvalid,
                        "meshd uses tables {} to {}, and {} is the kernel's own: choose a number "
                        "below 251 or above 255",
                        table, table + 2, mine);
  return {};
}

Result<void> check_workload_prefix(const Cidr& cidr) {
  if (cidr.is_default())
    return make_error(ErrorCode::kInvalid,
                      "{} is the default route: write the prefixes that live on this node",
                      cidr.to_string());
  for (const ReservedRange& range : kReservedRanges) {
    const auto reserved = Cidr::parse(range.prefix);
    if (reserved && reserved->overlaps(cidr))
      return make_error(ErrorCode::kInvalid, "{} {} {} addresses ({}), which no workload can have",
                        cidr.to_string(), reserved->covers(cidr) ? "holds" : "includes", range.what,
                        range.prefix);
  }
  return {};
}

Result<Endpoint> parse_listen_address(std::string_view text) {
  auto endpoint = Endpoint::parse(text);
  if (endpoint && !endpoint->address.is_multicast()) return endpoint;
  return make_error(ErrorCode::kInvalid,
                    "{} is not an address and a port to listen on: write for example "
                    "127.0.0.1:9586, 0.0.0.0:9586 or [::1]:9586, or \"\" for none",
                    in_quotes(text));
}

Result<void> check_etcd_endpoint(std::string_view url) {
  constexpr std::string_view kHint = "write http://host:port or https://host:port";
  if (url.find('@') != std::string_view::npos)  // never quoted: it may hold a password
    return make_error(ErrorCode::kInvalid,
                      "an endpoint holds no user: {}, and use username and passwordFile", kHint);
  const Error bad =
      make_error(ErrorCode::kInvalid, "{} is not an endpoint: {}", in_quotes(url), kHint);
  std::string_view authority = url;
  if (url.starts_with("http://"))
    authority.remove_prefix(7);
  else if (url.starts_with("https://"))
    authority.remove_prefix(8);
  else
    return bad;
  if (Endpoint::parse(authority)) return {};
  const std::size_t colon = authority.rfind(':');
  if (colon == std::string_view::npos || !all_digits(authority.substr(colon + 1)) ||
      !parse_whole_number(authority.substr(colon + 1), 1, 65535))
    return bad;
  std::string host(authority.substr(0, colon));
  std::transform(host.begin(), host.end(), host.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  // Digits and dots alone are a misspelt IPv4 address, not a name.
  if (!check_node_name(host) || std::none_of(host.begin(), host.end(), is_letter)) return bad;
  return {};
}

Result<void> check_socket_path(const std::filesystem::path& path) {
  constexpr std::size_t kMaxBytes = sizeof(sockaddr_un::sun_path) - 1;
  if (path.native().size() <= kMaxBytes) return {};
  return make_error(ErrorCode::kInvalid,
                    "the path has {} bytes, and a Unix socket's may have {}: choose a shorter one",
                    path.native().size(), kMaxBytes);
}

}  // namespace mesh
