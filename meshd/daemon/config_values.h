// The rules for single values of the configuration: text in, a typed value or one line that says
// what to write instead. Pure; any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "mesh/clock.h"
#include "mesh/ip.h"
#include "mesh/result.h"

namespace mesh {

// The text without what would break a line or drive a terminal: control characters become '?'.
std::string printable(std::string_view text);

// The same for a value in an error message: in single quotes, cut at 64 bytes.
std::string in_quotes(std::string_view text);

// Decimal or 0x…, no sign, no leading zero; `minimum` to `maximum` inclusive.
Result<std::uint64_t> parse_whole_number(std::string_view text, std::uint64_t minimum,
                                         std::uint64_t maximum);

// "0s", "500ms", "10m", "24h", "1h30m": whole numbers with the units h, m, s, ms, largest first. A
// bare number is refused: nobody knows its unit. At most ten years, so that sums stay in range.
Result<Duration> parse_duration(std::string_view text);

// A name that the kernel takes for a link, that means no other thing under /proc/sys/net, and that
// nftables and every shell read without quotes.
Result<void> check_interface_name(std::string_view name);

// W and the two numbers that follow must be tables that are nobody else's: not 0, not the kernel's
// own.
Result<void> check_routing_table(std::uint64_t table);

// A prefix that can be workloads on a node: not the default route, and no part of it in a range
// that never leaves a host or that meshd cannot carry.
Result<void> check_workload_prefix(const Cidr& cidr);

// "192.0.2.1:9586", "[::]:9586". A name is refused with a hint.
Result<Endpoint> parse_listen_address(std::string_view text);

// "http://host:port" or "https://host:port". The error never quotes an URL that holds a user.
Result<void> check_etcd_endpoint(std::string_view url);

// A path for a Unix socket: sockaddr_un holds 107 bytes and the end.
Result<void> check_socket_path(const std::filesystem::path& path);

}  // namespace mesh
